"""Sound files: read as waveforms [1, channels, N], and written with their tags, whole or not at all."""

import contextlib
import io
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..system.files import check_destination, existing, write_beside, write_whole
from .formats import FORMATS, AudioFormat, choose_format
from .gathering import gathered
from .lengths import edge_seconds, flac_parts, goes_on, promised_seconds
from .tags import tagged
from .waveform import Waveform, convert, is_finite

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from soundfile import SoundFile

logger = logging.getLogger(__name__)

READ_BLOCK = 1 << 20  # samples of all channels
FLAC_BYTES_MOST = 4  # for one sample
UNKNOWN_FRAMES = 2**63 - 1  # libsndfile's, as of Ogg files that were joined
LOSSLESS = frozenset({"flac", "alac", "wavpack", "tta", "ape"})
_FINER_THAN_24 = ("PCM_32", "FLOAT", "DOUBLE")
WRITE_BLOCK = 16384  # samples; libsndfile's Vorbis encoder overflows its stack on one large block
CONVERT = "convert it to wav or flac"


def fit(wave: Waveform, format: str) -> Waveform:
    """The same sound at the nearest rate and channel count that a format holds; most keep the given ones."""
    channels = wave.samples.shape[1] if format == "wav" else min(wave.samples.shape[1], 2)
    return convert(wave, FORMATS[format].nearest_rate_hz(wave.sample_rate_hz), channels)


def write(
    path: "str | os.PathLike",
    wave: Waveform,
    format: str | None = None,
    bit_depth: "str | int | None" = None,
    tags: Mapping[str, object] | None = None,
    *,
    replace: bool = True,
) -> Path:
    """Write one item [1, channels, N] as a whole or not at all, and return the file's path.

    `format` is read off the name unless given. Without `replace`, a file of that name stays, and the sound goes to the
    first free one of song_2.flac, song_3.flac, ... Raises UserError for a format, depth, rate, shape or place that does
    not do, AceStepError when the disk fails.
    """
    name, depth = choose_format(path, format, bit_depth)
    path = check_destination(path)
    data = encoded(wave, name, depth, tags)
    if not replace:
        return write_beside(path, data)
    write_whole(path, data)
    return path


def encoded(wave: Waveform, name: str, depth: str, tags: Mapping[str, object] | None = None) -> bytes:
    """The bytes of a file of one item [1, channels, N], in a format and a depth of FORMATS. Raises UserError."""
    _check_writable(wave, name)
    data = _encoded(wave, FORMATS[name], depth)
    return tagged(data, name, {str(key).lower(): str(value) for key, value in tags.items()}) if tags else data


def check_item(wave: Waveform):
    """Raises UserError unless a waveform is one item with sound in it."""
    items, channels, length = wave.samples.shape
    if items != 1 or length == 0 or channels == 0:
        raise UserError(f"waveform: got shape {list(wave.samples.shape)}, expected one item [1, channels, samples]")
    if not is_finite(wave.samples):
        raise UserError("waveform: has samples that are no numbers (NaN or infinite); nothing was made of it")


def _check_writable(wave: Waveform, name: str):
    check_item(wave)
    channels = wave.samples.shape[1]
    FORMATS[name].check_rate(wave.sample_rate_hz)
    if channels > 2 and name != "wav":
        raise UserError(f"{name}: got {channels} channels, expected one or two")


def _encoded(wave: Waveform, kind: AudioFormat, depth: str) -> bytes:
    import soundfile

    rows = wave.samples[0].detach().cpu().float().numpy().T  # [N, channels]
    target, shape = io.BytesIO(), {"samplerate": wave.sample_rate_hz, "channels": rows.shape[1]}
    try:
        with soundfile.SoundFile(
            target, "w", **shape, format=kind.container, subtype=kind.subtypes[depth], **kind.quality
        ) as file:
            for start in range(0, len(rows), WRITE_BLOCK):
                file.write(rows[start : start + WRITE_BLOCK])
    except soundfile.LibsndfileError as exc:
        raise UserError(f"{kind.muxer}: cannot hold {wave.sample_rate_hz} Hz and {rows.shape[1]} channels") from exc
    return target.getvalue()


