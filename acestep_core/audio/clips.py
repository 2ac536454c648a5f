"""Clips that a user brings, checked and brought into a vocoder's form before it encodes them."""

import logging
import math

import torch

from ..errors import UserError
from ..spec import MAX_SECONDS
from .waveform import Waveform, convert, is_finite, peak

logger = logging.getLogger(__name__)

RATES_HZ = (4_000, 768_000)  # a file that says anything else is damaged: resampling it would take hours and all memory
SILENT_PEAK_DBFS = -60.0
READ_SECONDS = 1800.0  # read of a file at most; a timbre uses 30 s, a continuation less than the longest song


def check_clip(clip: Waveform, name: str) -> None:
    """Raises UserError, with the clip's `name`, for a clip without sound, or at a rate that no recording has."""
    if clip.samples.shape[-1] == 0 or not is_finite(clip.samples):
        raise UserError(f"{name} has no samples, or samples that are no numbers; give a file with sound")
    low, high = RATES_HZ
    if not low <= clip.sample_rate_hz <= high:
        raise UserError(
            f"{name} has a sample rate of {clip.sample_rate_hz} Hz, expected {low} to {high}; give an undamaged file"
        )
    if peak_dbfs(clip) < SILENT_PEAK_DBFS:
        raise UserError(
            f"{name} is silent (peak {peak_dbfs(clip):.0f} dBFS, expected over {SILENT_PEAK_DBFS:.0f}); leave it out "
            "or give one with sound"
        )


def in_range(clip: Waveform, rate_hz: int, channels: int, name: str) -> Waveform:
    """The clip at a rate and channel count, clipped at full scale as the original does; a warning says so."""
    if peak_dbfs(clip) > 0:
        logger.warning("%s: its peaks at %+.1f dBFS are clipped at full scale", name, peak_dbfs(clip))
    made = convert(clip, rate_hz, channels)
    return Waveform(made.samples.nan_to_num(0.0).clamp(-1.0, 1.0), rate_hz)


def peak_dbfs(clip: Waveform) -> float:
    """The highest peak, -180 for silence."""
    return 20 * math.log10(max(peak(clip.samples), 1e-9))


def three_segments(clip: Waveform, seconds: float) -> Waveform:
    """A clip longer than any song, cut to `seconds` each of its front, middle and back, joined; other clips unchanged.

    The cut bounds the time and memory of resampling a recording of hours.
    """
    if clip.seconds <= MAX_SECONDS:
        return clip
    length, segment = clip.samples.shape[-1], math.ceil(seconds * clip.sample_rate_hz)
    starts = (0, length // 3, length - segment)
    return Waveform(
        torch.cat([clip.samples[..., start : start + segment] for start in starts], dim=-1), clip.sample_rate_hz
    )
