"""One note of a synthesised instrument: mono float32 `[N]` at 48 kHz, the same samples every time.

A voice is read from tables of one period each, between which its spectrum fades; no harmonic lies above
HIGHEST_PARTIAL_HZ, so nothing aliases. Long notes are kept, so that a song is mostly additions.
"""

from functools import lru_cache

import numpy as np

from .instruments import KNOWN_VOICES, ROLES, UNHEARD_VOICES, VOICES, Voice, voices_of
from .strokes import RATE_HZ, stroke

LONGEST_NOTE_S = 6.0
HIGHEST_PARTIAL_HZ = 11_000.0
PERIOD = 8192  # samples of a table
FADES = 48  # tables of a voice that fades
SLIDE_S = 0.11
VIBRATO_HZ = 5.2
BELL = ((1.0, 1.0), (2.0, 0.5), (2.99, 0.45), (4.1, 0.3), (5.42, 0.2))

__all__ = ["RATE_HZ", "ROLES", "UNHEARD_VOICES", "VOICES", "hz", "note", "slid", "stroke", "voices_of"]


def hz(midi: float) -> float:
    return 440.0 * 2.0 ** ((midi - 69.0) / 12.0)


@lru_cache(maxsize=256)
def _tone(name: str, midi: int) -> np.ndarray:
    """The longest note of a voice before its envelope, in float16 to halve the cache."""
    voice, f0 = KNOWN_VOICES[name], hz(midi)
    t = np.arange(int(LONGEST_NOTE_S * RATE_HZ)) / RATE_HZ
    if voice.bell:
        sound = sum(level * np.sin(2 * np.pi * f0 * r * t) * _fading(voice, r, t) for r, level in BELL)
    else:
        sound = _harmonic(voice, f0, t)
    sound = sound * (voice.gain / (np.sqrt(np.mean(sound[:RATE_HZ] ** 2)) + 1e-9))
    return (0.1 * sound).astype(np.float16)


def _harmonic(voice: Voice, f0: float, t: np.ndarray) -> np.ndarray:
    times, tables = _tables(voice, f0)
    near = np.minimum(np.searchsorted(times, t, "right") - 1, len(times) - 2)
    share = ((t - times[near]) / (times[near + 1] - times[near])).astype(np.float32)
    cents = (0.0, voice.detune_cents, -voice.detune_cents) if voice.detune_cents else (0.0,)
    sound = np.zeros(len(t), np.float32)
    for cent in cents:
        place = near * PERIOD + _place(f0 * 2 ** (cent / 1200), t, voice.vibrato_cents)
        sound += (1 - share) * tables.ravel()[place] + share * tables.ravel()[place + PERIOD]
    return sound


def _place(f0: float, t: np.ndarray, vibrato_cents: float) -> np.ndarray:
    """Where in a period a note is, as an index into a table."""
    depth = vibrato_cents / 1200 * np.log(2) / (2 * np.pi * VIBRATO_HZ)
    cycles = f0 * (t + depth * np.sin(2 * np.pi * VIBRATO_HZ * t))
    return (cycles % 1 * PERIOD).astype(np.int64)


def _tables(voice: Voice, f0: float) -> tuple[np.ndarray, np.ndarray]:
    """Times, close together where a note begins, and a period of the sound at each. [K], [K, PERIOD]"""
    times = 1.001 * LONGEST_NOTE_S * np.linspace(0, 1, FADES if voice.decay_s < 50 else 2) ** 3
    highest = max(1, min(24, int(HIGHEST_PARTIAL_HZ / f0)))
    k = np.arange(1, highest + 1)
    level = k**-voice.tilt / (1 + (k / voice.cutoff) ** 4) * (k % 2 if voice.odd_only else 1)
    fall = np.exp(-times[:, None] * k**voice.fade / voice.decay_s) if voice.decay_s < 50 else np.ones((2, len(k)))
    spectrum = np.zeros((len(times), PERIOD // 2 + 1), complex)
    spectrum[:, 1 : highest + 1] = -0.5j * PERIOD * level * fall
    tables = np.fft.irfft(spectrum)
    if voice.drive:
        tables = _driven(tables, voice.drive, int(HIGHEST_PARTIAL_HZ / f0))
    return times, tables.astype(np.float32)


def _driven(tables: np.ndarray, drive: float, highest: int) -> np.ndarray:
    """Periods through an amplifier that distorts, without harmonics above the highest."""
    spectrum = np.fft.rfft(np.tanh(drive * tables / (tables[0].std() + 1e-9)))
    spectrum[:, max(2, highest) :] = 0
    return np.fft.irfft(spectrum)


def _fading(voice: Voice, ratio: float, t: np.ndarray) -> np.ndarray:
    return np.exp(-t * (ratio**voice.fade / voice.decay_s))


def note(name: str, midi: int, seconds: float, slide: float = 0.0) -> np.ndarray:
    """A note held for `seconds`, then released; it begins `slide` semitones from its pitch. [N] float32."""
    voice = KNOWN_VOICES[name]
    held = min(int(seconds * RATE_HZ), int((LONGEST_NOTE_S - voice.release_s) * RATE_HZ))
    tail = int(voice.release_s * RATE_HZ)
    sound = slid(_tone(name, midi)[: held + tail].astype(np.float32), slide)
    rise = min(int(voice.attack_s * RATE_HZ), held)
    sound[:rise] *= np.linspace(0, 1, rise, dtype=np.float32)
    sound[held:] *= np.linspace(1, 0, len(sound) - held, dtype=np.float32) ** 2
    return sound


def slid(sound: np.ndarray, slide: float) -> np.ndarray:
    """A note whose pitch glides to its own from `slide` semitones away; as many samples, the last one repeated.

    [..., N]
    """
    count = min(int(SLIDE_S * RATE_HZ), sound.shape[-1] // 2)
    if not slide or count < 2:
        return sound
    rate = 2 ** (slide * np.linspace(1, 0, count) / 12)
    read = np.cumsum(rate) - rate[0]
    read *= round(read[-1]) / read[-1]  # the rest follows on a whole sample
    source = np.arange(sound.shape[-1])
    rows = [np.interp(read, source, row) for row in sound.reshape(-1, sound.shape[-1])]
    rest = sound[..., int(round(read[-1])) + 1 :][..., : sound.shape[-1] - count]
    glided = np.concatenate([np.stack(rows).reshape(*sound.shape[:-1], count), rest], -1).astype(np.float32)
    missing = sound.shape[-1] - glided.shape[-1]
    return np.concatenate([glided, np.repeat(glided[..., -1:], max(0, missing), -1)], -1)[..., : sound.shape[-1]]
