"""A folder of clips with their captions and lyrics beside them -> what is to be learnt from.

Words of a clip come from, the later overriding the earlier: one CSV or JSONL of the folder (a column `file`),
`clip.json`, `clip.txt` (a caption, or lines such as `bpm: 120`, `lyrics:` and all that follows it last),
`clip.caption.txt` and `clip.lyrics.txt`. No torch: a folder is looked through at once.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ..audio.beat_and_key import can_hear
from ..errors import UserError
from ..song import Song
from ..spec import MAX_SECONDS, MIN_SECONDS
from ..system.folders import user_path

_KINDS = "wav flac mp3 ogg opus m4a aac aif aiff wma caf au mka webm mp4 mov mkv"
CLIP_SUFFIXES = frozenset(f".{kind}" for kind in _KINDS.split())
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
FIELDS = ("caption", "lyrics", "bpm", "key", "time_signature", "language")
# What other trainers call the same.
_ALIASES = MappingProxyType(
    {
        "prompt": "caption",
        "description": "caption",
        "tags": "caption",
        "text": "caption",
        "lyric": "lyrics",
        "tempo": "bpm",
        "keyscale": "key",
        "key_scale": "key",
        "timesignature": "time_signature",
        "time": "time_signature",
        "lang": "language",
        "file_name": "file",
        "filename": "file",
        "audio": "file",
        "audio_path": "file",
        "path": "file",
    }
)
_LINE = re.compile(r"\s*([A-Za-z_ ]+?)\s*:\s*(.*)")


@dataclass(frozen=True)
class Clip:
    """A file of sound and what is known of it; what is None is left to the model."""

    path: Path
    words: Mapping[str, str]  # by FIELDS

    def song(self, seconds: float, trigger: str | None = None, heard: Mapping | None = None) -> Song:
        """What one would ask for to get so many seconds of this clip. `heard`: bpm and key where the user tells none.

        Raises UserError for a value that no song has.
        """
        words = {**(heard or {}), **self.words}
        caption = ", ".join(filter(None, (trigger, words.pop("caption", None))))
        return Song(caption, **words, seconds=min(max(seconds, MIN_SECONDS), MAX_SECONDS))


@dataclass(frozen=True)
class LeftOut:
    """A clip that is not learnt from, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Dataset:
    """The clips of a folder, in the order of their names."""

    folder: Path
    clips: tuple[Clip, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()


def read_dataset(folder: "Path | str", trigger: str | None = None) -> Dataset:
    """The clips of a folder and of those within it. `trigger`: a word that every caption begins with.

    A clip without any words, or with words that no song has, is left out. Raises UserError for a folder without clips
    or with a table that cannot be read.
    """
    folder = user_path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; expected one with clips and their captions")
    paths = sorted(path for path in folder.rglob("*") if _is_clip(path, folder))
    if not paths:
        raise UserError(f"{folder}: holds no clips; expected sound files such as song.wav with song.txt beside them")
    names = [path.relative_to(folder).as_posix() for path in paths]
    rows, said = _table(folder, names)
    clips, left_out, notes, unknown = [], [], [], set()
    for path, name in zip(paths, names, strict=True):
        try:
            clips.append(_clip(path, rows.get(name, {}), trigger, unknown))
        except UserError as exc:
            left_out.append(LeftOut(path, str(exc)))
    if unknown:
        notes.append(f"not read: {', '.join(sorted(unknown))}; the fields are {', '.join(FIELDS)}")
    notes += said
    untold = sum(not {"bpm", "key"} <= clip.words.keys() for clip in clips)
    if untold and not can_hear():
        notes.append(
            f"{untold} of {len(clips)} clips tell no bpm or no key, which is left to the model; pip install librosa "
            "(the extra acestep-cascade[train]), and it is measured"
        )
    return Dataset(folder, tuple(clips), tuple(left_out), tuple(notes))


def _is_clip(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() in CLIP_SUFFIXES and path.is_file()


def _clip(path: Path, row: Mapping, trigger: str | None, unknown: set[str]) -> Clip:
    given = {**row, **_beside(path)}
    given.pop("file", None)
    unknown |= set(given) - set(FIELDS)
    words = {name: given[name] for name in FIELDS if given.get(name) not in (None, "")}
    if "bpm" in words:
        words["bpm"] = _whole(words["bpm"])
    if not isinstance(words.get("caption", ""), str):
        raise UserError(f"caption: got {words['caption']!r}, expected text")
    if not words.get("caption") and not trigger:
        raise UserError(f"has no caption; write one into {path.stem}.txt, or give all clips a trigger word")
    clip = Clip(path, words)
    clip.song(MIN_SECONDS, trigger)  # raises where a value is none that a song can have
    return clip


def _whole(bpm):
    """Tempi come with decimals from other programs; the models read whole ones."""
    try:
        return round(float(bpm))
    except (TypeError, ValueError, OverflowError):
        return bpm


def _beside(path: Path) -> dict:
    given: dict = {}
    if path.with_suffix(".json").is_file():
        given |= _object(_text(path.with_suffix(".json")), path.with_suffix(".json").name)
    if path.with_suffix(".txt").is_file():
        given |= words_of(_text(path.with_suffix(".txt")))
    for name in ("caption", "lyrics"):
        own = path.with_suffix(f".{name}.txt")
        if own.is_file():
            given[name] = _text(own).strip()
    return given


def words_of(text: str) -> dict:
    """A caption, or lines `name: value` with `lyrics:` and all that follows it last."""
    words: dict[str, str] = {}
    lines = text.strip().splitlines()
    for number, line in enumerate(lines):
        found = _LINE.fullmatch(line)
        name = found and _name(found[1])
        if name not in FIELDS:
            if not words:  # no form at all: all of it is a caption
                return {"caption": " ".join(text.split())}
            if line.strip():
                words["caption"] = f"{words.get('caption', '')} {line.strip()}".strip()
            continue
        if name == "lyrics":
            return words | {"lyrics": "\n".join((found[2], *lines[number + 1 :])).strip()}
        words[name] = found[2].strip()
    return words


def _name(name: str) -> str:
    name = re.sub(r"[\s-]+", "_", str(name).strip().lower())
    return _ALIASES.get(name, name)


def _object(text: str, where: str) -> dict:
    try:
        given = json.loads(text)
    except ValueError as exc:
        raise UserError(f"{where}: is not JSON ({exc})") from exc
    if not isinstance(given, dict):
        raise UserError(f'{where}: got a JSON {type(given).__name__}, expected an object such as {{"caption": "..."}}')
    named = {_name(key): value for key, value in given.items()}
    for key in ("caption", "lyrics"):
        if isinstance(named.get(key), list):
            named[key] = ", ".join(map(str, named[key]))
    return named


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise UserError(f"{path.name}: is not UTF-8 text; save it as UTF-8") from exc
    except OSError as exc:
        raise UserError(f"{path.name}: could not be read ({exc.strerror})") from exc


def _table(folder: Path, clips: list[str]) -> tuple[dict[str, dict], list[str]]:
    """The rows of a folder's one table, by the clips' paths within the folder, and what there is to say of it.

    Raises UserError for several tables, or for one that cannot be read.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in TABLE_SUFFIXES and path.is_file())
    if not files:
        return {}, []
    if len(files) > 1:
        raise UserError(
            f"{folder}: holds {len(files)} tables ({', '.join(file.name for file in files)}), expected one CSV or JSONL"
        )
    rows, twice = _rows_by_name(files[0])
    places = _places(clips, rows)
    taken, untold = set(places.values()), {Path(clip).name for clip in clips if clip not in places}
    left = [name for name in rows if name not in taken]
    said = {
        "names {} clips more than once, of each the last row was read; first {}": twice,
        "has {} rows not read, whose bare name others have too; name clips by their paths in the folder; first {}": [
            name for name in left if Path(name).name in untold
        ],
        "names {} clips that are not there, first {}": [name for name in left if Path(name).name not in untold],
    }
    notes = [f"{files[0].name} {text.format(len(names), names[0])}" for text, names in said.items() if names]
    return {clip: rows[name] for clip, name in places.items()}, notes


def _rows_by_name(file: Path) -> tuple[dict[str, dict], list[str]]:
    """The rows of a table by the clips that they name, and the names that come again."""
    rows, again = {}, []
    for number, row in _rows(file):
        name = row.get("file")
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"{file} line {number}: names no clip; expected a column file, such as file,caption")
        name = name.strip().replace("\\", "/").removeprefix("./")
        if name in rows and name not in again:
            again.append(name)
        rows[name] = row
    return rows, again


def _places(clips: Iterable[str], rows: Mapping[str, dict]) -> dict[str, str]:
    """Clip -> the row that speaks of it: the one at its path, or else of its bare name where nothing shares that."""
    places = {clip: clip for clip in clips if clip in rows}
    clips_of, rows_of = _by_name(clips), _by_name(rows)
    for name in clips_of.keys() & rows_of.keys():
        if len(clips_of[name]) == len(rows_of[name]) == 1:
            places[clips_of[name][0]] = rows_of[name][0]
    return places


def _by_name(paths: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(Path(path).name, []).append(path)
    return found


def _rows(file: Path) -> Iterator[tuple[int, dict]]:
    text = _text(file)
    if file.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield number, _object(line, f"{file} line {number}")
        return
    reader = csv.DictReader(io.StringIO(text), delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
    try:
        for row in reader:
            yield (
                reader.line_num,
                {_name(key): value.strip() for key, value in row.items() if key and isinstance(value, str)},
            )
    except csv.Error as exc:
        raise UserError(f"{file} line {reader.line_num}: {exc}; check its quotes") from exc
