"""The plan of a song by the band, drawn from a seed, before a note is written.

Instruments that a caption names are in the music, those that it forbids are not, and all others follow the genre.
"""

from dataclasses import dataclass

import numpy as np

from .genres import GENRES, KNOWN_GENRES, MOODS
from .instruments import ROLES, voices_of

TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
SLOWEST_BPM, FASTEST_BPM = 60, 180
AT_HOME = 3  # times as likely is a genre at its own tempi; all tempi are equally likely all the same
# Felt beats of a bar and sixteenths of a beat, by metre: 6/8 has two beats of three eighths.
BEATS_OF_BAR, STEPS_OF_BEAT = {4: 4, 3: 3, 6: 2}, {4: 4, 3: 4, 6: 6}


@dataclass(frozen=True)
class Sketch:
    """Everything that is decided before a note is written. `bpm` counts felt beats: dotted quarters in 6/8."""

    seed: int
    genre: str
    mood: str
    bpm: int
    tonic: int  # 0 is C
    minor: bool
    metre: int  # 4, 3 or 6: 4/4, 3/4 or 6/8
    voices: dict[str, str]  # role → voice; the drums' is "kit"
    seconds: float

    @classmethod
    def draw(cls, seed: int, seconds: float = 30.0, genre: str | None = None) -> "Sketch":
        """`genre`: of GENRES or UNHEARD; None: any of GENRES."""
        rng = np.random.default_rng([seed, 1])
        drawn = int(rng.integers(SLOWEST_BPM, FASTEST_BPM + 1))
        genre, bpm = (genre, _tempo_of(rng, genre)) if genre else (_genre_at(rng, drawn), drawn)
        mood = str(rng.choice(list(MOODS)))
        return cls(
            seed=seed,
            genre=genre,
            mood=mood,
            bpm=bpm,
            tonic=int(rng.integers(12)),
            minor=bool(rng.random() < MOODS[mood][1]),
            metre=_metre(rng, genre),
            voices=_members(rng, genre),
            seconds=seconds,
        )

    @property
    def key(self) -> str:
        return f"{TONICS[self.tonic]} {'minor' if self.minor else 'major'}"

    @property
    def seconds_per_beat(self) -> float:
        return 60.0 / self.bpm

    @property
    def beats_per_bar(self) -> int:
        return BEATS_OF_BAR[self.metre]

    @property
    def steps_per_beat(self) -> int:
        return STEPS_OF_BEAT[self.metre]

    @property
    def steps_per_bar(self) -> int:
        return self.beats_per_bar * self.steps_per_beat

    @property
    def seconds_per_bar(self) -> float:
        return self.beats_per_bar * self.seconds_per_beat

    @property
    def sung(self) -> bool:
        return "vocals" in self.voices


def _genre_at(rng, bpm: int) -> str:
    homes = [genre.bpm for genre in GENRES.values()]
    weights = np.array([AT_HOME if low <= bpm <= high else 1 for low, high in homes], float)
    return str(rng.choice(list(GENRES), p=weights / weights.sum()))


def _tempo_of(rng, genre: str) -> int:
    low, high = KNOWN_GENRES[genre].bpm if rng.random() < 0.75 else (SLOWEST_BPM, FASTEST_BPM)
    return int(rng.integers(low, high + 1))


def _metre(rng, genre: str) -> int:
    chance, known = rng.random(), KNOWN_GENRES[genre].metres
    three = known.get(3, 0)
    if chance < three:
        return 3
    return 6 if chance < three + known.get(6, 0) else 4


def _members(rng, genre: str) -> dict[str, str]:
    """Who plays what. At least one part has a pitch, and drums alone are nobody's song."""
    about = KNOWN_GENRES[genre]
    likely = about.roles | {"vocals": about.sung}
    chances = {role: rng.random() for role in ROLES}
    voices = {role: _voice(rng, genre, role) for role in ROLES if chances[role] < likely.get(role, 0)}
    if "vocals" not in voices:
        voices.pop("backing", None)
    if not set(voices) & {"bass", "keys", "pad", "lead", "arp"}:
        voices["pad"] = _voice(rng, genre, "pad")
    return voices


def _voice(rng, genre: str, role: str) -> str:
    return str(rng.choice(KNOWN_GENRES[genre].voices.get(role, voices_of(role))))
