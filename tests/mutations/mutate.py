"""Every mutation by its name, such as "flip", "json.wrong_value", "header.deep" or "tensors.shape".

The part before the dot tells where the text is that is mutated: "json" is a JSON file, "line" a line of a JSONL file,
"header" the header of a safetensors file, "inner" JSON in its metadata, "tag" JSON in the tags of a sound file.
"""

import json
from collections.abc import Callable
from pathlib import Path

from . import (
    mutate_bytes,
    mutate_json,
    mutate_patterns,
    mutate_silence,
    mutate_sound,
    mutate_tags,
    mutate_tensors,
    mutate_text,
)
from .draw import Draw
from .mutate_tensors import joined, read, split, written

Mutation = Callable[[bytes, Draw], bytes]


def _text(change) -> Mutation:
    def mutation(data: bytes, draw: Draw) -> bytes:
        changed = change(data.decode(), draw)
        return changed if isinstance(changed, bytes) else changed.encode("utf-8", "surrogatepass")

    return mutation


def _line(change) -> Mutation:
    """Of a file with one JSON object a line, each line in turn."""

    def mutation(data: bytes, draw: Draw) -> bytes:
        lines = [line for line in data.decode().split("\n") if line]
        number = draw.number % len(lines)
        lines[number] = change(lines[number], draw)
        return "\n".join((*lines, "")).encode("utf-8", "surrogatepass")

    return mutation


def _header(change) -> Mutation:
    def mutation(data: bytes, draw: Draw) -> bytes:
        header, body = split(data)
        return joined(change(header, draw), body)

    return mutation


def _inner(change) -> Mutation:
    """Of a text in the metadata of a safetensors file that is JSON itself."""

    def mutation(data: bytes, draw: Draw) -> bytes:
        tensors, metadata = read(data)
        key = draw.in_turn([key for key, value in metadata.items() if value.startswith("{")])
        return written(tensors, {**metadata, key: change(metadata[key], draw)})

    return mutation


_PLACES = {"json": _text, "line": _line, "header": _header, "inner": _inner, "tag": mutate_tags.json_in_tags}
_FORMED = {
    f"{place}.{name}": found(change) for place, found in _PLACES.items() for name, change in mutate_json.JSON.items()
}


def _families(**families: dict[str, Mutation]) -> dict[str, Mutation]:
    return {f"{family}.{name}": change for family, changes in families.items() for name, change in changes.items()}


def unchanged(data: bytes, draw: Draw) -> bytes:
    return data


MUTATIONS: dict[str, Mutation] = {
    "unchanged": unchanged,
    **mutate_bytes.BYTES,
    **_FORMED,
    **_families(
        text={name: _text(change) for name, change in {**mutate_text.TEXT, **mutate_json.ENCODED}.items()},
        json={name: _text(change) for name, change in mutate_patterns.PATTERNS.items()},
        tensors=mutate_tensors.TENSORS,
        silence=mutate_silence.SILENCE,
        sound={**mutate_sound.SOUND, **mutate_sound.FLOATS},
        tag=mutate_tags.TAGS,
    ),
}


def mutate(file: Path, name: str, draw: Draw) -> str:
    """Changes a file where it lies; returns the first place where it is another, before and after."""
    before = file.read_bytes()
    after = MUTATIONS[name](before, draw)
    file.write_bytes(after)
    return f"{file.name}: {_difference(_compared(before), _compared(after))}"


def _compared(data: bytes) -> bytes:
    """JSON as the mutations write it, so that only what was mutated differs."""
    try:
        return json.dumps(json.loads(data)).encode()
    except (ValueError, RecursionError):
        return data


def _difference(before: bytes, after: bytes) -> str:
    if before == after:
        return "as before"
    at = next((i for i, (one, other) in enumerate(zip(before, after)) if one != other), min(len(before), len(after)))
    shown = (repr(data[max(0, at - 40) : at + 60])[1:] for data in (before, after))
    return f"{' -> '.join(shown)} at byte {at}, {len(before)} -> {len(after)} bytes"
