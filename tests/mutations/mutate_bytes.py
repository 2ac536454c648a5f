"""Mutations of any file: its bytes flipped, cut, doubled, zeroed, or cut off at a border of its structure."""

import json
import re
from collections.abc import Iterator

from .draw import Draw

MOST_FLIPPED = 8
_MARKS = re.compile(rb"OggS|PK\x01\x02|PK\x03\x04|PK\x05\x06|moov|mdat|trak|stbl|udta|ilst|\xff[\xfb\xfa\xf3\xf2]")
_TEXT_MARKS = re.compile(rb"[{}\[\]\",:;\n\t]")
OTHER = (
    b"",
    b"\x00" * 4096,
    b"hello, this is not what you think it is\n",
    b"<!DOCTYPE html><html>Sign in to continue</html>",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n",
    b"\x80\x02cposix\nmkdir\nq\x00X\x06\x00\x00\x00pwnedq\x01\x85q\x02Rq\x03.",
    b"PK\x03\x04" + bytes(60),
    b"GGUF" + bytes(60),
    b"RIFF\x24\x00\x00\x00WAVEfmt ",
    b"fLaC\x00\x00\x00\x22",
    b"OggS\x00\x02" + bytes(40),
    b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f",
    b"\xff\xfe{\x00}\x00",
    bytes(range(256)) * 16,
)


def flip(data: bytes, draw: Draw) -> bytes:
    """Some bits are others, half of the time in the first kilobyte, where headers are."""
    changed = bytearray(data)
    end = min(len(changed), 1024) if draw.random() < 0.5 else len(changed)
    for _ in range(draw.randint(1, MOST_FLIPPED)):
        changed[draw.randrange(end)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut(data: bytes, draw: Draw) -> bytes:
    start, end = _range(data, draw)
    return data[:start] + data[end:]


def double(data: bytes, draw: Draw) -> bytes:
    start, end = _range(data, draw)
    return data[:end] + data[start:end] + data[end:]


def zero(data: bytes, draw: Draw) -> bytes:
    start, end = _range(data, draw)
    return data[:start] + bytes(end - start) + data[end:]


def noise(data: bytes, draw: Draw) -> bytes:
    start, end = _range(data, draw)
    return data[:start] + draw.randbytes(end - start) + data[end:]


def insert(data: bytes, draw: Draw) -> bytes:
    start, _ = _range(data, draw)
    return data[:start] + draw.randbytes(draw.randint(1, 64)) + data[start:]


def truncate(data: bytes, draw: Draw) -> bytes:
    """Ends at a border of the structure, or one byte off it."""
    border = draw.in_turn(sorted(set(borders(data))))
    return data[: max(0, border + draw.choice((-1, 0, 0, 1)))]


def other(data: bytes, draw: Draw) -> bytes:
    """Another kind of file under this name."""
    return draw.in_turn(OTHER)


BYTES = {function.__name__: function for function in (flip, cut, double, zero, noise, insert, truncate, other)}


def _range(data: bytes, draw: Draw) -> tuple[int, int]:
    length = draw.choice((1, 2, 3, 8, 64, 1024, max(1, len(data) // 10), max(1, len(data) // 2)))
    start = draw.randrange(max(1, len(data) - length)) if draw.random() < 0.7 else 0
    return start, min(len(data), start + length)


def borders(data: bytes) -> Iterator[int]:
    """Where parts of a file begin and end, as far as its kind is known."""
    yield from (0, len(data) // 2, max(0, len(data) - 1))
    if data[8:9] == b"{":
        yield from _of_safetensors(data)
    elif data[:4] == b"RIFF":
        yield from _of_riff(data)
    elif data[:4] == b"fLaC":
        yield from _of_flac(data)
    elif b"\x00" in data[:4096]:
        yield from (found.start() for found in _MARKS.finditer(data))
    else:
        yield from (found.start() for found in _TEXT_MARKS.finditer(data))


def _of_safetensors(data: bytes) -> Iterator[int]:
    length = int.from_bytes(data[:8], "little")
    yield from (1, 7, 8, 9, 8 + length // 2, 8 + length)
    entries = json.loads(data[8 : 8 + length])
    yield from (8 + length + entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__")


def _of_riff(data: bytes) -> Iterator[int]:
    yield from (4, 8, 12)
    at = 12
    while at + 8 <= len(data):
        yield from (at, at + 4, at + 8)
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")


def _of_flac(data: bytes) -> Iterator[int]:
    at, last = 4, False
    while not last and at + 4 <= len(data):
        yield from (at, at + 4)
        last = data[at] & 0x80
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    yield from (at, at + 16)
