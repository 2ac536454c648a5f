"""How loud a song is, and where its strokes fall, for every picture of a film: [frames], float32, 0 to 1.

Picture i is shown from i / fps to (i + 1) / fps seconds. The whole clip sets the scale, even where a part is asked for.
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
SILENCE_DB = -90.0  # below full scale; what 16-bit files hold as rounding is no sound

LOUDNESS_SECONDS = 0.03  # measured over at least a wave of the lowest bass
LOUDNESS_RANGE_DB = 40.0

ONSET_WINDOW_SECONDS = 0.02
ONSET_HOP_SECONDS = 0.005
ONSET_LAG = 2  # hops between the levels that are compared
ONSET_BANDS = 40
ONSET_RANGE_DB = 50.0  # what is so much quieter than the clip's loudest band makes no stroke
STROKE_SHARE = 0.1  # of the strongest rise; what rises less is no stroke that sets the scale
STROKE_QUANTILE = 0.9  # so many of the strokes stay below 1


def envelope(
    wave: Waveform, fps: float, frames: int = 0, measure: str = "loudness", smoothing_seconds: float = 0.0
) -> torch.Tensor:
    """One item [1, C, N] → [frames]; 0 frames: as many as the clip fills. Past the clip's end all is 0.

    "loudness": the clip's loudest picture is 1, what is 40 dB quieter is 0. "onsets": how suddenly sound comes up.
    `smoothing_seconds`: how long a value takes to die down to 37 %; it rises at once, and 0 leaves it alone.
    """
    _check(wave, fps, frames, measure, smoothing_seconds)
    whole = max(1, math.ceil(wave.seconds * fps - 1e-6))  # a millionth is forgiven to floats
    values = _falling_slowly(MEASURES[measure](wave, fps, whole), smoothing_seconds * fps)
    return functional.pad(values, (0, (frames or whole) - whole))


def _check(wave: Waveform, fps: float, frames: int, measure: str, smoothing_seconds: float):
    check_item(wave)
    if not FPS[0] <= fps <= FPS[1]:
        raise UserError(f"fps: got {fps:g}, expected {FPS[0]:g} to {FPS[1]:g} pictures a second")
    if not 0 <= frames <= FRAMES_MOST:
        raise UserError(f"frames: got {frames}, expected up to {FRAMES_MOST}, or 0 for the whole clip")
    if measure not in MEASURES:
        raise UserError(f"measure: got {measure!r}, expected one of {', '.join(MEASURES)}")
    if not 0 <= smoothing_seconds < math.inf:
        raise UserError(f"smoothing: got {smoothing_seconds} seconds, expected 0 or more")


def _falling_slowly(values: torch.Tensor, pictures: float) -> torch.Tensor:
    if pictures == 0:
        return values
    keep, held, made = math.exp(-1 / pictures), 0.0, []
    for value in values.tolist():
        held = max(value, held * keep)
        made.append(held)
    return torch.tensor(made)


def _loudness(wave: Waveform, fps: float, count: int) -> torch.Tensor:
    reach = max(1 / fps, LOUDNESS_SECONDS) / 2 * wave.sample_rate_hz
    length, power = wave.samples.shape[-1], []
    for picture in range(count):
        centre = (picture + 0.5) / fps * wave.sample_rate_hz
        first = min(max(0, round(centre - reach)), length - 1)
        heard = wave.samples[..., first : max(first + 1, round(centre + reach))]
        power.append(heard.float().square().mean().item())
    level = 10 * torch.log10(torch.tensor(power).clamp(min=1e-20))
    if level.max() <= SILENCE_DB:
        return torch.zeros(count)
    return (1 + (level - level.max()) / LOUDNESS_RANGE_DB).clamp(0, 1)


def _onsets(wave: Waveform, fps: float, count: int) -> torch.Tensor:
    rate_hz = wave.sample_rate_hz
    n_fft = window_samples(ONSET_WINDOW_SECONDS, rate_hz)
    hop = max(1, int(min(ONSET_HOP_SECONDS, 1 / fps) * rate_hz))
    bank = mel_bank(n_fft, ONSET_BANDS, rate_hz)
    # Windows end at the time they stand for, so that no picture lights up before its stroke is heard.
    level = torch.cat([bank @ found for _, found in blocks(wave, n_fft, hop, n_fft - hop)], dim=1)
    if level.max() <= 10 ** (SILENCE_DB / 10):
        return torch.zeros(count)
    level = 10 * torch.log10(level + level.max() * 10 ** (-ONSET_RANGE_DB / 10))
    silence = (level.max() - ONSET_RANGE_DB).expand(ONSET_BANDS, ONSET_LAG)
    rise = (level - torch.cat([silence, level], dim=1)[:, :-ONSET_LAG]).clamp(min=0).mean(0)
    ends = torch.arange(1, len(rise) + 1) * (hop / rate_hz)
    picture = (ends * fps).long().clamp(max=count - 1)
    strongest = torch.zeros(count).scatter_reduce(0, picture, rise, "amax")
    strokes = strongest[strongest >= STROKE_SHARE * strongest.max()]
    return (strongest / strokes.quantile(STROKE_QUANTILE)).clamp(0, 1)


MEASURES: Mapping[str, Callable] = MappingProxyType({"loudness": _loudness, "onsets": _onsets})
