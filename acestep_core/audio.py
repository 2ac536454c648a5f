"""Waveforms and their rate: convert, measure, read and write files with tags.

Samples are float32 [B, channels, N] in -1..1 and never travel without their rate. Files hold one item each.
"""

import io
import logging
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from .errors import UserError
from .formats import FORMATS, AudioFormat, check_destination, choose_format, existing, read_tags, tagged, write_whole
from .spared_imports import need
from .spec import LOUDNESS_LUFS, PEAK_DBFS
from .torchaudio_door import settle_torchaudio

if TYPE_CHECKING:
    from av import AudioFrame

__all__ = [
    "FORMATS",
    "Waveform",
    "check_destination",
    "check_item",
    "choose_format",
    "convert",
    "fit",
    "limit",
    "loudness_lufs",
    "normalise_loudness",
    "normalise_peak",
    "read",
    "read_tags",
    "write",
]

logger = logging.getLogger(__name__)

LIMITER_SECONDS = 0.005  # half of the window over which the limiter turns down before a peak and up after it
LOUDNESS_BLOCK_SECONDS = 0.4  # what ITU-R BS.1770 measures in
LOUDNESS_CHANNELS_MOST = 5
LOUDNESS_TOLERANCE_LU = 0.1
SILENT_PEAK = 1e-30  # below it a gain would be infinite
LARGEST_KERNEL = 4_000_000  # torchaudio's, in the product of the reduced rates; 44.1 to 48 kHz is 147 * 160
WRITE_BLOCK = 16384  # samples; libsndfile's Vorbis encoder overflows its stack on one large block


@dataclass(frozen=True)
class Waveform:
    """Samples [B, channels, N], float32, and their rate."""

    samples: torch.Tensor
    sample_rate_hz: int

    def __post_init__(self):
        if self.samples.ndim != 3:
            raise UserError(f"waveform: got shape {list(self.samples.shape)}, expected [batch, channels, samples]")

    @property
    def seconds(self) -> float:
        return self.samples.shape[-1] / self.sample_rate_hz

    def __len__(self) -> int:
        return self.samples.shape[0]

    def __getitem__(self, item: int) -> "Waveform":
        """One item of a batch, as a batch of one."""
        return Waveform(self.samples[range(len(self))[item]][None], self.sample_rate_hz)

    def crop(self, seconds: float) -> "Waveform":
        return Waveform(self.samples[..., : round(seconds * self.sample_rate_hz)], self.sample_rate_hz)


def convert(wave: Waveform, rate_hz: int, channels: int) -> Waveform:
    """The same sound at another rate and channel count; ceil(N * new / old) samples."""
    if wave.samples.shape[1] < channels:  # the same for all of them
        resampled = _resample(wave.samples, wave.sample_rate_hz, rate_hz)
        return Waveform(_remix(resampled, channels).contiguous(), rate_hz)
    return Waveform(_resample(_remix(wave.samples, channels), wave.sample_rate_hz, rate_hz), rate_hz)


def fit(wave: Waveform, format: str) -> Waveform:
    """The same sound at the nearest rate and channel count that a format holds; most keep what they are given."""
    rates, channels = FORMATS[format].rates_hz, wave.samples.shape[1]
    if format != "wav":
        channels = min(channels, 2)
    rate_hz = wave.sample_rate_hz
    if rates and rate_hz not in rates:
        rate_hz = min((rate for rate in rates if rate > rate_hz), default=max(rates))
    return convert(wave, rate_hz, channels)


def _remix(samples: torch.Tensor, channels: int) -> torch.Tensor:
    given = samples.shape[1]
    if given == channels:
        return samples
    if given == 1:
        return samples.expand(-1, channels, -1)
    if channels == 1:
        return samples.mean(dim=1, keepdim=True)
    if channels == 2:  # surround: left and right stay, what stands elsewhere is heard from both at -3 dB
        return (samples[:, :2] + samples[:, 2:].sum(dim=1, keepdim=True) * 0.5**0.5) / (1 + (given - 2) * 0.5**0.5)
    raise UserError(f"channels: got {given} to be made {channels}, expected to make one or two of them")


