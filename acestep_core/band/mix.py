"""From notes to sound: every voice placed left and right, given its level and room, pumped by the kick where the genre
does that, and brought to one loudness. `play(sketch)` → float32 `[2, N]` at 48 kHz, peak below 1.
"""

from functools import lru_cache

import numpy as np

from .score import Event, write
from .sketch import MOODS, Sketch
from .voices import RATE_HZ, note, stroke

LEVELS = {"drums": 0.95, "bass": 1.7, "keys": 0.62, "pad": 0.42, "lead": 0.85, "arp": 0.75}
PANS = {
    "bass": 0.0,
    "lead": 0.08,
    "arp": 0.45,
    "kick": 0.0,
    "hat": 0.3,
    "open": 0.3,
    "shaker": -0.35,
    "rim": -0.2,
    "tom": -0.25,
}
ROOM = {"drums": 0.05, "bass": 0.0, "keys": 0.12, "pad": 0.2, "lead": 0.22, "arp": 0.25}
PUMPED = {"house": 0.55, "trance": 0.55, "techno": 0.4, "synthwave": 0.25}
LOUDNESS_RMS = 0.16
FADE_OUT_S = 0.25
# Notes and strokes begin on a grid of 5 ms, which is inaudible: a vocoder with frames of that length then gives equal
# latents for equal notes, and a small transformer has less to learn.
ONSET_GRID = 240


def play(sketch: Sketch) -> np.ndarray:
    """The clip, [2, seconds * 48000] float32."""
    count = int(round(sketch.seconds * RATE_HZ))
    buses = {role: np.zeros((2, count), np.float32) for role in sketch.voices}
    for event in write(sketch):
        _add(buses[event.role], event, sketch)
    dry, wet = np.zeros((2, count), np.float32), np.zeros((2, count), np.float32)
    pump = _pump(sketch, count)
    for role, bus in buses.items():
        bus *= LEVELS[role]
        if role != "drums":
            bus *= pump
        dry += bus
        wet += ROOM[role] * bus
    mixed = dry + _reverberate(wet, sketch.genre in ("ambient", "trance") or sketch.mood == "dreamy")
    return _master(_tilt(mixed, MOODS[sketch.mood][2]))


def _add(bus: np.ndarray, event: Event, sketch: Sketch) -> None:
    if event.role == "drums":
        sound = stroke(event.voice)
    else:
        sound = note(event.voice, event.midi, event.beats * sketch.seconds_per_beat)
    start = ONSET_GRID * round(event.beat * sketch.seconds_per_beat * RATE_HZ / ONSET_GRID)
    sound = sound[: max(0, bus.shape[1] - start)] * (event.velocity * MOODS[sketch.mood][3])
    pan = PANS.get(event.voice, PANS.get(event.role, 0.0))
    if event.role in ("keys", "pad"):
        pan = 0.5 * ((event.midi * 7) % 11 / 5 - 1)  # each note of a chord has its place
    left, right = np.cos((pan + 1) * np.pi / 4), np.sin((pan + 1) * np.pi / 4)
    bus[0, start : start + len(sound)] += left * sound
    bus[1, start : start + len(sound)] += right * sound


def _pump(sketch: Sketch, count: int) -> np.ndarray:
    depth = PUMPED.get(sketch.genre, 0.0) if "drums" in sketch.voices and sketch.beats_per_bar == 4 else 0.0
    if not depth:
        return np.ones(count, np.float32)
    since_beat = np.arange(count) / RATE_HZ % sketch.seconds_per_beat
    return (1 - depth * np.exp(-since_beat / 0.09)).astype(np.float32)


@lru_cache(maxsize=2)
def _room(large: bool) -> np.ndarray:
    seconds = 1.1 if large else 0.45
    rng = np.random.default_rng(9)
    t = np.arange(int(1.5 * seconds * RATE_HZ)) / RATE_HZ
    echo = rng.standard_normal((2, len(t))) * np.exp(-4.5 * t / seconds)
    spectrum = np.fft.rfft(echo) / (1 + (np.fft.rfftfreq(len(t), 1 / RATE_HZ) / 4500) ** 2)
    echo = np.fft.irfft(spectrum, len(t))
    return echo / np.sqrt((echo**2).sum(-1, keepdims=True))


def _reverberate(wet: np.ndarray, large: bool) -> np.ndarray:
    room = _room(large)
    size = 1 << (wet.shape[1] + room.shape[1] - 1).bit_length()
    sound = np.fft.irfft(np.fft.rfft(wet, size) * np.fft.rfft(room, size), size)
    return (2.0 * sound[:, : wet.shape[1]]).astype(np.float32)


def _tilt(sound: np.ndarray, db_per_decade: float) -> np.ndarray:
    """The mood's brightness, a straight tilt around 1 kHz; nothing below 25 Hz or above 15 kHz."""
    freq = np.fft.rfftfreq(sound.shape[1], 1 / RATE_HZ)
    gain = 10 ** (db_per_decade * np.log10(np.maximum(freq, 20) / 1000) / 20)
    gain *= 1 / (1 + (25 / np.maximum(freq, 1)) ** 4) / (1 + (freq / 14500) ** 16)
    return np.fft.irfft(np.fft.rfft(sound) * gain, sound.shape[1]).astype(np.float32)


def _master(sound: np.ndarray) -> np.ndarray:
    sound = sound * (LOUDNESS_RMS / (np.sqrt(np.mean(sound**2)) + 1e-9))
    sound = np.tanh(sound)  # soft limit: rounds the loudest strokes and never passes 1
    fade = min(int(FADE_OUT_S * RATE_HZ), sound.shape[1])
    sound[:, -fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return sound.astype(np.float32)
