"""Where a file's sound goes on beyond the length that libsndfile finds, and what length a header promises.

libsndfile guesses the length of an MP3 file without a count of frames from its first ones, and takes the first of
several files that were joined for the whole. No torch.
"""

import mmap
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from soundfile import SoundFile

_MP3_FRAME = 1152  # samples
# Samples by which packets exceed a length, as encoders fill up the first and the last ones.
_EDGES = {"MP3": 3 * _MP3_FRAME, "OGG": 9600}
_FLAC_START = b"fLaC\0\0\0\x22"  # and the header of its first block, which all files have
_COUNTS = (b"Xing", b"Info", b"VBRI")
_COUNT_WITHIN = 256  # bytes of the first frame


def goes_on(file: "SoundFile", path: Path) -> bool:
    """Whether an MP3 or Ogg file has packets beyond its length. They are counted, which takes a tenth of decoding."""
    import av

    edge = edge_seconds(file, path)
    if edge is None:
        return False
    left = file.frames / file.samplerate + edge
    with suppress(av.FFmpegError), av.open(str(path), metadata_errors="replace") as container:
        for packet in container.demux(container.streams.audio[:1]):
            left -= float((packet.duration or 0) * packet.time_base)
            if left < 0:
                return True
    return False


def edge_seconds(file: "SoundFile", path: Path) -> float | None:
    """By how much the length of an MP3 or Ogg file may differ from that of its packets; None for other formats."""
    if file.format not in _EDGES:
        return None
    is_guessed = file.format == "MP3" and not _has_count(path)  # nothing is left out of it then
    return (_MP3_FRAME if is_guessed else _EDGES[file.format]) / file.samplerate


def promised_seconds(file: "SoundFile", path: Path) -> float | None:
    """The length that a file's header gives; None where libsndfile guessed it."""
    return None if file.format == "MP3" and not _has_count(path) else file.frames / file.samplerate


def flac_parts(file: "SoundFile", path: Path) -> list[int]:
    """Where in a file each of several FLAC files begins that were joined; nothing of one file."""
    if file.format != "FLAC":
        return []
    parts = []
    with path.open("rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(_FLAC_START)
        while start >= 0:
            parts.append(start)
            start = data.find(_FLAC_START, start + 1)
    return parts if len(parts) > 1 else []


def _has_count(path: Path) -> bool:
    """Whether the first frame of an MP3 file gives the number of frames."""
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":
            file.seek(10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)))
        else:
            file.seek(0)
        frame = file.read(_COUNT_WITHIN)
    return any(count in frame for count in _COUNTS)
