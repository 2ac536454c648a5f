"""One note of an instrument, one stroke of a drum: mono float32 `[N]` at 48 kHz, the same samples every time.

Pitched voices are sums of harmonics with a decay of their own each, so nothing aliases; drums are swept sines and
filtered noise from fixed seeds. `note` and `stroke` cache their results, so that a clip is mostly additions.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

RATE_HZ = 48_000
LONGEST_NOTE_S = 4.5
HIGHEST_PARTIAL_HZ = 11_000.0


@dataclass(frozen=True)
class Voice:
    """How an instrument sounds: harmonics, how they fade, and the envelope of a note."""

    role: str
    tilt: float  # amplitude of harmonic k is k ** -tilt
    odd_only: bool = False
    cutoff: float = 8.0  # harmonics above it (in multiples of the fundamental) fall at 12 dB an octave
    decay_s: float = 100.0  # of the fundamental; harmonic k fades k ** fade times faster
    fade: float = 0.5
    detune_cents: float = 0.0  # a second and third oscillator this far off, above and below
    vibrato_cents: float = 0.0
    bell: bool = False  # inharmonic partials
    attack_s: float = 0.005
    release_s: float = 0.08
    gain: float = 1.0


VOICES = {
    "synth bass": Voice("bass", 0.9, cutoff=5.0, decay_s=0.7, fade=0.7, release_s=0.05),
    "sub bass": Voice("bass", 2.2, cutoff=3.0, release_s=0.06, gain=1.15),
    "electric bass": Voice("bass", 1.3, cutoff=6.0, decay_s=1.1, fade=1.0, release_s=0.07),
    "warm pad": Voice("pad", 1.1, cutoff=4.0, detune_cents=9.0, attack_s=0.25, release_s=0.4),
    "strings": Voice("pad", 0.9, cutoff=7.0, detune_cents=6.0, vibrato_cents=6.0, attack_s=0.14, release_s=0.3),
    "piano": Voice("keys", 1.2, cutoff=9.0, decay_s=1.3, fade=0.6, release_s=0.15),
    "electric piano": Voice("keys", 1.9, cutoff=6.0, decay_s=1.6, fade=1.2, release_s=0.15),
    "organ": Voice("keys", 1.0, odd_only=True, cutoff=5.0, attack_s=0.012, release_s=0.05),
    "saw lead": Voice("lead", 0.9, cutoff=9.0, detune_cents=5.0, vibrato_cents=8.0, attack_s=0.012, release_s=0.1),
    "square lead": Voice("lead", 1.0, odd_only=True, cutoff=9.0, attack_s=0.008, release_s=0.08),
    "flute": Voice("lead", 2.0, cutoff=4.0, vibrato_cents=14.0, attack_s=0.05, release_s=0.12, gain=1.2),
    "bells": Voice("lead", 1.2, bell=True, decay_s=1.0, fade=0.5, release_s=0.3),
    "pluck": Voice("arp", 1.0, cutoff=8.0, decay_s=0.22, fade=0.6, release_s=0.05),
}
# Played in the genres that pretraining leaves out, and nowhere else.
UNHEARD_VOICES = {
    "triangle bass": Voice("bass", 2.0, odd_only=True, cutoff=20.0, attack_s=0.002, release_s=0.02),
    "pulse chords": Voice("keys", 0.55, cutoff=14.0, attack_s=0.002, release_s=0.02, gain=0.9),
    "pulse lead": Voice("lead", 0.45, cutoff=18.0, vibrato_cents=22.0, attack_s=0.002, release_s=0.02),
    "pulse arp": Voice("arp", 0.5, cutoff=18.0, attack_s=0.002, release_s=0.015),
}
_KNOWN = VOICES | UNHEARD_VOICES
ROLES = ("drums", "bass", "keys", "pad", "lead", "arp")


def voices_of(role: str) -> tuple[str, ...]:
    return tuple(name for name, voice in VOICES.items() if voice.role == role)


def hz(midi: float) -> float:
    return 440.0 * 2.0 ** ((midi - 69.0) / 12.0)


@lru_cache(maxsize=1024)
def _tone(name: str, midi: int) -> np.ndarray:
    """The longest note of a voice before its envelope, in float16 to halve the cache."""
    voice = _KNOWN[name]
    t = np.arange(int(LONGEST_NOTE_S * RATE_HZ), dtype=np.float32) / RATE_HZ
    wobble = 1.0
    if voice.vibrato_cents:
        depth = voice.vibrato_cents / 1200 * np.log(2)
        wobble = 1.0 + depth * np.sin(2 * np.pi * 5.2 * t) / np.maximum(2 * np.pi * 5.2 * t, 1.0)
    cents = (0.0, voice.detune_cents, -voice.detune_cents) if voice.detune_cents else (0.0,)
    sound = np.zeros_like(t)
    for cent in cents:
        sound += _partials(voice, hz(midi + cent / 100), t, wobble)
    sound *= voice.gain / (np.sqrt(np.mean(sound[:RATE_HZ] ** 2)) + 1e-9)
    return (0.1 * sound).astype(np.float16)


def _partials(voice: Voice, f0: float, t: np.ndarray, wobble) -> np.ndarray:
    phase = (2 * np.pi * f0 * t * wobble).astype(np.float32)
    if voice.bell:
        table = [(1.0, 1.0), (2.0, 0.5), (2.99, 0.45), (4.1, 0.3), (5.42, 0.2)]
    else:
        step = 2 if voice.odd_only else 1
        count = max(1, min(24, int(HIGHEST_PARTIAL_HZ / f0)))
        table = [(k, k**-voice.tilt / (1 + (k / voice.cutoff) ** 4)) for k in range(1, count + 1, step)]
    sound = np.zeros_like(t)
    for ratio, level in table:
        if ratio * f0 > HIGHEST_PARTIAL_HZ or level < 1e-3:
            continue
        fall = np.exp(-t * (ratio**voice.fade / voice.decay_s)) if voice.decay_s < 50 else 1.0
        sound += level * np.sin(phase * ratio) * fall
    return sound


def note(name: str, midi: int, seconds: float) -> np.ndarray:
    """A note held for `seconds`, then released. [N] float32."""
    voice = _KNOWN[name]
    held = min(int(seconds * RATE_HZ), int((LONGEST_NOTE_S - voice.release_s) * RATE_HZ))
    tail = int(voice.release_s * RATE_HZ)
    sound = _tone(name, midi)[: held + tail].astype(np.float32)
    rise = min(int(voice.attack_s * RATE_HZ), held)
    sound[:rise] *= np.linspace(0, 1, rise, dtype=np.float32)
    sound[held:] *= np.linspace(1, 0, tail, dtype=np.float32) ** 2
    return sound


def _noise(seed: int, seconds: float, low_hz: float, high_hz: float) -> np.ndarray:
    count = int(seconds * RATE_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    freq = np.fft.rfftfreq(count, 1 / RATE_HZ)
    spectrum *= 1 / (1 + (low_hz / np.maximum(freq, 1)) ** 6) / (1 + (freq / high_hz) ** 6)
    sound = np.fft.irfft(spectrum, count)
    return sound / np.sqrt(np.mean(sound**2))


def _fall(count: int, seconds: float) -> np.ndarray:
    return np.exp(-np.arange(count) / (seconds * RATE_HZ))


def _kick(sweep_hz: float, end_hz: float, decay_s: float, click: float) -> np.ndarray:
    t = np.arange(int(4 * decay_s * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * (end_hz * t + (sweep_hz - end_hz) * 0.03 * (1 - np.exp(-t / 0.03)))
    sound = np.sin(phase) * np.exp(-t / decay_s)
    knock = _noise(1, 0.02, 1500, 6000) * _fall(int(0.02 * RATE_HZ), 0.004)
    sound[: len(knock)] += click * knock
    return 0.9 * sound


def _burst(seed: int, decay_s: float, low_hz: float, high_hz: float, level: float) -> np.ndarray:
    sound = _noise(seed, 4 * decay_s, low_hz, high_hz)
    return level * sound * _fall(len(sound), decay_s)


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
}


@lru_cache(maxsize=32)
def stroke(name: str) -> np.ndarray:
    """A drum stroke at full velocity. [N] float32."""
    return _STROKES[name]().astype(np.float32)
