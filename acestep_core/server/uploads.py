"""Sound files that clients send: kept under handles for a time, bounded in bytes, in samples and in number.

A file is known by its first bytes, never by the name that a client gives it: a list of other files that passes for a
sound would make its reader open those.
"""

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..audio.bounds import SAMPLES_MOST as READ_SAMPLES_MOST
from ..errors import AceStepError, UserError

logger = logging.getLogger(__name__)

FOLDER, UPLOAD_PREFIX, ID_BYTES = "uploads", "u_", 16
UPLOAD_ID = re.compile(rf"{UPLOAD_PREFIX}[0-9a-f]{{{2 * ID_BYTES}}}")
MEGABYTE = 1_000_000
BYTES_MOST, TOTAL_BYTES_MOST = 100 * MEGABYTE, 10_000 * MEGABYTE
KEEP_SECONDS = 7 * 24 * 3600
SAMPLES_MOST = READ_SAMPLES_MOST // 6  # of all channels: eleven minutes of stereo at 48 kHz, 256 MB once decoded
CHANNELS_MOST = 8
DECODE_SECONDS_MOST = 60.0
_BLOCK, _HEAD_BYTES, _ID3_MOST = 1 << 16, 1 << 16, 8
_KINDS = "wav, flac, ogg, opus, mp3, m4a, mp4, webm or aiff"


class TooLarge(AceStepError):
    """More than an upload, or all of them together, may have."""


@dataclass(frozen=True)
class Upload:
    """A sound that a client sent."""

    id: str
    path: Path
    size: int
    seconds: float


class Uploads:
    """The uploads of a library, in a folder of its own. Raises UserError and TooLarge."""

    def __init__(self, own_folder: Path, bytes_most: int = BYTES_MOST, keep_seconds: float = KEEP_SECONDS):
        self.folder, self.bytes_most, self.keep_seconds = own_folder / FOLDER, bytes_most, keep_seconds
        self.folder.mkdir(exist_ok=True)

    def put(self, source: BinaryIO) -> Upload:
        """Keeps a sound, read from an open file to its end. Raises UserError for one that is none, TooLarge."""
        self._forget()
        upload_id = f"{UPLOAD_PREFIX}{secrets.token_hex(ID_BYTES)}"
        part = self.folder / f".{upload_id}.part"
        try:
            size = self._copy(source, part)
            path = self.folder / f"{upload_id}.{_kind_of(part)}"
            seconds = _checked_seconds(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return Upload(upload_id, path, size, seconds)

    def path(self, upload_id: str) -> Path:
        """The file of a handle, which is kept longer for it. Raises UserError."""
        if not UPLOAD_ID.fullmatch(upload_id):
            raise UserError(f"upload: got {upload_id[:60]!r}, expected the handle of an upload")
        found = next(self.folder.glob(f"{upload_id}.*"), None)
        if found is None:
            raise UserError(f"upload: there is none of the handle {upload_id}, or it is kept no longer; send it again")
        with suppress(OSError):
            found.touch()
        return found

    def _copy(self, source: BinaryIO, target: Path) -> int:
        size = 0
        with target.open("xb") as file:
            while block := source.read(_BLOCK):
                size += len(block)
                if size > self.bytes_most:
                    raise TooLarge(f"upload: got more than {self.bytes_most / MEGABYTE:g} MB; send a smaller file")
                file.write(block)
        return size

    def _forget(self) -> None:
        """Removes uploads that nobody used for long. Raises TooLarge where the others fill the place."""
        before, total = time.time() - self.keep_seconds, 0
        for path in self.folder.iterdir():
            with suppress(OSError):
                state = path.stat()
                if state.st_mtime < before:
                    path.unlink()
                else:
                    total += state.st_size
        if total > TOTAL_BYTES_MOST:
            raise TooLarge("upload: all uploads together fill the place that they have; try again later")


def _kind_of(path: Path) -> str:
    """The ending of a sound file, by its first bytes. Raises UserError."""
    with path.open("rb") as file:
        for _ in range(_ID3_MOST):  # tags of ID3 may come before a sound of any kind
            head = file.read(12)
            if head[:3] != b"ID3" or len(head) < 10:
                break
            size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0)))
            file.seek(size + 10 - len(head), 1)
    kind = next((name for name, fits in _SIGNATURES.items() if fits(head)), None)
    if kind is None:
        raise UserError(f"upload: is no sound file that is known here; send {_KINDS}")
    return kind


def _starts(*beginnings: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(beginnings)


_SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "wav": lambda head: head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE",
    "flac": _starts(b"fLaC"),
    "ogg": _starts(b"OggS"),
    "m4a": lambda head: head[4:8] == b"ftyp",
    "webm": _starts(b"\x1a\x45\xdf\xa3"),
    "aiff": lambda head: head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"),
    "mp3": lambda head: len(head) > 3 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0,
}


def _checked_seconds(path: Path) -> float:
    """The length of a sound, once all of it has been decoded block by block. Raises UserError."""
    import av

    began, samples, seconds = time.monotonic(), 0, 0.0
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            for frame in _frames(container):
                _check_form(frame)
                samples += frame.samples * len(frame.layout.channels)
                seconds += frame.samples / frame.sample_rate
                _check_bounds(samples, time.monotonic() - began)
    except av.FFmpegError as exc:
        raise UserError(f"upload: is not sound that can be read ({exc.strerror}); send {_KINDS}") from exc
    if not samples:
        raise UserError(f"upload: holds no sound; send {_KINDS}")
    return round(seconds, 3)


def _frames(container) -> Iterator:
    from av import FFmpegError

    stream = next((one for one in container.streams.audio if one.codec_context is not None), None)
    if stream is None:
        return
    for packet in container.demux(stream):
        with suppress(FFmpegError):
            yield from packet.decode()


def _check_form(frame) -> None:
    from ..audio.clips import RATES_HZ

    low, high = RATES_HZ
    channels = len(frame.layout.channels)
    if not 1 <= channels <= CHANNELS_MOST or not low <= frame.sample_rate <= high:
        raise UserError(
            f"upload: has {channels} channels at {frame.sample_rate} Hz, expected 1 to {CHANNELS_MOST} at {low} to "
            f"{high} Hz"
        )


def _check_bounds(samples: int, took: float) -> None:
    if samples > SAMPLES_MOST:
        raise UserError(
            f"upload: has more than {SAMPLES_MOST:,} samples, which are {SAMPLES_MOST / 2 / 48_000:.0f} s of stereo at "
            "48 kHz; send a shorter part, or resample it"
        )
    if took > DECODE_SECONDS_MOST:
        raise UserError(f"upload: was not decoded within {DECODE_SECONDS_MOST:g} s; send a plainer file")
