"""The melody of each kind of section: four bars, a question and an answer twice, that come back with the section."""

from dataclasses import dataclass

import numpy as np

from .patterns import MOTIFS
from .sketch import Sketch

MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
PENTATONIC_MAJOR, PENTATONIC_MINOR = (0, 2, 4, 7, 9), (0, 3, 5, 7, 10)
LOWEST_RUNG = {"verse": 0, "chorus": 2, "bridge": 1}
RUNGS = 6  # that a melody keeps to
SHORTEST_NOTE_S = 0.15
LONGEST_NOTE_BEATS = 1.9


@dataclass(frozen=True)
class Note:
    """A note of a melody: in sixteenths from the start of its bar, and semitones above the tonic."""

    step: int
    steps: float
    semitones: int


def melody_of(sketch: Sketch, name: str) -> tuple[tuple[Note, ...], ...]:
    """The four bars of a kind of section, over its home chord; `on_chord` bends them to others."""
    rng = np.random.default_rng([sketch.seed, 4, list(LOWEST_RUNG).index(name)])
    low = LOWEST_RUNG[name]
    question = _rungs(rng, _rhythm(rng, sketch), low)
    answer = _rungs(rng, _rhythm(rng, sketch), low)
    half, whole = _ending(answer, int(rng.choice([2, 4])) + low), _ending(answer, 5 if low else 0)
    return tuple(_notes(sketch, bar) for bar in (question, half, question, whole))


def _rhythm(rng, sketch: Sketch) -> tuple[int, ...]:
    step_s = sketch.seconds_per_beat / sketch.steps_per_beat
    known = MOTIFS[sketch.metre]
    slow = [motif for motif in known if min(np.diff(motif)) * step_s >= SHORTEST_NOTE_S]
    slow = slow or [max(known, key=lambda motif: min(np.diff(motif)))]
    return slow[rng.integers(len(slow))]


def _rungs(rng, rhythm: tuple[int, ...], low: int) -> list[tuple[int, int]]:
    """(step, rung of the pentatonic ladder): small steps that stay within the melody's range."""
    rung, line = low + int(rng.integers(0, RUNGS)), []
    for step in rhythm:
        line.append((step, rung))
        rung = int(np.clip(rung + rng.choice([-2, -1, 1, 2]), low, low + RUNGS - 1))
    return line


def _ending(line: list[tuple[int, int]], rung: int) -> list[tuple[int, int]]:
    return [*line[:-1], (line[-1][0], rung)]


def _notes(sketch: Sketch, line: list[tuple[int, int]]) -> tuple[Note, ...]:
    ladder = PENTATONIC_MINOR if sketch.minor else PENTATONIC_MAJOR
    ends = [step for step, _ in line[1:]] + [sketch.steps_per_bar]
    longest = LONGEST_NOTE_BEATS * sketch.steps_per_beat
    return tuple(
        Note(step, 0.94 * min(end - step, longest), ladder[rung % 5] + 12 * (rung // 5))
        for (step, rung), end in zip(line, ends)
    )


def on_chord(note: Note, chord: tuple[int, ...]) -> int:
    """Semitones of a note above a chord: the first of a bar moves to the nearest tone of the chord."""
    if note.step:
        return note.semitones
    tones = [tone % 12 + octave for tone in chord for octave in (-12, 0, 12, 24)]
    return min(tones, key=lambda tone: (abs(tone - note.semitones), tone))


def chord_on(sketch: Sketch, degree: int, kind: str = "triad") -> tuple[int, ...]:
    """Semitones above the tonic of a chord's root, third and fifth, with a seventh, or of root and fifth alone."""
    scale = MINOR if sketch.minor else MAJOR
    steps = {"triad": (0, 2, 4), "seventh": (0, 2, 4, 6), "power": (0, 4)}[kind]
    return tuple(scale[(degree + k) % 7] + 12 * ((degree + k) // 7) for k in steps)