def read(path: "str | os.PathLike", most_seconds: float = math.inf) -> Waveform:
    """A file's sound as [1, channels, N]: by soundfile where it can, and of any other container by PyAV.

    Channels beyond two are mixed into these. Reads only the first `most_seconds` of a longer clip. Logs a warning for
    that, and for the lost part of a damaged file. Raises UserError for a file that is missing, has no sound, more than
    SAMPLES_MOST, or cannot be decoded.
    """
    import soundfile

    path = existing(path)
    try:
        with soundfile.SoundFile(path) as file:
            wave, more = _opened_by_soundfile(file, path, most_seconds)
    except soundfile.LibsndfileError:  # of another kind, damaged, or of an unknown length
        wave, more = _decode(path, most_seconds)
    except TypeError as exc:  # soundfile takes a file named .raw for bare samples, and needs their rate
        raise UserError(
            f"{path}: is not sound that can be read (a .raw file does not name its rate); {CONVERT}"
        ) from exc
    if wave.samples.shape[-1] == 0:
        raise UserError(f"{path}: holds no sound")
    if not is_finite(wave.samples):
        raise UserError(f"{path}: has samples that are no numbers (NaN or infinite)")
    if more:
        logger.warning("%s: only its first %g seconds are read", path.name, most_seconds)
    return wave


def bit_depth_of(path: "str | os.PathLike", format: str) -> str | None:
    """The depth in which a format of FORMATS holds all of a file's sound; None where that is the format's own."""
    import soundfile

    try:
        subtype = soundfile.info(existing(path)).subtype
    except (soundfile.LibsndfileError, TypeError):  # of another kind: lossy, or read by PyAV
        return None
    fine = subtype in _FINER_THAN_24
    return "32f" if fine and "32f" in FORMATS[format].subtypes else None


def _opened_by_soundfile(file: "SoundFile", path: Path, most_seconds: float) -> tuple[Waveform, bool]:
    """(the first `most_seconds` of an open file [1, channels, N], whether it has more)."""
    if not 0 < file.frames < UNKNOWN_FRAMES:  # of a stream, whose header was written before its samples, or joined
        return _decode(path, most_seconds)
    if file.frames > most_seconds * file.samplerate:
        return _samples(file, path, most_seconds)
    if parts := flac_parts(file, path):
        return _part_by_part(path, parts, most_seconds)
    if _has_more(file, path) or goes_on(file, path):
        return _decode(path, most_seconds)
    return _samples(file, path, most_seconds)


def _has_more(file: "SoundFile", path: Path) -> bool:
    """Whether a FLAC file is larger than the samples of its header: then its header is wrong, or it holds a picture."""
    return file.format == "FLAC" and path.stat().st_size > file.frames * file.channels * FLAC_BYTES_MOST


def _samples(file: "SoundFile", path: Path, most_seconds: float) -> tuple[Waveform, bool]:
    """The same as `_opened_by_soundfile`, of a file of one part."""
    wave = gathered(_rows(file, most_seconds), str(path))
    if wave is None:
        raise UserError(f"{path}: holds no sound")
    more = file.tell() < file.frames and wave.seconds * file.samplerate + 1 > most_seconds * file.samplerate
    promised = None if more else promised_seconds(file, path)
    if promised is not None and promised - wave.seconds > (edge_seconds(file, path) or 0):
        _warn_of_damage(path, wave.seconds, promised)
    return wave, more


def _part_by_part(path: Path, parts: list[int], most_seconds: float) -> tuple[Waveform, bool]:
    """The same of FLAC files that were joined, by the place where each begins."""
    wave = gathered(_rows_of_parts(path, parts, most_seconds), str(path))
    if wave is None:
        raise UserError(f"{path}: holds no sound")
    return wave.crop(min(wave.seconds, most_seconds)), wave.seconds > most_seconds


def _rows_of_parts(path: Path, parts: list[int], most_seconds: float) -> Iterator[tuple[np.ndarray, int]]:
    """A little more than `most_seconds`, so that the caller sees that there is more."""
    import soundfile

    seconds, ends = 0.0, [*parts[1:], path.stat().st_size]
    with path.open("rb") as data:
        for start, end in zip(parts, ends, strict=True):
            data.seek(start)
            with soundfile.SoundFile(io.BytesIO(data.read(end - start))) as file:
                for block, rate_hz in _rows(file):
                    yield block, rate_hz
                    seconds += len(block) / rate_hz
                    if seconds > most_seconds:
                        return


