"""Loudness (ITU-R BS.1770) and peaks of waveforms [B, channels, N]: measured, normalised and limited."""

import logging
import math

import torch
from torch.nn import functional

from ..errors import UserError
from ..spec import LOUDNESS_LUFS, PEAK_DBFS
from .waveform import Waveform, peak

logger = logging.getLogger(__name__)

LIMITER_SECONDS = 0.005  # half of the limiter's window: its attack and its release
LOUDNESS_BLOCK_SECONDS = 0.4  # the block length of ITU-R BS.1770
LOUDNESS_CHANNELS_MOST = 5
LOUDNESS_TOLERANCE_LU = 0.1
SILENT_PEAK = 1e-30  # below it a gain would be infinite


def loudness_lufs(wave: Waveform) -> tuple[float, ...]:
    """Integrated loudness (ITU-R BS.1770) of each item in LUFS; -inf for silence.

    Raises UserError below 0.4 s and above 5 channels, for which it is not defined.
    """
    import pyloudnorm

    if wave.seconds < LOUDNESS_BLOCK_SECONDS:
        raise UserError(f"loudness: got {wave.seconds:.2f} s of sound, expected at least {LOUDNESS_BLOCK_SECONDS} s")
    if wave.samples.shape[1] > LOUDNESS_CHANNELS_MOST:
        raise UserError(
            f"loudness: got {wave.samples.shape[1]} channels, expected at most {LOUDNESS_CHANNELS_MOST}; make it stereo"
        )
    meter = pyloudnorm.Meter(wave.sample_rate_hz)
    return tuple(
        float(meter.integrated_loudness(item.cpu().double().numpy().T)) if peak(item) > 0 else -math.inf
        for item in wave.samples
    )


def normalise_peak(wave: Waveform, dbfs: float = PEAK_DBFS) -> Waveform:
    """Each item scaled to a peak of `dbfs`, as the original does by default. Silence stays silence."""
    low, high = wave.samples.amin(dim=(1, 2), keepdim=True), wave.samples.amax(dim=(1, 2), keepdim=True)
    highest = torch.maximum(high, -low)
    gain = torch.where(highest > SILENT_PEAK, 10 ** (dbfs / 20) / highest, 1.0)
    return Waveform(wave.samples * gain, wave.sample_rate_hz)


def normalise_loudness(wave: Waveform, lufs: float = LOUDNESS_LUFS, peak_dbfs: float = PEAK_DBFS) -> Waveform:
    """Each item at `lufs`, with a limiter at `peak_dbfs`. Silence stays silence; a missed target is a warning."""
    if not -70 <= lufs <= 0:
        raise UserError(f"loudness: got {lufs} LUFS, expected -70 to 0, such as {LOUDNESS_LUFS:g}")
    return Waveform(
        torch.cat([_louden(wave[i], lufs, peak_dbfs).samples for i in range(len(wave))]), wave.sample_rate_hz
    )


def _louden(wave: Waveform, lufs: float, peak_dbfs: float) -> Waveform:
    gain_db, made, reached = 0.0, wave, loudness_lufs(wave)[0]
    if math.isinf(reached):
        return wave
    for _ in range(6):  # the limiter lowers the loudness, so the gain before it is found by iteration
        gain_db += lufs - reached
        louder = Waveform(wave.samples * 10 ** (gain_db / 20), wave.sample_rate_hz)
        made = limit(louder, peak_dbfs)
        if made is louder and gain_db < 0:  # exact; measured again, quiet sound would fall below the measure's gate
            return made
        reached = loudness_lufs(made)[0]
        if abs(reached - lufs) <= LOUDNESS_TOLERANCE_LU:
            return made
    logger.warning("loudness: reached %.1f LUFS, not %.1f; the limiter allows no more for this song", reached, lufs)
    return made


def limit(wave: Waveform, peak_dbfs: float = PEAK_DBFS) -> Waveform:
    """The waveform with a look-ahead limiter at `peak_dbfs`: one smooth gain for all channels."""
    ceiling = 10 ** (peak_dbfs / 20)
    if wave.samples.abs().max() <= ceiling:
        return wave
    reach = max(1, round(LIMITER_SECONDS * wave.sample_rate_hz))
    level = wave.samples.abs().amax(dim=1, keepdim=True).double()  # [B, 1, N]
    wanted = torch.where(level > ceiling, ceiling / level, 1.0)
    lowest = -functional.max_pool1d(-functional.pad(wanted, (reach, reach), value=1.0), 2 * reach + 1, stride=1)
    # Each mean is over minima that include the gain needed at its centre, so it is no larger, and the ceiling holds.
    gain = functional.avg_pool1d(functional.pad(lowest, (reach, reach), mode="replicate"), 2 * reach + 1, stride=1)
    return Waveform((wave.samples * gain.to(wave.samples)).clamp(-ceiling, ceiling), wave.sample_rate_hz)
