"""The think block: a song's metadata as a planner writes and reads it, in YAML 1.1.

A field is one line, or several where a caption is long: PyYAML breaks it after column 80, as in training.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..song import INSTRUMENTAL
from .vocabulary import CODE_TOKEN, END, THINK, THINK_END

FIELDS = ("bpm", "caption", "duration", "keyscale", "language", "timesignature")
_READ = (*FIELDS, "genres")
_NUMBERS = ("bpm", "duration")
_LYRICS_HEADING = re.compile(r"\A# Lyrics?[^\S\n]*(\n|\Z)")


@dataclass(frozen=True)
class Answer:
    """What a planner answered: values by field, code numbers as written, and lyrics."""

    metadata: Mapping[str, int | str] = field(default_factory=dict)
    codes: tuple[int, ...] = ()
    lyrics: str = ""


def think_block(metadata: Mapping[str, object]) -> str:
    """The think block of the values that are not None, by the names of FIELDS."""
    import yaml

    values = {name: _plain(name, metadata[name]) for name in FIELDS if metadata.get(name) is not None}
    written = yaml.dump(values, allow_unicode=True) if values else "\n"
    return f"{THINK}\n{written}{THINK_END}"


def _plain(name: str, value: object) -> object:
    if name == "timesignature" and isinstance(value, str):
        value = value.removesuffix("/4")
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def read_answer(text: str) -> Answer:
    """The Answer in a planner's text, as far as it can be read; no text is an error."""
    _, opened, after = text.partition(THINK)
    thoughts, closed, rest = after.partition(THINK_END)
    if not (opened and closed):
        first = CODE_TOKEN.search(text)
        thoughts, rest = text[: first.start()] if first else text, ""
    codes = tuple(int(found[1]) for found in CODE_TOKEN.finditer(text))
    return Answer(_metadata(thoughts), codes, _lyrics(rest))


def _metadata(thoughts: str) -> dict[str, int | str]:
    values = {}
    for name, lines in _blocks(thoughts):
        if name in _READ:
            values[name] = _value(name, lines)
    return values


def _blocks(thoughts: str) -> Iterator[tuple[str, list[str]]]:
    """(name in lower case, the lines of its value) of each field."""
    name, lines = "", []
    for line in thoughts.split("\n"):
        if line.startswith("<"):
            continue
        if line[:1].strip() and ":" in line:
            yield name, lines
            name, _, value = line.partition(":")
            name, lines = name.strip().lower(), [value]
        elif line[:1] in (" ", "\t") or not line:
            lines.append(line)
    yield name, lines


def _value(name: str, lines: list[str]) -> int | str:
    text = _unquoted(lines) if name in ("caption", "language") else " ".join(" ".join(lines).split())
    return int(text) if name in _NUMBERS and text.isascii() and text.isdigit() else text


def _unquoted(lines: list[str]) -> str:
    """A text as YAML means it where it is in quotes, else with its lines joined by spaces."""
    import yaml

    plain = " ".join(line.strip() for line in lines if line.strip())
    if plain[:1] not in ("'", '"'):
        return plain
    try:
        value = yaml.safe_load("\n".join(lines).strip())
    except (yaml.YAMLError, ValueError, RecursionError):
        return plain
    return value if isinstance(value, str) else plain


def _lyrics(text: str) -> str:
    text = text.strip().removesuffix(END).strip()
    text = _LYRICS_HEADING.sub("", text).strip()
    return text


def is_instrumental(lyrics: str) -> bool:
    """Whether lyrics have no words to sing."""
    return lyrics.strip().lower() in ("", INSTRUMENTAL.lower())
