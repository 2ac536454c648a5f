"""Mutations of the tags of sound: the JSON in them, what would steer a terminal, and text in old encodings."""

import re
import tempfile
from pathlib import Path

from .draw import Draw
from .mutate_sound import checked

KINDS = {b"RIFF": "wav", b"fLaC": "flac", b"OggS": "ogg", b"ID3\x04": "mp3"}
RAW = (
    *(
        "\x1b[31m\x07mutant",
        "a" * 300_000,
        "",
        " ",
        "\n\n",
        "[" * 100_000,
        "null",
        "nan",
        "1e999",
        "\u202emutant",
        "\u2028",
    ),
    *("![x](http://example.com/a.png)", "<img src=x>", "\x00x", "%s%n%x", "٣", "🎵" * 1000),
)
NAMES = (
    "title",
    "artist",
    "song",
    "settings",
    "models",
    "lyrics",
    "bpm",
    "key",
    "comment",
    "seed",
    "\x1b[31m",
    "encoder",
)


def _kind(data: bytes) -> str:
    kind = KINDS[data[:4]]
    return "opus" if kind == "ogg" and b"OpusHead" in data[:64] else kind


def _tags(data: bytes) -> dict[str, str]:
    from .library import read_tags

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"x.{_kind(data)}")
        file.write_bytes(data)
        return read_tags(file)


def _with_tags(data: bytes, tags: dict[str, str]) -> bytes:
    from .library import tagged

    return tagged(data, _kind(data), tags)


def json_in_tags(change):
    """Of one of the tags that are JSON, each in turn."""

    def mutation(data: bytes, draw: Draw) -> bytes:
        tags = _tags(data)
        names = sorted(name for name, value in tags.items() if value.startswith("{"))
        name = draw.choice(names)
        return _with_tags(data, {**tags, name: change(tags[name], draw)})

    return mutation


def raw(data: bytes, draw: Draw) -> bytes:
    """A tag holds something else."""
    return _with_tags(data, {**_tags(data), draw.choice(NAMES): draw.in_turn(RAW)})


def latin1(data: bytes, draw: Draw) -> bytes:
    """The tags' accented letters are in Latin-1, as old programs write them."""
    changed = data.replace("é".encode(), draw.in_turn((b"\xe9 ", b"\xe9\xe9", b"\xff\xfe", b"\xc3\x28", b"\xed\xa0")))
    if data[:4] == b"OggS":
        for page in [found.start() for found in re.finditer(b"OggS", data)][:3]:
            changed = checked(changed, page)
    return changed


TAGS = {"raw": raw, "latin1": latin1}
