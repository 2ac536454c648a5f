"""Label files beside a clip: `clip.json`, `clip.txt`, `clip.caption.txt`, `clip.lyrics.txt`, and version 1's
`clip_prompt.txt` and `clip_lyrics.txt`. No torch.

`clip.txt` is one of three: fields (lines such as `bpm: 120`, `lyrics:` and all that follows it last), lyrics (with
lines such as [Verse]), or else a caption.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..json_text import JSON_BYTES_MAX
from ..system.texts import read_bytes, read_text
from .labels import FIELDS, IS_INSTRUMENTAL, OWN_FIELDS, REGIONS, json_labels, label_name

TEXT_BYTES_MOST = 1 << 20  # of a text beside a clip
_FIELD_NAME = re.compile("[A-Za-z][A-Za-z_ ]*")
_ONE_WORD = re.compile(r"\s*[A-Za-z][A-Za-z_]*\s*:.*")  # more than one word before a colon may be a sentence
_SECTION_TAG = re.compile(r"^[^\S\n]*\[[^\[\]\n]+\][^\S\n]*$", re.MULTILINE)
_COMMENT = "#"
_AFTER_LYRICS = frozenset(("custom_tag", "tag_position", "repeat", IS_INSTRUMENTAL, REGIONS))  # never a line of lyrics


@dataclass(frozen=True)
class Sidecar:
    """A label file: its labels, and how it was read, such as "*.txt as lyrics"."""

    labels: dict[str, object]
    reading: str


def sidecars(clip: Path, has_caption: bool = False) -> Iterator[Sidecar]:
    """The label files beside a clip; later ones override earlier ones. `has_caption`: a table gives its caption.

    Raises UserError for a file that cannot be read.
    """
    whole = {
        "caption": _present(clip, f"{clip.stem}_prompt.txt", f"{clip.stem}.caption.txt"),
        "lyrics": _present(clip, f"{clip.stem}_lyrics.txt", f"{clip.stem}.lyrics.txt"),
    }
    has_caption = has_caption or bool(whole["caption"])
    for file in _present(clip, f"{clip.stem}.json"):
        labels = json_labels(read_bytes(file, JSON_BYTES_MAX), file.name)
        has_caption = has_caption or "caption" in labels
        yield Sidecar(labels, "*.json as fields")
    for file in _present(clip, f"{clip.stem}.txt"):
        yield read_plain(read_text(file, TEXT_BYTES_MOST), has_caption)
    for field, files in whole.items():
        for file in files:
            yield Sidecar(
                {field: read_text(file, TEXT_BYTES_MOST).strip()}, f"*{file.name[len(clip.stem) :]} as {field}"
            )


def _present(clip: Path, *names: str) -> list[Path]:
    return [file for name in names if (file := clip.with_name(name)).is_file()]


def read_plain(text: str, has_caption: bool = False) -> Sidecar:
    """The labels in a `clip.txt`: fields, lyrics or a caption, by its form.

    `has_caption`: another file gives the caption, so that several lines are lyrics, as the original reads them.
    """
    lines = text.strip().splitlines()
    if _begins_with_field(lines):
        return Sidecar(_fields(lines, has_caption), "*.txt as fields")
    if _SECTION_TAG.search(text):
        return Sidecar({"lyrics": text.strip()}, "*.txt as lyrics, by their section tags")
    if has_caption and len(lines) > 1:
        return Sidecar({"lyrics": text.strip()}, "*.txt as lyrics, as another file gives the caption")
    return Sidecar({"caption": " ".join(text.split())}, "*.txt as caption")


def _field_of(line: str) -> str | None:
    """The known field that a line gives a value to."""
    name, colon, _ = line.partition(":")
    is_name = colon and _FIELD_NAME.fullmatch(name.strip())
    name = label_name(name) if is_name else None
    return name if name in (*FIELDS, *OWN_FIELDS) else None


def _begins_with_field(lines: list[str]) -> bool:
    """Whether the first line gives a field, and some line a field of a song: "Genre:" alone may begin a caption."""
    lines = [line for line in lines if line.strip() and not line.lstrip().startswith(_COMMENT)]
    return bool(lines and _field_of(lines[0])) and any(_field_of(line) in FIELDS for line in lines)


def _fields(lines: list[str], has_caption: bool) -> dict[str, object]:
    labels, loose = {}, []
    for number, line in enumerate(lines):
        name, value = _field_of(line), line.partition(":")[2].strip()
        if name == "lyrics":
            labels |= _lyrics([value, *lines[number + 1 :]])
            break
        if name:
            labels[name] = value
        elif line.strip() and not line.lstrip().startswith(_COMMENT):
            loose.append(line.strip())
    return {name: value for name, value in (labels | _placed(labels, loose, has_caption)).items() if value}


def _placed(labels: dict, loose: list[str], has_caption: bool) -> dict[str, object]:
    """Lines without a known field belong to the caption; beside a caption, "word: ..." is an unknown field."""
    if "caption" not in labels and has_caption:
        return {label_name(line.partition(":")[0]): line for line in loose}
    unknown = {line: None for line in loose if "caption" in labels and _ONE_WORD.fullmatch(line)}
    rest = " ".join((labels.get("caption", ""), *(line for line in loose if line not in unknown))).strip()
    return {"caption": rest} | {label_name(line.partition(":")[0]): line for line in unknown}


def _lyrics(lines: list[str]) -> dict[str, object]:
    """Lyrics to the end of the file, without the fields at its end that cannot be lyrics."""
    labels: dict[str, object] = {}
    while lines and (not lines[-1].strip() or _field_of(lines[-1]) in _AFTER_LYRICS):
        line = lines.pop()
        if name := _field_of(line):
            labels[name] = line.partition(":")[2].strip()
    return labels | {"lyrics": "\n".join(lines).strip()}