def _resample(samples: torch.Tensor, from_hz: int, to_hz: int) -> torch.Tensor:
    if from_hz == to_hz:
        return samples
    length = math.ceil(samples.shape[-1] * to_hz / from_hz)
    # Rates with hardly a common factor make torchaudio's kernel gigabytes; soxr needs none.
    torchaudio = settle_torchaudio() if from_hz * to_hz <= LARGEST_KERNEL * math.gcd(from_hz, to_hz) ** 2 else None
    if torchaudio:
        return torchaudio.functional.resample(samples, from_hz, to_hz)[..., :length]
    import soxr

    rows = samples.reshape(-1, samples.shape[-1]).cpu().numpy().T  # soxr wants [N, rows]
    made = torch.from_numpy(np.ascontiguousarray(soxr.resample(rows, from_hz, to_hz).T)).to(samples)
    made = functional.pad(made[:, :length], (0, max(0, length - made.shape[-1])))
    return made.reshape(*samples.shape[:-1], length)


def loudness_lufs(wave: Waveform) -> tuple[float, ...]:
    """Integrated loudness (ITU-R BS.1770) of each item; -inf for silence. Raises UserError under 0.4 s, and for more
    channels than it is defined for.
    """
    need("scipy")
    import pyloudnorm

    if wave.seconds < LOUDNESS_BLOCK_SECONDS:
        raise UserError(f"loudness: got {wave.seconds:.2f} s of sound, expected at least {LOUDNESS_BLOCK_SECONDS} s")
    if wave.samples.shape[1] > LOUDNESS_CHANNELS_MOST:
        raise UserError(
            f"loudness: got {wave.samples.shape[1]} channels, expected at most {LOUDNESS_CHANNELS_MOST}; make it stereo"
        )
    meter = pyloudnorm.Meter(wave.sample_rate_hz)
    items = wave.samples.cpu().double().numpy()
    return tuple(float(meter.integrated_loudness(item.T)) if np.abs(item).max() > 0 else -math.inf for item in items)


def normalise_peak(wave: Waveform, dbfs: float = PEAK_DBFS) -> Waveform:
    """Each item at the same peak, louder or quieter, as the original does by default. Silence stays silence."""
    low, high = wave.samples.amin(dim=(1, 2), keepdim=True), wave.samples.amax(dim=(1, 2), keepdim=True)
    peak = torch.maximum(high, -low)
    return Waveform(wave.samples * torch.where(peak > SILENT_PEAK, 10 ** (dbfs / 20) / peak, 1.0), wave.sample_rate_hz)


def normalise_loudness(wave: Waveform, lufs: float = LOUDNESS_LUFS, peak_dbfs: float = PEAK_DBFS) -> Waveform:
    """Each item at `lufs`, peaks held under `peak_dbfs` by a limiter. Silence stays silence; the log tells a miss."""
    if not -70 <= lufs <= 0:
        raise UserError(f"loudness: got {lufs} LUFS, expected -70 to 0, such as {LOUDNESS_LUFS:g}")
    return Waveform(
        torch.cat([_louden(wave[i], lufs, peak_dbfs).samples for i in range(len(wave))]), wave.sample_rate_hz
    )


def _louden(wave: Waveform, lufs: float, peak_dbfs: float) -> Waveform:
    gain_db, made, reached = 0.0, wave, loudness_lufs(wave)[0]
    if math.isinf(reached):
        return wave
    for _ in range(6):  # the limiter takes loudness away, so the gain before it is found by trying
        gain_db += lufs - reached
        made = limit(Waveform(wave.samples * 10 ** (gain_db / 20), wave.sample_rate_hz), peak_dbfs)
        reached = loudness_lufs(made)[0]
        if abs(reached - lufs) <= LOUDNESS_TOLERANCE_LU:
            return made
    logger.warning("loudness: reached %.1f LUFS, not %.1f; more would crush this song", reached, lufs)
    return made


def limit(wave: Waveform, peak_dbfs: float = PEAK_DBFS) -> Waveform:
    """Peaks held under `peak_dbfs` by a gain that moves smoothly before and after them, alike in all channels."""
    ceiling = 10 ** (peak_dbfs / 20)
    if wave.samples.abs().max() <= ceiling:
        return wave
    reach = max(1, round(LIMITER_SECONDS * wave.sample_rate_hz))
    peak = wave.samples.abs().amax(dim=1, keepdim=True).double()  # [B, 1, N]
    wanted = torch.where(peak > ceiling, ceiling / peak, 1.0)
    lowest = -functional.max_pool1d(-functional.pad(wanted, (reach, reach), value=1.0), 2 * reach + 1, stride=1)
    # Each mean is over values that are none above the gain wanted at its centre, so the ceiling holds.
    gain = functional.avg_pool1d(functional.pad(lowest, (reach, reach), mode="replicate"), 2 * reach + 1, stride=1)
    return Waveform((wave.samples * gain.to(wave.samples)).clamp(-ceiling, ceiling), wave.sample_rate_hz)


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
