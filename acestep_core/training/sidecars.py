"""Label files beside a clip: `clip.json`, `clip.txt`, `clip.caption.txt`, `clip.lyrics.txt`, and version 1's
`clip_prompt.txt` and `clip_lyrics.txt`. No torch.

`clip.txt` is one of three: fields (lines such as `bpm: 120`, `lyrics:` and all that follows it last), lyrics (with lines
such as [Verse]), or else a caption.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .labels import FIELDS, IS_INSTRUMENTAL, OWN_FIELDS, json_labels, label_name, read_text

_FIELD_LINE = re.compile(r"\s*([A-Za-z][A-Za-z_ ]*?)\s*:\s*(.*)")
_ONE_WORD = re.compile(r"\s*[A-Za-z_]+\s*:.*")  # more than one word before a colon may be a sentence
_SECTION_TAG = re.compile(r"^\s*\[[^\[\]\n]+\]\s*$", re.MULTILINE)
_COMMENT = "#"
_AFTER_LYRICS = frozenset(("custom_tag", "tag_position", "repeat", IS_INSTRUMENTAL))  # no line of a song reads so


@dataclass(frozen=True)
class Sidecar:
    """A label file: its labels, and as what it was read, such as "*.txt as lyrics"."""

    labels: dict[str, object]
    reading: str


def sidecars(clip: Path) -> Iterator[Sidecar]:
    """The label files beside a clip, of which the later override the earlier. Raises UserError for one that cannot be
    read.
    """
    if (file := clip.with_suffix(".json")).is_file():
        yield Sidecar(json_labels(file.read_bytes(), file.name), "*.json as fields")
    whole = {
        field: [name for name in names if (clip.parent / name).is_file()]
        for field, names in (
            ("caption", (f"{clip.stem}_prompt.txt", f"{clip.stem}.caption.txt")),
            ("lyrics", (f"{clip.stem}_lyrics.txt", f"{clip.stem}.lyrics.txt")),
        )
    }
    if (file := clip.with_suffix(".txt")).is_file():
        yield read_plain(read_text(file), bool(whole["caption"]))
    for field, names in whole.items():
        for name in names:
            yield Sidecar({field: read_text(clip.parent / name).strip()}, f"*{name[len(clip.stem) :]} as {field}")


def read_plain(text: str, has_caption_file: bool = False) -> Sidecar:
    """A text without a field's name in its own: fields, lyrics or a caption, whichever its form says.

    `has_caption_file`: the caption stands in a file of its own, so that more than one line are lyrics.
    """
    lines = text.strip().splitlines()
    if _first_field([line for line in lines if not line.lstrip().startswith(_COMMENT)]):
        return Sidecar(_fields(lines), "*.txt as fields")
    if _SECTION_TAG.search(text):
        return Sidecar({"lyrics": text.strip()}, "*.txt as lyrics, for the section tags in it")
    if has_caption_file and len(lines) > 1:
        return Sidecar({"lyrics": text.strip()}, "*.txt as lyrics, for the caption has a file of its own")
    return Sidecar({"caption": " ".join(text.split())}, "*.txt as caption")


def _first_field(lines: list[str]) -> str | None:
    """The field that the first line with text names, if it does."""
    first = next((line for line in lines if line.strip()), "")
    found = _FIELD_LINE.fullmatch(first)
    name = label_name(found[1]) if found else None
    return name if name in (*FIELDS, *OWN_FIELDS) else None


def _fields(lines: list[str]) -> dict[str, object]:
    labels: dict[str, object] = {}
    for number, line in enumerate(lines):
        found = _FIELD_LINE.fullmatch(line)
        name = label_name(found[1]) if found else None
        if name == "lyrics":
            return labels | _lyrics([found[2], *lines[number + 1 :]])
        if name in (*FIELDS, *OWN_FIELDS) or _ONE_WORD.fullmatch(line):
            labels[name] = found[2].strip()
        elif line.strip() and not line.lstrip().startswith(_COMMENT):
            labels["caption"] = f"{labels.get('caption', '')} {line.strip()}".strip()
    return {name: value for name, value in labels.items() if value}


def _lyrics(lines: list[str]) -> dict[str, object]:
    """Lyrics to the end of the file, but for fields that no song has at its end."""
    labels: dict[str, object] = {}
    while lines:
        found = _FIELD_LINE.fullmatch(lines[-1])
        if lines[-1].strip() and not (found and label_name(found[1]) in _AFTER_LYRICS):
            break
        if found:
            labels[label_name(found[1])] = found[2].strip()
        lines = lines[:-1]
    return labels | {"lyrics": "\n".join(lines).strip()}
