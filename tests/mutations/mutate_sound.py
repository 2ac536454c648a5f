"""Mutations of sound: headers that lie, samples that are none, damage in the middle. Any container that is read."""

import re
import struct

import numpy as np

from .draw import Draw

RATES = (0, 1, 2, 7, 100, 1600, 8001, 384_000, 10**6, 2**31 - 1, 2**31, 2**32 - 1)
COUNTS = (0, 1, 2, 7, 255, 2**15, 2**16 - 1)
SIZES = (0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
LOUD = (7.6, 3.8e29, 1e38, float("nan"), float("inf"), -float("inf"), 1e-30, 0.0)
_ATOMS = re.compile(rb"mvhd|mdhd|tkhd|stsz|stts|stsc|stco|mp4a|esds|elst|hdlr|moov|mdat|trak|stsd")


def lie(data: bytes, draw: Draw) -> bytes:
    """One field of the header says what is not so."""
    kinds = {b"RIFF": _lie_riff, b"fLaC": _lie_flac, b"OggS": _lie_ogg}
    made = kinds.get(data[:4], _lie_mp4 if data[4:8] == b"ftyp" else _lie_mpeg)
    return made(data, draw)


def _lie_riff(data: bytes, draw: Draw) -> bytes:
    form = data.index(b"fmt ") + 8
    sound = data.index(b"data") + 4
    lies = (
        *(("<I", form + 4, rate) for rate in RATES),
        *(("<H", form + 2, channels) for channels in (0, 3, 8, 255, 1024, 65535)),
        *(("<H", form + 12, align) for align in COUNTS),
        *(("<H", form + 14, bits) for bits in (0, 1, 7, 8, 24, 32, 64, 255, 65535)),
        *(("<H", form, kind) for kind in (0, 2, 3, 6, 7, 17, 49, 85, 0xFFFE, 0xFFFF)),
        *(("<I", form - 4, size) for size in SIZES),
        *(("<I", sound, size) for size in SIZES),
        *(("<I", 4, size) for size in SIZES),
    )
    return _put(data, *draw.in_turn(lies))


def _lie_flac(data: bytes, draw: Draw) -> bytes:
    """Of STREAMINFO: block sizes, then 20 bits rate, 3 bits channels, 5 bits depth and 36 bits number of samples."""
    packed = int.from_bytes(data[18:26], "big")
    fields = {"rate": (44, 20), "channels": (41, 3), "depth": (36, 5), "samples": (0, 36)}
    lies = {
        "rate": (0, 1, 100, 655_350, 2**20 - 1),
        "channels": (0, 2, 7),
        "depth": (0, 3, 7, 23, 31),
        "samples": (0, 1, 1000, 2**20, 2**31, 2**32, 2**36 - 1),
    }
    name, value = draw.in_turn(
        [(name, value) for name, values in lies.items() for value in values]
        + [(block, size) for block in (8, 10) for size in (0, 1, 15, 16, 65535)]
    )
    if isinstance(name, int):
        return _put(data, ">H", name, value)
    shift, width = fields[name]
    packed = packed & ~((2**width - 1) << shift) | value << shift
    return data[:18] + packed.to_bytes(8, "big") + data[26:]


def _lie_ogg(data: bytes, draw: Draw) -> bytes:
    """Of the first page, which tells rate and channels, or of the last one, whose position tells the length."""
    first, last = data.index(b"OggS"), data.rindex(b"OggS")
    body = first + 28
    lies = [("<Q", last + 6, place) for place in (0, 1, 2**31, 2**40, 2**62, 2**63, 2**64 - 1)]
    lies += [("<I", page + 14, serial) for page in (first, last) for serial in (0, 12345)]
    lies += [("<I", last + 18, number) for number in (0, 2**32 - 1)] + [("<B", last + 5, flags) for flags in (0, 2, 7)]
    if data[body : body + 8] == b"OpusHead":
        lies += [("<B", body + 9, channels) for channels in (0, 3, 8, 255)]
        lies += [("<H", body + 10, skipped) for skipped in COUNTS] + [
            ("<h", body + 16, gain) for gain in (32767, -32768)
        ]
        lies += [("<I", body + 12, rate) for rate in RATES] + [("<B", body + 18, family) for family in (1, 2, 255)]
    else:
        lies += [("<I", body + 12, rate) for rate in RATES] + [("<B", body + 11, channels) for channels in (0, 3, 255)]
        lies += [("<B", body + 28, sizes) for sizes in (0, 0x11, 0xFF)]
    form, where, value = draw.in_turn(lies)
    return checked(_put(data, form, where, value), first if where < last else last)


def checked(data: bytes, page: int) -> bytes:
    """With the right checksum of a page, so that it is not skipped."""
    segments = data[page + 26]
    end = page + 27 + segments + sum(data[page + 27 : page + 27 + segments])
    crc = 0
    for byte in data[page : page + 22] + bytes(4) + data[page + 26 : end]:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return _put(data, "<I", page + 22, crc)


def _lie_mpeg(data: bytes, draw: Draw) -> bytes:
    """The tag's length, the number of frames, or the header of some frame."""
    frames = [found.start() for found in re.finditer(rb"\xff[\xfb\xfa\xf3\xf2]", data)]
    lies = [(">I", 6, size) for size in (0, 0x7F7F7F7F, 0xFFFFFFFF)] if data[:3] == b"ID3" else []
    for name in (b"Xing", b"Info"):
        if (place := data.find(name)) > 0:
            lies += [(">I", place + at, count) for at in (4, 8, 12) for count in SIZES]
    lies += [(">B", frame + at, draw.randrange(256)) for frame in frames[:4] + frames[-2:] for at in (1, 2, 3, 4)]
    return _put(data, *draw.in_turn(lies))


def _lie_mp4(data: bytes, draw: Draw) -> bytes:
    """A number of some atom, or its length."""
    atoms = [found.start() for found in _ATOMS.finditer(data)]
    lies = [(">I", atom + at, size) for atom in atoms for at in (-4, 8, 12, 16, 20, 24, 28) for size in SIZES]
    return _put(data, *draw.in_turn(lies))


def _put(data: bytes, form: str, where: int, value: int) -> bytes:
    where = max(0, min(where, len(data) - struct.calcsize(form)))
    return data[:where] + struct.pack(form, value) + data[where + struct.calcsize(form) :]


def level(data: bytes, draw: Draw) -> bytes:
    """Samples of a float WAV that no loudspeaker could play: all of them, or one in a thousand."""
    start = data.index(b"data") + 8
    samples = np.frombuffer(data[start : start + (len(data) - start) // 4 * 4], "<f4").copy()
    every = slice(None) if draw.random() < 0.6 else slice(None, None, 1000)
    samples[every] = samples[every] * np.float32(draw.in_turn(LOUD))
    return data[:start] + samples.tobytes()


def length(data: bytes, draw: Draw) -> bytes:
    """A float WAV of hardly any samples."""
    start = data.index(b"data") + 8
    count = draw.in_turn((0, 1, 2, 7, 100, 479, 480, 481))
    return _put(data[: start + 8 * count], "<I", start - 4, 8 * count)


def middle(data: bytes, draw: Draw) -> bytes:
    """A stretch in the middle of the sound is noise, or silent, or gone."""
    start = draw.randrange(len(data) // 3, len(data) // 2)
    length = draw.choice((1, 16, 500, len(data) // 20, len(data) // 8))
    filling = draw.choice((draw.randbytes(length), bytes(length), b""))
    return data[:start] + filling + data[start + length :]


SOUND = {"lie": lie, "middle": middle}
FLOATS = {"level": level, "length": length}
