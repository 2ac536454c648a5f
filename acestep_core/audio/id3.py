"""Frames of ID3v2.4 that FFmpeg cannot write: lyrics, and lyrics with their times (USLT, SYLT), for mp3 files.

See id3.org, "ID3 tag version 2.4.0 - Native Frames", 4.8 and 4.9. Lengths are of 7 bits a byte ("syncsafe").
"""

from collections.abc import Iterable

_HEADER = 10  # bytes of the tag's header, and of a frame's
_VERSION = b"ID3\x04\x00"
_UTF8, _LANGUAGE, _MILLISECONDS, _LYRICS = b"\x03", b"XXX", b"\x02", b"\x01"
_LONGEST = (1 << 28) - 1


def with_lyrics(data: bytes, lyrics: str, lines: Iterable[tuple[float, str]] = ()) -> bytes:
    """The bytes of an mp3 file with its lyrics, and with lines as (seconds, text), in its ID3 tag."""
    frames = _frame(b"USLT", _UTF8 + _LANGUAGE + b"\x00" + lyrics.encode()) if lyrics else b""
    timed = b"".join(_line(seconds, text) for seconds, text in lines)
    if timed:
        frames += _frame(b"SYLT", _UTF8 + _LANGUAGE + _MILLISECONDS + _LYRICS + b"\x00" + timed)
    return _inserted(data, frames)


def _line(seconds: float, text: str) -> bytes:
    return text.replace("\x00", " ").encode() + b"\x00" + round(seconds * 1000).to_bytes(4, "big")


def _frame(name: bytes, content: bytes) -> bytes:
    return name + _length(len(content)) + b"\x00\x00" + content


def _inserted(data: bytes, frames: bytes) -> bytes:
    """Frames at the beginning of a file's tag, or in a new one. A tag that would grow too long stays as it is."""
    if not frames:
        return data
    if not data.startswith(_VERSION):
        return _VERSION + b"\x00" + _length(len(frames)) + frames + data
    size = sum((byte & 0x7F) << shift for byte, shift in zip(data[6:_HEADER], (21, 14, 7, 0)))
    if size + len(frames) > _LONGEST:
        return data
    return data[:6] + _length(size + len(frames)) + frames + data[_HEADER:]


def _length(count: int) -> bytes:
    return bytes(count >> shift & 0x7F for shift in (21, 14, 7, 0))
