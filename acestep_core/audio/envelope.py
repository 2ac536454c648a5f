"""Loudness and onsets of a song for each video frame: [frames], float32, 0 to 1.

Frame i is shown from i / fps to (i + 1) / fps seconds. The whole clip sets the scale, even for fewer frames.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch.nn import functional

from ..errors import UserError
from .files import check_item
from .spectrogram import blocks, mel_bank, window_samples
from .waveform import Waveform

FPS = (1.0, 240.0)
FRAMES_MOST = 1_000_000
SILENCE_DB = -90.0  # relative to full scale: the rounding noise of 16-bit files counts as silence

LOUDNESS_SECONDS = 0.03  # the shortest window, one period of the lowest bass
LOUDNESS_RANGE_DB = 40.0

ONSET_WINDOW_SECONDS = 0.02
ONSET_HOP_SECONDS = 0.005
ONSET_LAG = 2  # hops between two compared levels
ONSET_BANDS = 40
ONSET_RANGE_DB = 50.0  # bands so far below the clip's loudest one have no onsets
ONSET_SHARE = 0.1  # of the strongest rise: smaller onsets do not set the scale
ONSET_QUANTILE = 0.9  # share of the onsets below 1


def envelope(
    wave: Waveform, fps: float, frames: int = 0, measure: str = "loudness", smoothing_seconds: float = 0.0
) -> torch.Tensor:
    """The envelope [frames] of one item [1, C, N]; 0 frames: as many as the clip has. After the clip's end it is 0.

    "loudness": the clip's loudest frame is 1, a frame 40 dB quieter is 0. "onsets": how suddenly the level rises.
    `smoothing_seconds`: the time in which a value falls to 37 %; it rises at once, and 0 smooths nothing.
    Raises UserError for values out of range.
    """
    _check(wave, fps, frames, measure, smoothing_seconds)
    whole = max(1, math.ceil(wave.seconds * fps - 1e-6))  # less a millionth, for rounding
    values = _falling_slowly(MEASURES[measure](wave, fps, whole), smoothing_seconds * fps)
    return functional.pad(values, (0, (frames or whole) - whole))


def _check(wave: Waveform, fps: float, frames: int, measure: str, smoothing_seconds: float):
    check_item(wave)
    if not FPS[0] <= fps <= FPS[1]:
        raise UserError(f"fps: got {fps:g}, expected {FPS[0]:g} to {FPS[1]:g} frames a second")
    if not 0 <= frames <= FRAMES_MOST:
        raise UserError(f"frames: got {frames}, expected up to {FRAMES_MOST}, or 0 for the whole clip")
    if measure not in MEASURES:
        raise UserError(f"measure: got {measure!r}, expected one of {', '.join(MEASURES)}")
    if not 0 <= smoothing_seconds < math.inf:
        raise UserError(f"smoothing: got {smoothing_seconds} seconds, expected 0 or more")


def _falling_slowly(values: torch.Tensor, frames: float) -> torch.Tensor:
    if frames == 0:
        return values
    keep, held, made = math.exp(-1 / frames), 0.0, []
    for value in values.tolist():
        held = max(value, held * keep)
        made.append(held)
    return torch.tensor(made)


def _loudness(wave: Waveform, fps: float, count: int) -> torch.Tensor:
    reach = max(1 / fps, LOUDNESS_SECONDS) / 2 * wave.sample_rate_hz
    length, power = wave.samples.shape[-1], []
    for frame in range(count):
        centre = (frame + 0.5) / fps * wave.sample_rate_hz
        first = min(max(0, round(centre - reach)), length - 1)
        window = wave.samples[..., first : max(first + 1, round(centre + reach))]
        power.append(window.float().square().mean().item())
    level = 10 * torch.log10(torch.tensor(power).clamp(min=1e-20))
    if level.max() <= SILENCE_DB:
        return torch.zeros(count)
    return (1 + (level - level.max()) / LOUDNESS_RANGE_DB).clamp(0, 1)


def _onsets(wave: Waveform, fps: float, count: int) -> torch.Tensor:
    rate_hz = wave.sample_rate_hz
    n_fft = window_samples(ONSET_WINDOW_SECONDS, rate_hz)
    hop = max(1, int(min(ONSET_HOP_SECONDS, 1 / fps) * rate_hz))
    bank = mel_bank(n_fft, ONSET_BANDS, rate_hz)
    # A window ends at its time, so that no frame lights up before its onset sounds.
    level = torch.cat([bank @ found for _, found in blocks(wave, n_fft, hop, n_fft - hop)], dim=1)
    if level.max() <= 10 ** (SILENCE_DB / 10):
        return torch.zeros(count)
    level = 10 * torch.log10(level + level.max() * 10 ** (-ONSET_RANGE_DB / 10))
    silence = (level.max() - ONSET_RANGE_DB).expand(ONSET_BANDS, ONSET_LAG)
    rise = (level - torch.cat([silence, level], dim=1)[:, :-ONSET_LAG]).clamp(min=0).mean(0)
    ends = torch.arange(1, len(rise) + 1) * (hop / rate_hz)
    frame = (ends * fps).long().clamp(max=count - 1)
    strongest = torch.zeros(count).scatter_reduce(0, frame, rise, "amax")
    onsets = strongest[strongest >= ONSET_SHARE * strongest.max()]
    return (strongest / onsets.quantile(ONSET_QUANTILE)).clamp(0, 1)


MEASURES: Mapping[str, Callable] = MappingProxyType({"loudness": _loudness, "onsets": _onsets})
