"""Sound files: read as waveforms [1, channels, N], and written with their tags, whole or not at all."""

import io
import os
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import UserError
from ..system.files import check_destination, existing, write_whole
from .formats import FORMATS, AudioFormat, choose_format
from .tags import tagged
from .waveform import Waveform, convert

if TYPE_CHECKING:
    from av import AudioFrame

WRITE_BLOCK = 16384  # samples; libsndfile's Vorbis encoder overflows its stack on one large block


def fit(wave: Waveform, format: str) -> Waveform:
    """The same sound at the nearest rate and channel count that a format holds; most keep what they are given."""
    rates, channels = FORMATS[format].rates_hz, wave.samples.shape[1]
    if format != "wav":
        channels = min(channels, 2)
    rate_hz = wave.sample_rate_hz
    if rates and rate_hz not in rates:
        rate_hz = min((rate for rate in rates if rate > rate_hz), default=max(rates))
    return convert(wave, rate_hz, channels)


def write(
    path: "str | os.PathLike",
    wave: Waveform,
    format: str | None = None,
    bit_depth: "str | int | None" = None,
    tags: Mapping[str, object] | None = None,
) -> Path:
    """Write one item [1, channels, N] as a whole or not at all; `format` is read off the name unless given.

    Raises UserError for a format, depth, rate, shape or place that does not do, AceStepError when the disk fails.
    """
    name, depth = choose_format(path, format, bit_depth)
    path = check_destination(path)
    _check_writable(wave, name)
    data = _encoded(wave, FORMATS[name], depth)
    if tags:
        data = tagged(data, name, {str(key).lower(): str(value) for key, value in tags.items()})
    write_whole(path, data)
    return path


def check_item(wave: Waveform):
    """Raises UserError for what is not one item with sound in it."""
    items, channels, length = wave.samples.shape
    if items != 1 or length == 0 or channels == 0:
        raise UserError(f"waveform: got shape {list(wave.samples.shape)}, expected one item [1, channels, samples]")
    if not torch.isfinite(wave.samples).all():
        raise UserError("waveform: has samples that are no numbers (NaN or infinite); nothing was made of it")


def _check_writable(wave: Waveform, name: str):
    check_item(wave)
    channels = wave.samples.shape[1]
    rates = FORMATS[name].rates_hz
    if rates and wave.sample_rate_hz not in rates:
        raise UserError(f"{name}: got {wave.sample_rate_hz} Hz, expected one of {', '.join(map(str, rates))}")
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


def read(path: "str | os.PathLike") -> Waveform:
    """A file's sound as [1, channels, N]: what soundfile knows, and the sound of any other container through PyAV.

    Raises UserError for a file that is missing, has no sound or cannot be decoded.
    """
    import soundfile

    path = existing(path)
    try:
        rows, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        samples = torch.from_numpy(np.ascontiguousarray(rows.T))
    except soundfile.LibsndfileError:
        samples, rate_hz = _decode(path)
    except TypeError as exc:  # soundfile takes a file named .raw for bare samples, and asks the caller for their rate
        raise UserError(
            f"{path}: is not sound that can be read (.raw tells no rate); convert it to wav or flac"
        ) from exc
    if samples.shape[-1] == 0:
        raise UserError(f"{path}: holds no sound")
    if not torch.isfinite(samples).all():
        raise UserError(f"{path}: has samples that are no numbers (NaN or infinite)")
    return Waveform(samples[None], rate_hz)


def _decode(path: Path) -> tuple[torch.Tensor, int]:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise UserError(f"{path}: holds no sound")
            frames = container.decode(container.streams.audio[0])
            # Layout and rate of a stream may change midway, as where two files were joined.
            alike = groupby(frames, lambda frame: (frame.format.name, frame.layout.name, frame.sample_rate))
            waves = [Waveform(_planar(run), rate_hz) for (*_, rate_hz), run in alike]
    except av.FFmpegError as exc:
        raise UserError(f"{path}: is not sound that can be read ({exc.strerror}); convert it to wav or flac") from exc
    if not waves:
        raise UserError(f"{path}: holds no sound")
    rate_hz, channels = waves[0].sample_rate_hz, waves[0].samples.shape[1]
    return torch.cat([convert(wave, rate_hz, channels).samples[0] for wave in waves], dim=-1), rate_hz


def _planar(frames: "Iterable[AudioFrame]") -> torch.Tensor:
    """Frames of one layout and rate, whatever form their samples have, as [1, channels, N]."""
    from av import AudioResampler

    planar = AudioResampler(format="fltp")
    made = (part for frame in frames for part in planar.resample(frame))
    blocks = [np.array(part.to_ndarray(), dtype=np.float32) for part in made]
    return torch.from_numpy(np.concatenate(blocks, axis=1))[None]
