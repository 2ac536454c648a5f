"""Mel spectra of waveforms [B, C, N], and a song's spectrogram as a picture with axes [height, width, 3], uint8.

Time runs to the right in seconds, pitch upwards on the mel scale; colour is level in dB below the loudest spot.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import UserError
from .files import check_item
from .waveform import Waveform

if TYPE_CHECKING:
    from PIL import Image

LOWEST_HZ = 20.0
WINDOW_SECONDS = 0.085  # resolves the notes of a bass in frequency, and its strokes in time
BANDS_MOST = 256  # with that window, more bands would be narrower than a bin
BLOCK_FRAMES = 512  # spectra in memory at a time: 17 MB of a stereo song
QUIETEST_TOP_DB = -80.0  # a clip whose loudest spot is below it is shown as silence

SIZE_PX = (128, 8192)
FONT_SHARE = 40  # height of the picture over the height of a letter
PAPER, INK, GRID = (17, 17, 20), (200, 200, 206), (90, 90, 98)
TICKS_HZ = (100, 200, 500, 1000, 2000, 5000, 10000, 20000)
STEPS_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600)
# Black over violet and red to pale yellow in equal steps of perceived lightness.
COLOURS = (
    (1, 2, 16),
    (27, 1, 72),
    (76, 1, 105),
    (135, 2, 116),
    (195, 17, 104),
    (236, 78, 80),
    (254, 140, 77),
    (251, 199, 136),
    (248, 245, 235),
)


# ---- spectra ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # cached, and a later caller may need gradients
def mel_bank(
    n_fft: int, n_mels: int, rate_hz: int, device: str = "cpu", highest_hz: float | None = None
) -> torch.Tensor:
    """Triangular filters of unit height on the HTK mel scale, 20 Hz to `highest_hz`. [n_mels, n_fft // 2 + 1]"""
    edges = _hz(torch.linspace(_mel(LOWEST_HZ), _mel(highest_hz or rate_hz / 2), n_mels + 2).double())
    freq = torch.linspace(0, rate_hz / 2, n_fft // 2 + 1, dtype=torch.float64)
    up = (freq - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - freq) / (edges[2:] - edges[1:-1])[:, None]
    bank = torch.minimum(up, down).clamp(min=0)
    empty = bank.sum(1) == 0  # a low band narrower than a bin takes the nearest bin
    nearest = (freq[None] - edges[1:-1, None]).abs().argmin(1)
    bank[empty, nearest[empty]] = 1.0
    return bank.float().to(device)


def _mel(hz: float) -> float:
    return float(2595 * torch.log10(1 + torch.as_tensor(hz, dtype=torch.float64) / 700))


def _hz(mel: torch.Tensor) -> torch.Tensor:
    return 700 * (10 ** (mel / 2595) - 1)


def power(wave: torch.Tensor, n_fft: int, hop: int, centre: bool = True) -> torch.Tensor:
    """Power spectrum, 1.0 for a full-scale sine. [B, C, N] → [B, C, n_fft // 2 + 1, frames]

    Frame k is centred on sample k * hop, with mirrored ends; without `centre` it begins there, without padding.
    """
    window = _hann(n_fft, str(wave.device))
    flat = wave.reshape(-1, wave.shape[-1])
    spectrum = torch.stft(flat, n_fft, hop, window=window, center=centre, return_complex=True)
    spectrum = torch.view_as_real(spectrum).square().sum(-1) * (2 / window.sum()) ** 2
    return spectrum.view(*wave.shape[:-1], *spectrum.shape[-2:])


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _hann(n_fft: int, device: str) -> torch.Tensor:
    return torch.hann_window(n_fft, device=device)


def window_samples(seconds: float, rate_hz: int) -> int:
    """The power of two next to `seconds`."""
    return max(16, 2 ** round(math.log2(seconds * rate_hz)))


def blocks(wave: Waveform, n_fft: int, hop: int, before: int):
    """Yield (first frame, mean power of the channels [n_fft // 2 + 1, frames]) for all of a clip, block by block.

    Frame k begins `before` samples before sample k * hop; the clip is padded with silence on both sides.
    """
    samples, length = wave.samples[:1], wave.samples.shape[-1]
    frames = 1 + (length - 1) // hop
    for first in range(0, frames, BLOCK_FRAMES):
        start = first * hop - before
        end = (min(first + BLOCK_FRAMES, frames) - 1) * hop - before + n_fft
        part = samples[..., max(0, start) : min(end, length)].float().cpu()
        part = torch.nn.functional.pad(part, (max(0, -start), max(0, end - length)))
        yield first, power(part, n_fft, hop, centre=False)[0].mean(0)


def mel_columns(wave: Waveform, columns: int, bands: int, highest_hz: float) -> torch.Tensor:
    """Mean power in equal time spans of a clip, 1.0 for a full-scale sine. [1, C, N] → [bands, columns]"""
    n_fft, length = window_samples(WINDOW_SECONDS, wave.sample_rate_hz), wave.samples.shape[-1]
    hop = max(1, min(n_fft // 4, length // columns))
    total, count = torch.zeros(n_fft // 2 + 1, columns), torch.zeros(columns)
    for first, found in blocks(wave, n_fft, hop, n_fft // 2):
        column = torch.arange(first, first + found.shape[-1]) * hop * columns // length
        total.index_add_(1, column, found)
        count.index_add_(0, column, torch.ones(len(column)))
    return mel_bank(n_fft, bands, wave.sample_rate_hz, "cpu", highest_hz) @ (total / count)


def _shades(power_columns: torch.Tensor, range_db: float) -> torch.Tensor:
    """0 (silence) to 1 (the loudest spot)."""
    level = 10 * torch.log10(power_columns.clamp(min=1e-20))
    return (1 + (level - level.max().clamp(min=QUIETEST_TOP_DB)) / range_db).clamp(0, 1)


# ---- the picture -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plot:
    """The place of the spectrum in the picture, in pixels, and the time and frequencies at its edges."""

    left: int
    top: int
    width: int
    height: int
    seconds: float
    bands: int
    highest_hz: float

    def x(self, seconds: float) -> float:
        return self.left + self.width * seconds / self.seconds

    def y(self, hz: float) -> float:
        # A row of the spectrum is a band, and the lowest one's centre is a whole band's breadth above LOWEST_HZ.
        lowest = _mel(LOWEST_HZ)
        band = (_mel(hz) - lowest) * (self.bands + 1) / (_mel(self.highest_hz) - lowest) - 0.5
        return self.top + self.height * (1 - band / self.bands)


def spectrogram(
    wave: Waveform, width: int = 1024, height: int = 512, fmax_hz: float = 16000.0, range_db: float = 80.0
) -> np.ndarray:
    """One item [1, C, N] as a picture [height, width, 3], uint8. Channels are shown together, by their mean power.

    `fmax_hz` is the top of the picture, never above half the rate. `range_db` below the loudest spot it is black.
    """
    return np.asarray(picture(wave, width, height, fmax_hz, range_db))


def picture(
    wave: Waveform, width: int = 1024, height: int = 512, fmax_hz: float = 16000.0, range_db: float = 80.0
) -> "Image.Image":
    """The picture of `spectrogram` as a PIL image."""
    from PIL import Image, ImageDraw

    _check(wave, width, height, fmax_hz, range_db)
    font = _font(height)
    plot = _laid_out(wave, width, height, min(fmax_hz, wave.sample_rate_hz / 2), font)
    columns = mel_columns(wave, min(plot.width, wave.samples.shape[-1]), plot.bands, plot.highest_hz)
    drawn = Image.new("RGB", (width, height), PAPER)
    drawn.paste(_coloured(_shades(columns, range_db).flip(0), plot.width, plot.height), (plot.left, plot.top))
    draw = ImageDraw.Draw(drawn)
    draw.font = font
    _draw_pitches(draw, plot)
    _draw_times(draw, plot)
    _draw_levels(drawn, draw, plot, range_db)
    return drawn


def bare_picture(
    wave: Waveform, width: int, height: int, fmax_hz: float = 16000.0, range_db: float = 80.0
) -> "Image.Image":
    """The spectrum alone, without axes, so that a place in it is a time: a PIL image of that size."""
    _check(wave, width, height, fmax_hz, range_db)
    columns, bands = min(width, wave.samples.shape[-1]), min(BANDS_MOST, height)
    spectrum = mel_columns(wave, columns, bands, min(fmax_hz, wave.sample_rate_hz / 2))
    return _coloured(_shades(spectrum, range_db).flip(0), width, height)


def _check(wave: Waveform, width: int, height: int, fmax_hz: float, range_db: float):
    check_item(wave)
    for name, value, (least, most), unit in (
        ("width", width, SIZE_PX, "pixels"),
        ("height", height, SIZE_PX, "pixels"),
        ("fmax", fmax_hz, (200, 1e6), "Hz"),
        ("range", range_db, (10, 200), "dB"),
    ):
        if not least <= value <= most:
            raise UserError(f"{name}: got {value:g}, expected {least:g} to {most:g} {unit}")


def _font(height: int):
    from PIL import ImageFont

    return ImageFont.load_default(size=min(28, max(9, round(height / FONT_SHARE))))


def _laid_out(wave: Waveform, width: int, height: int, highest_hz: float, font) -> _Plot:
    letter = round(font.size)
    left, right = round(font.getlength("20 kHz")) + letter, round(font.getlength("-80 dB")) + 3 * letter
    top, bottom = letter, round(2.2 * letter)
    plot_height = height - top - bottom
    return _Plot(left, top, width - left - right, plot_height, wave.seconds, min(BANDS_MOST, plot_height), highest_hz)


def _coloured(shades: torch.Tensor, width: int, height: int):
    """Shades [rows, columns], 0 to 1, as a picture of that size."""
    from PIL import Image

    enlarged = Image.fromarray(shades.numpy(), "F").resize((width, height), Image.Resampling.BICUBIC)
    place = np.clip(np.asarray(enlarged), 0, 1) * (len(COLOURS) - 1)
    steps, table = np.arange(len(COLOURS)), np.array(COLOURS)
    channels = [np.interp(place, steps, table[:, channel]) for channel in range(3)]
    return Image.fromarray(np.stack(channels, axis=-1).round().astype(np.uint8))


def _draw_pitches(draw, plot: _Plot):
    letter, free = draw.font.size, math.inf  # labels from the bottom up; one that would overlap the last is left out
    for hz in (hz for hz in TICKS_HZ if hz <= plot.highest_hz):
        y = plot.y(hz)
        draw.line((plot.left - letter // 3, y, plot.left - 1, y), fill=GRID)
        if y + letter / 2 < free and y - letter / 2 >= 0:
            label = f"{hz // 1000} kHz" if hz >= 1000 else f"{hz} Hz"
            draw.text((plot.left - letter / 2, y), label, fill=INK, anchor="rm")
            free = y - letter * 0.7


def _draw_times(draw, plot: _Plot):
    letter, bottom = draw.font.size, plot.top + plot.height
    most = max(1, plot.width / (letter * 6))
    step = next((step for step in STEPS_SECONDS if plot.seconds / step <= most), STEPS_SECONDS[-1])
    for number in range(int(plot.seconds / step + 1e-9) + 1):
        x = plot.x(number * step)
        draw.line((x, bottom, x, bottom + letter // 3), fill=GRID)
        draw.text((x, bottom + letter * 0.6), _time(number * step, step), fill=INK, anchor="mt")


def _time(seconds: float, step: float) -> str:
    if step >= 15:
        return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
    return f"{seconds:.{max(0, -math.floor(math.log10(step)))}f} s"


def _draw_levels(drawn, draw, plot: _Plot, range_db: float):
    letter = round(draw.font.size)
    left = plot.left + plot.width + letter
    drawn.paste(_coloured(torch.linspace(1, 0, plot.height)[:, None], letter, plot.height), (left, plot.top))
    for share in (0, 0.25, 0.5, 0.75, 1):
        label = f"{-range_db * share:.0f}" if share else "0 dB"
        draw.text((left + letter * 1.5, plot.top + plot.height * share), label, fill=INK, anchor="lm")
