"""A voice that sings syllables: a source of harmonics through the formants of each sound, and noise where a sound has
it. Mono float32 `[N]` at 48 kHz.

A syllable is `onset/vowel/coda` as `lyrics.py` writes it. The sounds of a syllable share one phase, so that one passes
into the next by fading, as a mouth moves. Formants: Peterson and Barney (1952), male speakers.
"""

from functools import lru_cache

import numpy as np

from .strokes import RATE_HZ
from .voices import PERIOD, hz

FORMANTS_HZ = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (390, 1990, 2550),
    "ee": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (640, 1190, 2390),
    "oo": (300, 870, 2240),
    "er": (490, 1350, 1690),
    "m": (250, 1000, 2200),
    "n": (250, 1500, 2500),
    "ng": (260, 2000, 2700),
    "l": (360, 1000, 2600),
    "r": (350, 1100, 1500),
    "w": (300, 700, 2200),
    "y": (280, 2200, 3000),
    "murmur": (200, 900, 2200),
}
GLIDES = {"ai": ("a", "i"), "ei": ("e", "ee"), "oi": ("o", "ee"), "ou": ("a", "oo"), "oh": ("o", "oo")}
WIDTHS_HZ = (80.0, 100.0, 130.0)
NASAL_LEVEL = 0.45
# Noise of a consonant: from and to in Hz, level, seconds; the voice sounds through it or not.
NOISES = {
    "s": (5000, 10000, 0.05, 0.09, False),
    "sh": (2200, 6500, 0.06, 0.09, False),
    "f": (1500, 9000, 0.02, 0.08, False),
    "th": (1500, 8000, 0.02, 0.06, False),
    "h": (600, 4000, 0.02, 0.06, False),
    "k": (1500, 4500, 0.08, 0.03, False),
    "t": (3000, 8000, 0.08, 0.03, False),
    "p": (500, 2500, 0.06, 0.03, False),
    "ch": (2200, 7000, 0.06, 0.06, False),
    "z": (5000, 10000, 0.02, 0.07, True),
    "v": (1500, 8000, 0.01, 0.06, True),
    "j": (2200, 7000, 0.03, 0.06, True),
    "b": (300, 1500, 0.03, 0.03, True),
    "d": (2500, 6000, 0.03, 0.03, True),
    "g": (1200, 3500, 0.03, 0.03, True),
}
SIZES = {"male voice": 1.0, "female voice": 1.16, "choir": 1.08}  # of the throat: formants lie so much higher
VOICED_S, FADE_S, RELEASE_S = 0.07, 0.035, 0.06
VIBRATO_HZ, VIBRATO_CENTS, VIBRATO_AFTER_S = 5.4, 18.0, 0.25
SLIDE_S = 0.09


def sing(voice: str, midi: int, seconds: float, syllable: str, slide: float = 0.0) -> np.ndarray:
    """A syllable on a note, held for `seconds`, then released. [N] float32."""
    t = np.arange(round((seconds + RELEASE_S) * RATE_HZ)) / RATE_HZ
    place = _place(midi, t, slide)
    sound = np.zeros(len(t), np.float32)
    for name, begin, end in _course(syllable, seconds):
        if name in NOISES:
            _add_noise(sound, name, begin)
        if name not in NOISES or NOISES[name][4]:
            shape = _shape(t, begin, end)
            sound += shape * _table(voice, name if name in FORMANTS_HZ else "murmur", midi)[place]
    release = int(RELEASE_S * RATE_HZ)
    sound[-release:] *= np.linspace(1, 0, release, dtype=np.float32) ** 2
    return sound


