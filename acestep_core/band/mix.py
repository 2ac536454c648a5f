"""From notes to sound: every voice placed left and right, given its level and room, pumped by the kick where the genre
does that, and brought to one loudness: as stems by the published track names, and as their sum.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from . import soundfont
from .form import form_of
from .genres import KNOWN_GENRES, MOODS
from .instruments import KNOWN_VOICES, track_of
from .score import Event, write
from .singer import sing
from .sketch import Sketch
from .strokes import RATE_HZ, effect, stroke
from .voices import note, slid

LEVELS = {"drums": 0.95, "bass": 1.7, "keys": 0.62, "pad": 0.42, "lead": 0.85, "arp": 0.75}
LEVELS |= {"percussion": 1.1, "vocals": 1.3, "backing": 0.32, "fx": 0.9}
PANS = {
    "bass": 0.0,
    "lead": 0.08,
    "arp": 0.45,
    "kick": 0.0,
    "hat": 0.3,
    "open": 0.3,
    "ride": 0.35,
    "shaker": -0.35,
    "rim": -0.2,
    "tom": -0.25,
    "conga": -0.4,
    "slap": -0.4,
    "cowbell": 0.3,
    "clave": 0.4,
    "tambourine": -0.3,
    "timbale": 0.25,
}
SPREAD = ("keys", "pad", "backing")  # each note of a chord has its place
ROOM = {"drums": 0.05, "bass": 0.0, "keys": 0.12, "pad": 0.2, "lead": 0.22, "arp": 0.25}
ROOM |= {"percussion": 0.1, "vocals": 0.16, "backing": 0.25, "fx": 0.2}
# seconds of a room, and how much of it is heard
ROOMS = {"small": (0.45, 1.0), "large": (1.1, 1.0), "hall": (1.7, 1.5)}
LOUDNESS_RMS = 0.16
FADE_S, LONG_FADE_S = 0.9, 8.0


@dataclass(frozen=True)
class Sound:
    """A note or stroke in time: from which sample, for how many seconds."""

    role: str
    voice: str
    start: int
    seconds: float
    midi: int
    velocity: float
    slide: float = 0.0
    syllable: str = ""
    program: int | None = None  # of the soundfont, instead of the voice's own


@dataclass(frozen=True)
class Desk:
    """How sounds are mixed: the room, the tilt of the mix in dB a decade, seconds of a beat that pumps by a depth, and
    seconds of the fade at the end. `font`: the soundfont that plays voices which have a program; `kit`: its drums too.
    """

    room: str = "small"
    tilt_db: float = 0.0
    pump_depth: float = 0.0
    pump_s: float = 0.5
    fade_s: float = FADE_S
    font: Path | None = None
    kit: bool = True


def play(sketch: Sketch, font: Path | None = None) -> np.ndarray:
    """The song, [2, seconds * 48000] float32, peak below 1; `font`: the soundfont of its sampled instruments."""
    return mixed(stems(sketch, font), int(round(sketch.seconds * RATE_HZ)))


def stems(sketch: Sketch, font: Path | None = None) -> dict[str, np.ndarray]:
    """Track name → [2, N] float32, of the tracks that play; the mix is their sum."""
    return render(sounds(sketch), int(round(sketch.seconds * RATE_HZ)), desk_of(sketch, font))


def mixed(tracks: dict[str, np.ndarray], count: int) -> np.ndarray:
    """The sum of stems of `count` samples; silence where there is none."""
    total = np.zeros((2, count), np.float32)
    for track in tracks.values():
        total += track
    return total


def sounds(sketch: Sketch) -> list[Sound]:
    """The score in time. A beat falls on the nearest sample, so a tempo never drifts."""
    beat_s, hard = sketch.seconds_per_beat, MOODS[sketch.mood][3]

    def in_time(e: Event) -> Sound:
        start, seconds = round(e.beat * beat_s * RATE_HZ), e.beats * beat_s
        return Sound(e.role, e.voice, start, seconds, e.midi, e.velocity * hard, e.slide, e.syllable)

    return [in_time(event) for event in write(sketch)]


def desk_of(sketch: Sketch, font: Path | None = None) -> Desk:
    genre = KNOWN_GENRES[sketch.genre]
    pumped = "drums" in sketch.voices and sketch.metre == 4
    ringing = form_of(sketch).ring_s > 0
    return Desk(
        room="large" if genre.room == "small" and sketch.mood == "dreamy" else genre.room,
        tilt_db=MOODS[sketch.mood][2],
        pump_depth=genre.pump if pumped else 0.0,
        pump_s=sketch.seconds_per_beat,
        fade_s=min(FADE_S, sketch.seconds / 4) if ringing else min(LONG_FADE_S, sketch.seconds / 4),
        font=font,
        kit=genre.kit == "acoustic",
    )


def render(played: Iterable[Sound], count: int, desk: Desk, by_track: bool = True) -> dict[str, np.ndarray]:
    """Stems of `count` samples by track name, whose sum has the wanted loudness and never passes 1; all in one, under
    the name "mix", unless `by_track`.
    """
    parts: dict[tuple[str, str], list[Sound]] = {}
    for sound in played:
        parts.setdefault((track_of(sound.role, sound.voice) if by_track else "mix", sound.role), []).append(sound)
    pump, tracks = _pump(desk, count), {}
    for (track, role), part in parts.items():
        bus = np.zeros((2, count), np.float32)
        for sound in part:
            _add(bus, sound, desk)
        bus *= LEVELS[role] if role in ("drums", "percussion") else LEVELS[role] * pump
        wet = _in_room(bus, desk.room, ROOM[role], desk.tilt_db)
        tracks[track] = tracks[track] + wet if track in tracks else wet
    return _mastered(tracks, count, desk.fade_s)


def _add(bus: np.ndarray, sound: Sound, desk: Desk) -> None:
    heard = _heard(sound, desk)[..., : max(0, bus.shape[1] - sound.start)]
    pan = PANS.get(sound.voice, PANS.get(sound.role, 0.0))
    if sound.role in SPREAD:
        pan = 0.5 * ((sound.midi * 7) % 11 / 5 - 1)
    left, right = (np.float32(sound.velocity * side((pan + 1) * np.pi / 4)) for side in (np.cos, np.sin))
    rows = heard if heard.ndim == 2 else (heard, heard)
    bus[0, sound.start : sound.start + heard.shape[-1]] += left * rows[0]
    bus[1, sound.start : sound.start + heard.shape[-1]] += right * rows[1]


def _heard(sound: Sound, desk: Desk) -> np.ndarray:
    """The sound by itself: [N] of a synthesiser, [2, N] of a soundfont."""
    if sound.syllable:
        return sing(sound.voice, sound.midi, sound.seconds, sound.syllable, sound.slide)
    loud = sound.velocity >= soundfont.SOFT_BELOW
    if sound.role == "fx":
        return effect(sound.voice, sound.seconds)
    if not sound.midi:
        sampled = desk.font and desk.kit and sound.voice in soundfont.DRUM_KEYS
        return soundfont.sampled_stroke(desk.font, sound.voice, loud) if sampled else stroke(sound.voice)
    program = KNOWN_VOICES[sound.voice].program if sound.program is None else sound.program
    if desk.font and program is not None:
        held = int(sound.seconds * RATE_HZ)
        return slid(soundfont.sampled_note(desk.font, program, sound.midi, held, loud), sound.slide)
    return note(sound.voice, sound.midi, sound.seconds, sound.slide)


def _pump(desk: Desk, count: int) -> np.ndarray:
    if not desk.pump_depth:
        return np.ones(1, np.float32)
    since_beat = np.arange(count) / RATE_HZ % desk.pump_s
    return (1 - desk.pump_depth * np.exp(-since_beat / 0.09)).astype(np.float32)


@lru_cache(maxsize=64)
def _response(room: str, send: float, tilt_db: float) -> np.ndarray:
    """What a voice in a room becomes, its brightness tilted: an impulse response [2, N] float32."""
    seconds, level = ROOMS[room]
    rng = np.random.default_rng(9)
    t = np.arange(int(1.5 * seconds * RATE_HZ)) / RATE_HZ
    echo = rng.standard_normal((2, len(t))) * np.exp(-4.5 * t / seconds)
    spectrum = np.fft.rfft(echo) / (1 + (np.fft.rfftfreq(len(t), 1 / RATE_HZ) / 4500) ** 2)
    echo = np.fft.irfft(spectrum, len(t))
    echo *= 2.0 * send * level / np.sqrt((echo**2).sum(-1, keepdims=True))
    echo[:, 0] += 1
    size = 1 << (len(t) + 16_384).bit_length()
    both = np.fft.irfft(np.fft.rfft(echo, size) * _tilt(size, tilt_db), size)
    return both[:, : len(t) + 8192 if send else 16_384].astype(np.float32)


def _tilt(size: int, db_per_decade: float) -> np.ndarray:
    """A straight tilt around 1 kHz, nothing below 25 Hz or above 15 kHz: a spectrum of minimum phase, so that no sound
    comes before its note (Oppenheim and Schafer: through the folded cepstrum). [size / 2 + 1]
    """
    freq = np.fft.rfftfreq(size, 1 / RATE_HZ)
    gain = 10 ** (db_per_decade * np.log10(np.maximum(freq, 20) / 1000) / 20)
    gain *= 1 / (1 + (25 / np.maximum(freq, 1)) ** 4) / (1 + (freq / 14500) ** 16)
    cepstrum = np.fft.irfft(np.log(np.maximum(gain, 1e-5)), size)
    cepstrum[1 : size // 2] *= 2
    cepstrum[size // 2 + 1 :] = 0
    return np.exp(np.fft.rfft(cepstrum))


def _in_room(bus: np.ndarray, room: str, send: float, tilt_db: float) -> np.ndarray:
    from scipy.signal import oaconvolve

    return oaconvolve(bus, _response(room, send, tilt_db), axes=-1)[:, : bus.shape[1]]


def _mastered(tracks: dict[str, np.ndarray], count: int, fade_s: float) -> dict[str, np.ndarray]:
    """One loudness; a soft limit as one gain for all stems, so that their sum stays the mix; the fade at the end."""
    total = mixed(tracks, count)
    level = LOUDNESS_RMS / (np.sqrt(np.mean(total**2)) + 1e-9)
    loud = np.abs(total) * level + np.float32(1e-6)
    gain = level * np.tanh(loud) / loud
    fade = min(int(fade_s * RATE_HZ), count)
    gain[:, count - fade :] *= np.linspace(1, 0, fade, dtype=np.float32) ** 2
    return {name: (gain * track).astype(np.float32) for name, track in tracks.items()}
