"""A folder of clips with labels -> a dataset: which clips are trained on, and with which song fields.

Labels of a clip come from tables of the folder (`tables.py`) and from files beside it (`sidecars.py`), which override
them. No torch: a folder is read at once.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..editing.regions import Region, check_within
from ..errors import UserError, shown
from ..song import Song
from ..spec import MAX_SECONDS, MIN_SECONDS
from ..system.extras import install_command
from ..system.folders import user_path
from .labels import FIELDS, REGIONS, listed, regions_of, repeat_of, song_fields, unknown_names
from .sidecars import sidecars
from .tables import read_tables

if TYPE_CHECKING:
    from ..audio.waveform import Waveform

_KINDS = "wav flac mp3 ogg opus m4a aac aif aiff wma caf au mka webm mp4 mov mkv"
CLIP_SUFFIXES = frozenset(f".{kind}" for kind in _KINDS.split())


@dataclass(frozen=True)
class Clip:
    """A sound file and its labels, by FIELDS; a field without a label is left to the model. `repeat`: how often it
    counts in an epoch. `part`: the region of the file that is trained on, None for all of it.
    """

    path: Path
    labels: Mapping[str, object]
    repeat: int = 1
    part: Region | None = None

    def song(self, seconds: float, trigger: str | None = None, measured: Mapping | None = None) -> Song:
        """The song that these seconds of the clip stand for. `measured`: bpm and key for a clip without these labels.

        Raises UserError for a value that no song has.
        """
        labels = {**(measured or {}), **self.labels}
        caption = ", ".join(filter(None, (trigger, labels.pop("caption", None))))
        return Song(caption, **labels, seconds=min(max(seconds, MIN_SECONDS), MAX_SECONDS))

    def cut(self, wave: "Waveform") -> "Waveform":
        """The clip's part of its file's sound [1, channels, N]. Raises UserError where the file ends before it."""
        if self.part is None:
            return wave
        check_within([self.part], wave.seconds)
        start, end = self.part
        return wave.crop(wave.seconds if end is None else end).skip(start)


@dataclass(frozen=True)
class LeftOut:
    """A clip that is not trained on, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"left out: {self.path}: {self.reason.removeprefix(f'{self.path}: ')}"


@dataclass(frozen=True)
class Dataset:
    """The clips of a folder, in the order of their names. `readings`: which files were read as what."""

    folder: Path
    clips: tuple[Clip, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """Readings and notes, as lines for the user."""
        return (*(f"read: {reading}" for reading in self.readings), *(f"note: {note}" for note in self.notes))


def read_dataset(
    folder: "Path | str", trigger: str | None = None, regions: Mapping[str, str] = MappingProxyType({})
) -> Dataset:
    """The clips of a folder and of the folders in it. `trigger`: a word that every caption begins with. `regions`: the
    parts to train on, by the clip's path in the folder, over those of its labels; each part is a clip of its own.

    A clip without labels, or with labels that no song has, is left out. Raises UserError for a folder without clips or
    with a table that cannot be read.
    """
    folder = user_path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; expected one with clips and their captions")
    paths = clip_paths(folder)
    if not paths:
        raise UserError(f"{folder}: holds no clips; expected sound files such as song.wav with song.txt beside them")
    names = [path.relative_to(folder).as_posix() for path in paths]
    tables = read_tables(folder, names)
    reader = _ClipReader(trigger)
    for path, name in zip(paths, names, strict=True):
        reader.add(path, tables.rows.get(name, {}), regions.get(name))
    readings = (f"{count} {reading}" for reading, count in sorted(reader.readings.items()))
    notes = (*reader.notes(), *tables.notes, *_absent(regions, names), *_unmeasured(reader.clips))
    return Dataset(folder, tuple(reader.clips), tuple(reader.left_out), notes, (*tables.readings, *readings))


def clip_paths(folder: Path) -> list[Path]:
    """The sound files of a folder and of the folders in it, in the order of their names."""
    return sorted(path for path in folder.rglob("*") if _is_clip(path, folder))


def read_clip_regions(text: str) -> dict[str, str]:
    """ "a.wav: 10-20, 31-end | b.wav: 5-9" as regions by the clip's path. Raises UserError."""
    parts = [part.strip() for part in re.split(r"[|\n]", text) if part.strip()]
    pairs = [re.fullmatch(r"(.+?):\s+(.*)", part) for part in parts]
    if None in pairs:
        got = shown(parts[pairs.index(None)])
        raise UserError(f"regions: got {got}, expected a clip's name and its regions, such as song.wav: 10-20, 40-end")
    return {pair[1].strip(): pair[2] for pair in pairs}


def _is_clip(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() in CLIP_SUFFIXES and path.is_file()


class _ClipReader:
    """Reads clips one by one; one that cannot be read never ends the others."""

    def __init__(self, trigger: str | None):
        self._trigger, self._unknown = trigger, set()
        self.clips: list[Clip] = []
        self.left_out: list[LeftOut] = []
        self.readings: Counter[str] = Counter()

    def add(self, path: Path, row: Mapping, regions: str | None = None) -> None:
        try:
            self.clips += self._clips(path, dict(row), regions)
        except UserError as exc:
            self.left_out.append(LeftOut(path, str(exc)))

    def _clips(self, path: Path, labels: dict, regions: str | None) -> list[Clip]:
        readings = []
        for sidecar in sidecars(path, "caption" in labels):
            labels |= sidecar.labels
            readings.append(sidecar.reading)
        self._unknown |= unknown_names(labels)
        parts = regions_of(labels if regions is None else {REGIONS: regions})
        clip = Clip(path, song_fields(labels), repeat_of(labels))
        if not clip.labels.get("caption") and not self._trigger:
            as_lyrics = f"; {path.stem}.txt was read as lyrics" * any("*.txt as lyrics" in text for text in readings)
            name = f"{path.stem}.caption.txt" if as_lyrics else f"{path.stem}.txt"
            raise UserError(f"has no caption{as_lyrics}; write one into {name}, or give all clips a trigger word")
        clip.song(MIN_SECONDS, self._trigger)  # raises where a value is none that a song can have
        self.readings.update(readings)
        return [replace(clip, part=part) for part in parts or (None,)]

    def notes(self) -> list[str]:
        fields = ", ".join(FIELDS)
        return [f"not read: {listed(self._unknown)}; the fields are {fields}"] if self._unknown else []


def _absent(regions: Mapping[str, str], names: list[str]) -> list[str]:
    absent = set(regions) - set(names)
    return [f"regions: no clip in the folder is called {listed(absent)}"] if absent else []


def _unmeasured(clips: list[Clip]) -> list[str]:
    from ..audio.beat_and_key import is_available

    unlabelled = sum(not {"bpm", "key"} <= clip.labels.keys() for clip in clips)
    if not unlabelled or is_available():
        return []
    return [
        f"{unlabelled} of {len(clips)} clips have no bpm or no key, which is left to the model; to have them measured: "
        f"{install_command('train')}"
    ]