def _course(syllable: str, seconds: float) -> list[tuple[str, float, float]]:
    """(sound, from, to) in seconds: consonants take their time at both ends, the vowel has the rest."""
    onset, vowel, coda = (syllable or "m/u/").split("/")
    onsets, codas = _consonants(onset), _consonants(coda)
    before, behind = (sum(map(_length, sounds)) for sounds in (onsets, codas))
    squeeze = min(1.0, 0.6 * seconds / (before + behind + 1e-9))
    course, at = [], 0.0
    vowel_s = seconds - squeeze * (before + behind)
    parts = GLIDES.get(vowel, (vowel,))
    vowels = [(parts[0], 0.62 * vowel_s), (parts[1], 0.38 * vowel_s)] if len(parts) == 2 else [(vowel, vowel_s)]
    lengths = [(name, squeeze * _length(name)) for name in onsets]
    for name, length in (*lengths, *vowels, *((name, squeeze * _length(name)) for name in codas)):
        course.append((name, at, at + length))
        at += length
    return course


def _consonants(text: str) -> list[str]:
    """ "ngz" → ng, z; letters without a sound of their own are left out."""
    found, known = [], (*NOISES, *FORMANTS_HZ)
    while text:
        name = next((text[:size] for size in (2, 1) if text[:size] in known), "")
        found += [name] if name else []
        text = text[max(1, len(name)) :]
    return found


def _length(name: str) -> float:
    return NOISES[name][3] if name in NOISES else VOICED_S


def _place(midi: int, t: np.ndarray, slide: float) -> np.ndarray:
    """Index into a table of one period, with a slide into the note and vibrato on long ones."""
    cents = 100 * slide * np.clip(1 - t / SLIDE_S, 0, 1)
    cents += VIBRATO_CENTS * np.clip((t - VIBRATO_AFTER_S) / 0.3, 0, 1) * np.sin(2 * np.pi * VIBRATO_HZ * t)
    cycles = np.cumsum(hz(midi) * 2 ** (cents / 1200)) / RATE_HZ
    return (cycles % 1 * PERIOD).astype(np.int64)


def _shape(t: np.ndarray, begin: float, end: float) -> np.ndarray:
    """Fades in around the beginning of a sound, and out around its end; neighbours add up to one."""
    rise = np.clip((t - begin) / FADE_S + (0.5 if begin else 0.0), 0, 1)
    return (rise * np.clip((end - t) / FADE_S + 0.5, 0, 1)).astype(np.float32) if end else rise.astype(np.float32)


@lru_cache(maxsize=512)
def _table(voice: str, name: str, midi: int) -> np.ndarray:
    """One period of a sound. [PERIOD] float32"""
    k = np.arange(1, max(2, int(9000 / hz(midi))) + 1)
    freq = k * hz(midi)
    level = np.zeros(len(k))
    for formant, (centre, width) in enumerate(zip(FORMANTS_HZ[name], WIDTHS_HZ)):
        centre *= SIZES[voice]
        level += (1.0, 0.7, 0.35)[formant] / (1 + ((freq - centre) / width) ** 2)
    level = (level + 0.012) * (k**-0.35)
    spectrum = np.zeros(PERIOD // 2 + 1, complex)
    # Harmonics in step would be one click a period; these phases spread them, the same for every sound.
    spectrum[1 : len(k) + 1] = level * np.exp(1j * np.pi * k**2 / len(k))
    table = np.fft.irfft(spectrum)
    quiet = NASAL_LEVEL if name in ("m", "n", "ng", "murmur", "l", "r") else 1.0
    return (0.1 * quiet * table / np.sqrt(np.mean(table**2))).astype(np.float32)


@lru_cache(maxsize=32)
def _noise(name: str) -> np.ndarray:
    low, high, level, seconds, _ = NOISES[name]
    count = int(seconds * RATE_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(sum(map(ord, name))).standard_normal(count))
    freq = np.fft.rfftfreq(count, 1 / RATE_HZ)
    spectrum *= 1 / (1 + (low / np.maximum(freq, 1)) ** 6) / (1 + (freq / high) ** 6)
    sound = np.fft.irfft(spectrum, count)
    return (level * np.hanning(count) * sound / np.sqrt(np.mean(sound**2))).astype(np.float32)


def _add_noise(sound: np.ndarray, name: str, begin: float) -> None:
    start, noise = int(begin * RATE_HZ), _noise(name)
    room = max(0, min(len(noise), len(sound) - start))
    sound[start : start + room] += noise[:room]
