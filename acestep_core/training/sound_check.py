"""Checks of a clip's sound: of its header before it is read, of its samples [1, channels, N] before it is encoded."""

from pathlib import Path

import torch

from ..audio.clips import RATES_HZ, SILENT_PEAK_DBFS, peak_dbfs
from ..audio.waveform import Waveform, peak
from ..editing.regions import Region
from ..errors import UserError

SHORTEST_SECONDS, LONGEST_SECONDS = 3.0, 3600.0
CLIPPED_SHARE = 0.01  # of samples that stay at full scale; a loud bass has a third of that
FULL_SCALE = 0.98
BLOCK = 1 << 20  # samples


def check_header(path: Path) -> None:
    """Raises UserError where a file's header gives a sample rate or a length that no music has."""
    rate_hz, seconds = _header(path)
    _check_rate(rate_hz)
    _check_length(seconds)


def seconds_of(path: Path) -> float | None:
    """The length that a file's header gives; None where it gives none."""
    return _header(path)[1]


def clip_seconds(path: Path, part: Region | None) -> float | None:
    """The length of a part of a file, by its header; of all of it without a part. None where it is not known."""
    seconds = seconds_of(path)
    if part is None or (part[1] is None and seconds is None):
        return seconds
    return max(0.0, (seconds if part[1] is None else part[1]) - part[0])


def check_sound(wave: Waveform) -> None:
    """Raises UserError for sound that is too short or long, silent or clipped, or has an absurd sample rate."""
    _check_rate(wave.sample_rate_hz)
    _check_length(wave.seconds)
    if wave.seconds < SHORTEST_SECONDS:
        raise UserError(f"is {wave.seconds:.1f} s long, expected at least {SHORTEST_SECONDS:g} s")
    if peak_dbfs(wave) < SILENT_PEAK_DBFS:
        raise UserError("is silent; expected music")
    loudest = peak(wave.samples)
    if loudest >= FULL_SCALE and (share := _held_share(wave.samples, 0.999 * loudest)) > CLIPPED_SHARE:
        raise UserError(f"is clipped in {share:.0%} of its samples; take a version that is not so loud")


def _held_share(samples: torch.Tensor, level: float) -> float:
    """The share of samples [1, channels, N] that stay at a level or above. Blocks bound the memory."""
    length, held = samples.shape[-1], 0
    for start in range(0, length - 1, BLOCK):
        part = samples[..., start : start + BLOCK + 1]
        held += int(((part[..., 1:].abs() >= level) & (part.diff().abs() < 1e-6)).sum())
    return held / (samples.shape[1] * (length - 1))


def _check_rate(rate_hz: int | None) -> None:
    low, high = RATES_HZ
    if rate_hz is not None and not low <= rate_hz <= high:
        raise UserError(f"has a sample rate of {rate_hz} Hz, expected {low} to {high}; take an undamaged file")


def _check_length(seconds: float | None) -> None:
    if seconds is not None and seconds > LONGEST_SECONDS:
        raise UserError(f"is {seconds / 3600:.1f} hours long, expected at most {LONGEST_SECONDS / 3600:g}; cut it up")


def _header(path: Path) -> tuple[int | None, float | None]:
    """Sample rate and seconds that a file's header gives, whatever the encoding of its tags."""
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as file:
            rates = [stream.rate for stream in file.streams.audio if stream.codec_context is not None]
            return (rates or [None])[0], file.duration / av.time_base if file.duration else None
    except (av.FFmpegError, OSError):  # the error of reading it says more
        return None, None
