"""Labels for clips that have none: a song as a text file beside a clip, in the form that `sidecars` reads. No torch."""

from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError
from ..song import INSTRUMENTAL, UNKNOWN_LANGUAGE, Song
from ..system.files import write_beside
from .dataset import clip_paths
from .sidecars import sidecars
from .tables import read_tables

HEADING = "# Written by a planner: read it over. Lines that begin with # are comments."


def unlabelled(folder: Path) -> list[Path]:
    """The clips of a folder, and of the folders in it, for which no file and no table says anything.

    Raises UserError for a folder without clips, or with a table that cannot be read.
    """
    paths = clip_paths(folder)
    if not paths:
        raise UserError(f"{folder}: holds no clips; expected sound files such as song.wav")
    names = [path.relative_to(folder).as_posix() for path in paths]
    rows = read_tables(folder, names).rows
    return [path for path, name in zip(paths, names, strict=True) if not _has_labels(path, rows.get(name, {}))]


def _has_labels(clip: Path, row: Mapping) -> bool:
    """A file that cannot be read is somebody's label too."""
    try:
        return bool(row) or next(sidecars(clip), None) is not None
    except UserError:
        return True


def label_text(song: Song) -> str:
    """The song as lines such as `bpm: 120`, its lyrics last."""
    language = None if song.language == UNKNOWN_LANGUAGE else song.language
    lines = {
        "caption": " ".join(song.caption.split()),
        "bpm": song.bpm,
        "key": song.key,
        "time_signature": song.time_signature,
        "language": language if song.lyrics.strip() not in ("", INSTRUMENTAL) else None,
    }
    shown = [f"{name}: {value}" for name, value in lines.items() if value]
    return "\n".join([*shown, HEADING, f"lyrics: {song.lyrics.strip() or INSTRUMENTAL}"]) + "\n"


def write_label(clip: Path, song: Song) -> Path:
    """The label file that was written beside a clip. Raises UserError where one has come to be there meanwhile."""
    path = clip.with_name(f"{clip.stem}.txt")
    if path.exists():
        raise UserError(f"{path}: is there already, and is left as it is")
    return write_beside(path, label_text(song).encode())
