"""Tables of a folder that label its clips: one CSV, TSV or JSONL with a column `file`, and one dataset.json as the
original writes it, with an array `samples`. No torch.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..json_text import JSON_BYTES_MAX, parse_json
from ..system.texts import read_bytes, read_text
from .labels import CUSTOM_TAG, FILE, TAG_POSITION, by_field, json_labels, listed

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
DATASET_FILE = "dataset.json"
_DELIMITERS = ",;\t"

Rows = dict[str, dict[str, object]]  # name of a clip in the table -> its labels


@dataclass
class Labels:
    """Labels of clips from a folder's tables, by the clips' paths in the folder, with notes and readings."""

    rows: Rows = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    readings: list[str] = field(default_factory=list)


def read_tables(folder: Path, clips: list[str]) -> Labels:
    """The rows of both tables; dataset.json overrides the other. Raises UserError for several tables of a kind, and for
    one that cannot be read.
    """
    labels = Labels()
    for file, rows, notes in (*_plain_tables(folder), *_sample_tables(folder, clips)):
        labels.notes += notes
        places = _places(folder, clips, rows)
        labels.notes += _unused_rows(file, clips, rows, places)
        labels.readings.append(f"{file.name}: {len(places)} rows as fields")
        for clip, name in places.items():
            labels.rows[clip] = labels.rows.get(clip, {}) | rows[name]
    return labels


def _plain_tables(folder: Path) -> Iterator[tuple[Path, Rows, list[str]]]:
    files = _files(folder, TABLE_SUFFIXES)
    if len(files) > 1:
        raise UserError(f"{folder}: holds {len(files)} tables ({listed(files)}), expected one CSV or JSONL")
    for name in files:
        file = folder / name
        if file.suffix.lower() == ".jsonl":
            rows, notes = _json_lines(file)
        else:
            rows, notes = _delimited(file)
        yield file, *_by_name(file, rows, notes)


def _sample_tables(folder: Path, clips: list[str]) -> Iterator[tuple[Path, Rows, list[str]]]:
    stems = {Path(clip).with_suffix("").as_posix() for clip in clips}
    found = {}
    for name in _files(folder, (".json",)):
        if Path(name).stem in stems:  # beside a clip
            continue
        if (samples := _samples(folder / name)) is not None:
            found[name] = samples
    if len(found) > 1:
        raise UserError(f"{folder}: holds {len(found)} datasets ({listed(found)}), expected one {DATASET_FILE}")
    for name, samples in found.items():
        yield folder / name, *_by_name(folder / name, enumerate(samples, start=1), [])


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in suffixes and path.is_file())


# ---- forms of tables -------------------------------------------------------------------------------------------------


def _json_lines(file: Path) -> tuple[Iterable[tuple[int, dict]], list[str]]:
    rows, wrong = [], []
    for number, line in enumerate(read_text(file, JSON_BYTES_MAX).split("\n"), start=1):
        try:
            rows += [(number, json_labels(line, f"line {number}"))] if line.strip() else []
        except UserError as exc:
            wrong.append(str(exc))
    return rows, [f"{file.name}: {len(wrong)} lines cannot be read; first {wrong[0]}"] if wrong else []


def _delimited(file: Path) -> tuple[Iterable[tuple[int, dict]], list[str]]:
    text = read_text(file, JSON_BYTES_MAX)
    head = text.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=head.count))
    rows, longer = [], []
    try:
        for row in reader:
            longer += [reader.line_num] if row.pop(None, None) else []
            rows.append((reader.line_num, by_field({key: (value or "").strip() for key, value in row.items() if key})))
    except csv.Error as exc:
        raise UserError(f"{file} line {reader.line_num}: {exc}; check its quotes") from exc
    note = f"{file.name}: {len(longer)} rows have more cells than the head, first line {{}}; quote texts with commas"
    return rows, [note.format(longer[0])] if longer else []


def _samples(file: Path) -> list[dict] | None:
    """The samples of a file as the original writes it, with the dataset's tag; None where it is no such file."""
    try:
        value = parse_json(read_bytes(file, JSON_BYTES_MAX), file)
    except UserError:
        if file.name != DATASET_FILE:
            return None
        raise
    head, samples = (value.get("metadata"), value.get("samples")) if isinstance(value, dict) else (None, value)
    if not isinstance(samples, list) or not all(isinstance(sample, dict) for sample in samples):
        if file.name == DATASET_FILE:
            raise UserError(f"{file}: has no samples, expected an array of objects, each with audio_path and caption")
        return None
    if file.name != DATASET_FILE and not any(FILE in by_field(sample) for sample in samples):
        return None
    head = by_field(head) if isinstance(head, dict) else {}
    common = {name: head[name] for name in (CUSTOM_TAG, TAG_POSITION) if name in head}
    return [{**common, **by_field(sample)} for sample in samples]


# ---- rows and clips --------------------------------------------------------------------------------------------------


def _by_name(file: Path, rows: Iterable[tuple[int, dict]], notes: list[str]) -> tuple[Rows, list[str]]:
    """The rows by the names of clips in them, with notes on missing and repeated names."""
    named, again, nameless = {}, [], []
    for number, row in rows:
        name = row.get(FILE)
        if not isinstance(name, str) or not name.strip():
            nameless.append(number)
            continue
        name = name.strip().replace("\\", "/").removeprefix("./")
        if name in named and name not in again:
            again.append(name)
        named[name] = row
    if nameless and not named:
        raise UserError(f"{file} line {nameless[0]}: names no clip; expected a column file, such as file,caption")
    texts = (("names {} clips more than once; the last row of each was read; first {}", again),)
    texts += (("has {} rows that name no clip; first line {}", nameless),)
    return named, [*notes, *_notes(file, texts)]


def _notes(file: Path, texts: Iterable[tuple[str, list]]) -> list[str]:
    return [f"{file.name} {text.format(len(found), listed([str(found[0])]))}" for text, found in texts if found]


def _places(folder: Path, clips: Iterable[str], rows: Mapping) -> dict[str, str]:
    """Clip -> the name of its row: its path, else its file name where no other clip or row has that."""
    inside = {_inside(folder, name): name for name in rows}
    places = {clip: inside[clip] for clip in clips if clip in inside}
    clips_of, rows_of = _by_bare_name(clips), _by_bare_name(rows)
    for name in clips_of.keys() & rows_of.keys():
        if len(clips_of[name]) == len(rows_of[name]) == 1:
            places[clips_of[name][0]] = rows_of[name][0]
    return places


def _inside(folder: Path, name: str) -> str:
    """An absolute path below the folder, as the path in it."""
    return name.removeprefix(f"{folder.resolve().as_posix()}/").removeprefix(f"{folder.as_posix()}/")


def _unused_rows(file: Path, clips: Iterable[str], rows: Mapping, places: Mapping[str, str]) -> list[str]:
    taken, unlabelled = set(places.values()), {Path(clip).name for clip in clips if clip not in places}
    left = [name for name in rows if name not in taken]
    shared = [name for name in left if Path(name).name in unlabelled]
    more = (
        "has {} rows that were not read, as their file name is not unique; give clips by path in the folder; first {}"
    )
    gone = [name for name in left if Path(name).name not in unlabelled]
    return _notes(file, ((more, shared), ("names {} clips that are not there, first {}", gone)))


def _by_bare_name(paths: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(Path(path).name, []).append(path)
    return found