def _rows(file: "SoundFile", most_seconds: float = math.inf) -> Iterator[tuple[np.ndarray, int]]:
    """The samples of an open file block by block [n, channels], and their rate. Blocks bound a wrong header."""
    left, size = most_seconds * file.samplerate, max(1, READ_BLOCK // file.channels)
    while left > 0 and len(block := file.read(int(min(size, left)), dtype="float32", always_2d=True)):
        yield block, file.samplerate
        left -= len(block)


def _decode(path: Path, most_seconds: float) -> tuple[Waveform, bool]:
    """The same as `_samples`, by PyAV. Packets that cannot be decoded are left out."""
    with _opened(path) as (container, stream):
        runs = _alike(_until(_frames(container, stream), most_seconds))
        wave = gathered(((block.T, rate_hz) for run, rate_hz in runs for block in _blocks(run)), str(path))
        expected = _expected_seconds(stream)
    if wave is None:
        raise UserError(f"{path}: holds no sound")
    if expected is not None and round((min(expected, most_seconds) - wave.seconds) * wave.sample_rate_hz) > 0:
        _warn_of_damage(path, wave.seconds, expected)
    return wave.crop(min(wave.seconds, most_seconds)), wave.seconds > most_seconds


def _warn_of_damage(path: Path, seconds: float, expected: float) -> None:
    logger.warning("%s: is damaged: %.2f of its %.2f seconds could be read", path.name, seconds, expected)


def blocks(path: "str | os.PathLike") -> Iterator[tuple[np.ndarray, int]]:
    """A file's sound piece by piece, for whoever does not need all of it in memory: [channels, N] and its rate, which
    may change midway. Packets that cannot be decoded are left out. Raises UserError as `read` does.
    """
    path = existing(path)
    with _opened(path) as (container, stream):
        for run, rate_hz in _alike(_frames(container, stream)):
            for block in _blocks(run):
                yield block, rate_hz


@contextlib.contextmanager
def _opened(path: Path) -> "Iterator[tuple[InputContainer, AudioStream]]":
    """A container and its first stream of sound that can be decoded. Raises UserError."""
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.audio:
                raise UserError(f"{path}: holds no sound")
            # Without a codec, older PyAV versions crash the process when packets are decoded.
            stream = next((one for one in container.streams.audio if one.codec_context is not None), None)
            if stream is None:
                raise UserError(f"{path}: is not sound that can be read (its codec is not known); {CONVERT}")
            yield container, stream
    except MemoryError:  # which PyAV's is, beside an FFmpegError
        raise
    except av.FFmpegError as exc:
        raise UserError(f"{path}: is not sound that can be read ({exc.strerror}); {CONVERT}") from exc


def _alike(frames: "Iterable[AudioFrame]") -> "Iterator[tuple[Iterator[AudioFrame], int]]":
    """Runs of frames of one layout and rate, which may change midway, as where two files were joined."""
    alike = groupby(frames, lambda frame: (frame.format.name, frame.layout.name, frame.sample_rate))
    return ((run, rate_hz) for (*_, rate_hz), run in alike)


def _frames(container: "InputContainer", stream: "AudioStream") -> "Iterator[AudioFrame]":
    from av import FFmpegError

    for packet in container.demux(stream):
        with contextlib.suppress(FFmpegError):
            yield from packet.decode()


def _until(frames: "Iterable[AudioFrame]", most_seconds: float) -> "Iterator[AudioFrame]":
    """Frames of a little more than `most_seconds`, so that the caller sees that there is more."""
    seconds = 0.0
    for frame in frames:
        yield frame
        seconds += frame.samples / frame.sample_rate
        if seconds > most_seconds:
            return


def _expected_seconds(stream: "AudioStream") -> float | None:
    """The length in a file's header; None for lossy formats, which only estimate it."""
    codec = "" if stream.codec_context is None else stream.codec_context.name
    lossless = codec in LOSSLESS or codec.startswith("pcm_")
    return float(stream.duration * stream.time_base) if lossless and stream.duration else None


def _blocks(frames: "Iterable[AudioFrame]") -> Iterator[np.ndarray]:
    """The samples [channels, N] of frames of one layout and rate, whatever form they have."""
    from av import AudioResampler

    planar = AudioResampler(format="fltp")
    for frame in frames:
        for part in planar.resample(frame):
            yield np.array(part.to_ndarray(), dtype=np.float32)
