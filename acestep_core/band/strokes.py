"""Drums, hand percussion and effects by synthesis: swept sines and filtered noise from fixed seeds. Mono float32 `[N]`
at 48 kHz, the same samples every time.
"""

from functools import lru_cache

import numpy as np

RATE_HZ = 48_000


def _noise(seed: int, count: int, low_hz: float, high_hz: float) -> np.ndarray:
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    freq = np.fft.rfftfreq(count, 1 / RATE_HZ)
    spectrum *= 1 / (1 + (low_hz / np.maximum(freq, 1)) ** 6) / (1 + (freq / high_hz) ** 6)
    sound = np.fft.irfft(spectrum, count)
    return sound / np.sqrt(np.mean(sound**2))


def _fall(count: int, seconds: float) -> np.ndarray:
    return np.exp(-np.arange(count) / (seconds * RATE_HZ))


def _knock(seed: int, seconds: float, high_hz: float, decay_s: float) -> np.ndarray:
    count = int(seconds * RATE_HZ)
    return _noise(seed, count, 1500, high_hz) * _fall(count, decay_s)


def _kick(sweep_hz: float, end_hz: float, decay_s: float, click: float) -> np.ndarray:
    t = np.arange(int(4 * decay_s * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * (end_hz * t + (sweep_hz - end_hz) * 0.03 * (1 - np.exp(-t / 0.03)))
    sound = np.sin(phase) * np.exp(-t / decay_s)
    knock = _knock(1, 0.02, 6000, 0.004)
    sound[: len(knock)] += click * knock
    return 0.9 * sound


def _burst(seed: int, decay_s: float, low_hz: float, high_hz: float, level: float) -> np.ndarray:
    count = int(4 * decay_s * RATE_HZ)
    return level * _noise(seed, count, low_hz, high_hz) * _fall(count, decay_s)


def _snare(tone_hz: float, decay_s: float) -> np.ndarray:
    sound = _burst(2, decay_s, 900, 9000, 0.22)
    t = np.arange(len(sound)) / RATE_HZ
    return sound + 0.45 * np.sin(2 * np.pi * tone_hz * t) * np.exp(-t / (0.5 * decay_s))


def _clap() -> np.ndarray:
    sound = _burst(3, 0.09, 800, 6000, 0.26)
    for at in (0.0, 0.011, 0.022):
        start = int(at * RATE_HZ)
        sound[start : start + 300] *= np.linspace(1.8, 0.6, 300)
    return sound


def _struck(partials_hz: tuple[float, ...], decay_s: float, level: float, click: float = 0.1) -> np.ndarray:
    """A struck body: inharmonic partials, and the knock of the stick."""
    t = np.arange(int(4 * decay_s * RATE_HZ)) / RATE_HZ
    sound = sum(np.sin(2 * np.pi * hz * t) * np.exp(-t * (1 + 0.5 * n) / decay_s) for n, hz in enumerate(partials_hz))
    knock = _knock(11, 0.008, 8000, 0.002)
    sound = level * sound / len(partials_hz)
    sound[: len(knock)] += click * knock
    return sound


def _brush() -> np.ndarray:
    sound = _burst(12, 0.06, 1500, 8000, 0.2)
    sound[:480] *= np.linspace(0, 1, 480)
    return sound


def _jingles() -> np.ndarray:
    sound = _burst(13, 0.045, 6000, 14000, 0.15)
    second = _burst(14, 0.03, 7000, 14000, 0.1)
    sound[600 : 600 + len(second)] += second
    return sound


_STROKES = {
    "kick": lambda: _kick(180, 50, 0.11, 0.10),
    "boom": lambda: _kick(120, 44, 0.26, 0.04),
    "thump": lambda: _kick(150, 62, 0.08, 0.14),
    "snare": lambda: _snare(190, 0.07),
    "crack": lambda: _snare(230, 0.05),
    "clap": _clap,
    "rim": lambda: _burst(4, 0.012, 1200, 5000, 0.4),
    "hat": lambda: _burst(5, 0.018, 6500, 13000, 0.16),
    "open": lambda: _burst(6, 0.10, 6000, 13000, 0.13),
    "shaker": lambda: _burst(7, 0.03, 4500, 11000, 0.10),
    "crash": lambda: _burst(8, 0.5, 4000, 13000, 0.12),
    "tom": lambda: _kick(160, 95, 0.10, 0.03),
    "zap": lambda: _kick(700, 55, 0.05, 0.0),
    "hiss": lambda: _burst(9, 0.05, 400, 15000, 0.3),
    "tick": lambda: _burst(10, 0.008, 2500, 15000, 0.22),
    "ride": lambda: _struck((3150, 4870, 6310, 8230, 9770), 0.16, 0.22, 0.12),
    "brush": _brush,
    "timbale": lambda: _struck((740, 1180, 1710), 0.05, 0.6, 0.2),
    "conga": lambda: _kick(260, 190, 0.05, 0.08),
    "slap": lambda: _kick(420, 330, 0.04, 0.25),
    "cowbell": lambda: _struck((747, 1110), 0.07, 0.5, 0.15),
    "clave": lambda: _struck((2450,), 0.02, 0.6, 0.05),
    "tambourine": _jingles,
}
STROKES = tuple(_STROKES)


@lru_cache(maxsize=64)
def stroke(name: str) -> np.ndarray:
    """A drum stroke at full velocity. [N] float32."""
    return _STROKES[name]().astype(np.float32)


@lru_cache(maxsize=8)
def effect(name: str, seconds: float) -> np.ndarray:
    """A riser that grows and brightens for so long, or a fall. [N] float32."""
    count = round(seconds * RATE_HZ)
    course = np.linspace(0, 1, count)
    dull, bright = _noise(15, count, 300, 1500), _noise(16, count, 3000, 9000)
    if name == "riser":
        sound = course**2 * ((1 - course) * dull + course * bright)
    else:
        sound = np.exp(-4 * course) * (1 - course) * (course * dull + (1 - course) * bright)
    return (0.2 * sound).astype(np.float32)
