"""Datasets of clips to train on, below the server's folder: sounds that clients sent, each with a file of its labels.

They are folders as `train lora` reads them: clip.wav with clip.json beside it. No torch.
"""

import json
import secrets
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError, did_you_mean, shown
from ..json_text import read_json_object
from ..spec import MIN_SECONDS
from ..system.files import write_whole
from ..training.dataset import Clip, clip_paths
from ..training.labels import FIELDS as SONG_FIELDS
from ..training.labels import FILE, by_field, regions_of, repeat_of, song_fields, unknown_names
from .fields import name_of, text_of
from .uploads import TooLarge

FOLDER, CLIPS_MOST, DATASETS_MOST = "datasets", 2000, 200
_PREFIX, _ID_BYTES = "c_", 6


@dataclass(frozen=True)
class ClipRow:
    """A clip of a dataset: its handle, its file, and its labels by field."""

    id: str
    path: Path
    labels: Mapping[str, object]

    @property
    def is_labelled(self) -> bool:
        return bool(self.labels.get("caption"))

    def shown(self) -> dict:
        """The row as clients see it, with all fields of a song."""
        labels = {name: self.labels.get(name) for name in SONG_FIELDS}
        return {"id": self.id, "labelled": self.is_labelled, **labels, **self.labels}


class NoSuchDataset(UserError):
    """There is no dataset, or no clip, of this name."""


class Datasets:
    """The datasets below a folder. Raises UserError, NoSuchDataset, TooLarge."""

    _lock = threading.Lock()

    def __init__(self, own_folder: Path):
        self.folder = own_folder / FOLDER

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*") if path.is_dir())

    def path(self, name: str) -> Path:
        """The folder of a dataset. Raises NoSuchDataset."""
        folder = self.folder / name_of({"dataset": name}, "dataset")
        if not folder.is_dir():
            raise NoSuchDataset(f"dataset: there is none of the name {shown(name)}{did_you_mean(name, self.names())}")
        return folder

    def create(self, name: str) -> None:
        """Makes a dataset; one that is there stays as it is."""
        folder = self.folder / name_of({"name": name}, "name")
        if not folder.is_dir() and len(self.names()) >= DATASETS_MOST:
            raise TooLarge(f"dataset: there are {DATASETS_MOST} already; remove one first")
        folder.mkdir(parents=True, exist_ok=True)

    def remove(self, name: str) -> None:
        shutil.rmtree(self.path(name))

    def rows(self, name: str) -> list[ClipRow]:
        """The clips of a dataset, the first sent first."""
        paths = sorted(clip_paths(self.path(name)), key=lambda path: (path.stat().st_mtime_ns, path.name))
        return [ClipRow(path.stem, path, _labels(path)) for path in paths]

    def row(self, name: str, clip: str) -> ClipRow:
        """Raises NoSuchDataset."""
        found = next((row for row in self.rows(name) if row.id == clip), None)
        if found is None:
            raise NoSuchDataset(f"clip: {name} has none of the handle {shown(clip)}")
        return found

    def add(self, name: str, sound: Path, labels: Mapping) -> ClipRow:
        """Copies a sound into a dataset, with its labels."""
        folder, checked = self.path(name), checked_labels(labels)
        with self._lock:
            if len(clip_paths(folder)) >= CLIPS_MOST:
                raise TooLarge(f"dataset: {name} has {CLIPS_MOST} clips already; begin another one")
            path = folder / f"{_PREFIX}{secrets.token_hex(_ID_BYTES)}{sound.suffix}"
            part = path.with_name(f".{path.name}")
            shutil.copyfile(sound, part)
            part.replace(path)
        _write(path, checked)
        return ClipRow(path.stem, path, checked)

    def label(self, name: str, clip: str, labels: Mapping, *, only_new: bool = False) -> ClipRow:
        """Labels of a clip over those that it has; null takes one away. `only_new`: those that it has stay."""
        with self._lock:
            row = self.row(name, clip)
            given = {_field(key): value for key, value in labels.items()}
            merged = {**given, **row.labels} if only_new else {**row.labels, **given}
            checked = checked_labels({key: value for key, value in merged.items() if value is not None})
            _write(row.path, checked)
        return ClipRow(row.id, row.path, checked)

    def remove_clip(self, name: str, clip: str) -> None:
        path = self.row(name, clip).path
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink()


def checked_labels(given: Mapping) -> dict[str, object]:
    """Labels by field, if a song may have them; `file` is what a client calls the clip. Raises UserError."""
    labels = by_field(given)
    if unknown := sorted(unknown_names(labels)):
        raise UserError(f"labels: unknown field {shown(unknown[0])}{did_you_mean(unknown[0], SONG_FIELDS)}")
    text_of(labels, FILE)
    repeat_of(labels), regions_of(labels)
    Clip(Path(), song_fields(labels)).song(MIN_SECONDS, "trigger")
    return labels


def _field(name: object) -> str:
    return next(iter(by_field({name: "x"})), str(name))


def _labels(path: Path) -> dict[str, object]:
    try:
        return read_json_object(path.with_suffix(".json"))
    except UserError:  # a clip that was copied there by hand has none yet
        return {}


def _write(path: Path, labels: Mapping) -> None:
    write_whole(path.with_suffix(".json"), json.dumps(dict(labels), ensure_ascii=False, indent=1).encode())
