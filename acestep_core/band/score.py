"""The notes of each member of the band, bar by bar, from a `Sketch`. Times in beats, pitches in MIDI numbers.

Patterns are written on a grid of sixteenths (four to a beat), one string a drum: `x` a stroke, `o` a soft one.
"""

from dataclasses import dataclass

import numpy as np

from .sketch import Sketch

MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
PENTATONIC_MAJOR, PENTATONIC_MINOR = (0, 2, 4, 7, 9), (0, 3, 5, 7, 10)
# Chord roots as scale degrees. The first chord is always the home chord, so a song says its key at once.
PROGRESSIONS = {
    False: ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 0), (0, 3, 0, 4)),
    True: ((0, 5, 2, 6), (0, 3, 4, 0), (0, 5, 3, 4), (0, 6, 5, 4)),
}
HOME_OF_BASS, HOME_OF_CHORDS, HOME_OF_LEAD = 33, 57, 69


@dataclass(frozen=True)
class Event:
    """One note or stroke; `voice` names an entry of `voices.py`, `midi` is 0 for drums."""

    role: str
    voice: str
    beat: float
    beats: float
    midi: int
    velocity: float


DRUMS = {
    "house": ("kick:x...x...x...x...", "clap:....x.......x...", "open:..x...x...x...x.", "hat:x.o.x.o.x.o.x.o."),
    "techno": ("kick:x...x...x...x...", "rim:...x..x....x..x.", "hat:..x...x...x...x.", "shaker:oooooooooooooooo"),
    "trance": ("kick:x...x...x...x...", "clap:....x.......x...", "open:..x...x...x...x.", "shaker:xoxoxoxoxoxoxoxo"),
    "synthwave": ("kick:x.......x.......", "snare:....x.......x...", "hat:x.x.x.x.x.x.x.x."),
    "hip hop": ("boom:x.....x..x......", "clap:....x.......x...", "hat:x.x.xxx.x.x.x.xx"),
    "lo-fi": ("thump:x......x..x.....", "rim:....x.......x...", "hat:x.o.x.o.x.o.x.o."),
    "funk": ("thump:x..x......x..x..", "crack:....x..o.o..x..o", "hat:xoxoxoxoxoxoxoxo"),
    "rock": ("thump:x.......x.x.....", "snare:....x.......x...", "hat:x.x.x.x.x.x.x.x."),
    "ambient": ("boom:x...............", "shaker:....o.......o..."),
    "reggae": ("kick:........x.......", "rim:........x.......", "hat:x.o.x.o.x.o.x.o."),
    "chiptune": ("zap:x...x...x..xx...", "hiss:....x..o....x.oo", "tick:x.xxx.xxx.xxx.xx"),
}
WALTZ = ("kick:x...........", "rim:....x...x...", "hat:x...x.o.x.o.")
FILL = {"snare": "..........x.xoxx", "tom": "........x.x.x.x."}

# step:degree-of-chord:length, in sixteenths; degree 7 is the octave
BASS = {
    "house": ((2, 0, 2), (6, 0, 2), (10, 0, 2), (14, 7, 2)),
    "techno": ((2, 0, 1), (3, 0, 1), (6, 0, 1), (7, 0, 1), (10, 0, 1), (11, 0, 1), (14, 0, 1), (15, 7, 1)),
    "trance": tuple((s, 0, 1.5) for s in (2, 6, 10, 14)) + ((4, 7, 1.5), (12, 7, 1.5)),
    "synthwave": tuple((s, 0 if s % 4 else 7, 1.6) for s in range(0, 16, 2)),
    "hip hop": ((0, 0, 5), (6, 0, 3), (10, 4, 5)),
    "lo-fi": ((0, 0, 6), (7, 4, 3), (10, 0, 5)),
    "funk": ((0, 0, 2), (3, 7, 1), (6, 0, 1), (8, 0, 2), (11, 4, 1), (14, 7, 1.5)),
    "rock": tuple((s, 0, 1.8) for s in range(0, 16, 2)),
    "ambient": ((0, 0, 15),),
    "reggae": ((0, 0, 3), (4, 2, 2), (6, 4, 2), (10, 0, 2), (12, 4, 3)),
    "chiptune": tuple((s, 0 if s % 4 == 0 else 7, 1.2) for s in range(0, 16, 2)),
}
KEYS = {
    "house": ((0, 2), (3, 2), (6, 2), (10, 3)),
    "techno": ((3, 1), (11, 1)),
    "trance": ((0, 2), (3, 2), (6, 2), (9, 2), (12, 2)),
    "synthwave": ((0, 7), (8, 7)),
    "hip hop": ((0, 5), (6, 9)),
    "lo-fi": ((0, 6), (7, 8)),
    "funk": ((2, 1), (5, 1), (10, 1), (13, 1.5)),
    "rock": ((0, 3.6), (4, 3.6), (8, 3.6), (12, 3.6)),
    "ambient": ((0, 15),),
    "reggae": ((4, 1.6), (12, 1.6)),
    "chiptune": ((0, 1), (3, 1), (6, 1), (8, 1), (11, 1), (14, 1)),
}
MOTIFS = ((0, 3, 6, 8, 12), (0, 4, 6, 10), (0, 2, 4, 8, 11), (2, 4, 8, 12, 14), (0, 6, 8, 14))
SWUNG = {"hip hop": 0.10, "lo-fi": 0.14, "funk": 0.05}


def write(sketch: Sketch) -> list[Event]:
    """All events of the clip. Bar 1 begins at beat 0; the last event begins before the clip ends."""
    rng = np.random.default_rng([sketch.seed, 4])
    progression = PROGRESSIONS[sketch.minor][rng.integers(4)]
    bars = int(np.ceil(sketch.seconds / (sketch.seconds_per_beat * sketch.beats_per_bar)))
    melody = _melody(rng, sketch)
    events: list[Event] = []
    for bar in range(bars):
        chord = _triad(sketch, progression[bar % 4])
        players = {"drums": _drums, "bass": _bass, "keys": _keys, "pad": _pad, "lead": _lead, "arp": _arp}
        for role, voice in sketch.voices.items():
            events += players[role](sketch, voice, bar, chord, melody)
    return [_swing(sketch, event) for event in events if event.beat * sketch.seconds_per_beat < sketch.seconds]


def pitch_classes(sketch: Sketch, per_second: float) -> np.ndarray:
    """Which notes sound: [24, N] of 0 and 1, `per_second` columns a second. Rows 0-11 are the bass from C to B, rows
    12-23 everybody else.
    """
    sounding = np.zeros((24, int(np.ceil(sketch.seconds * per_second))), np.float32)
    for event in write(sketch):
        if event.role != "drums":
            row = event.midi % 12 + (0 if event.role == "bass" else 12)
            start, length = (beats * sketch.seconds_per_beat * per_second for beats in (event.beat, event.beats))
            sounding[row, round(start) : max(round(start) + 1, round(start + length))] = 1
    return sounding


def _swing(sketch: Sketch, event: Event) -> Event:
    late = SWUNG.get(sketch.genre, 0.0)
    if late and round(event.beat * 4) % 2 == 1:
        return Event(event.role, event.voice, event.beat + late / 2, event.beats, event.midi, event.velocity)
    return event


def _triad(sketch: Sketch, degree: int) -> tuple[int, int, int]:
    """Semitones above the tonic of root, third and fifth of the chord on a degree of the scale."""
    scale = MINOR if sketch.minor else MAJOR
    return tuple(scale[(degree + k) % 7] + 12 * ((degree + k) // 7) for k in (0, 2, 4))


def _near(home: int, tonic: int, semitones: int) -> int:
    """The pitch of that class in the octave that begins at `home`."""
    return home + (tonic + semitones - home) % 12


def _steps(sketch: Sketch) -> int:
    return 4 * sketch.beats_per_bar


def _at(sketch: Sketch, bar: int, step: float) -> float:
    return bar * sketch.beats_per_bar + step / 4


def _drums(sketch, voice, bar, chord, melody):
    lines = WALTZ if sketch.beats_per_bar == 3 else DRUMS[sketch.genre]
    if bar % 8 == 7 and sketch.beats_per_bar == 4 and sketch.genre not in ("ambient", "techno", "chiptune"):
        lines = (*lines, *(f"{name}:{line}" for name, line in FILL.items()))
    events = []
    if bar % 8 == 0 and sketch.genre not in ("ambient", "lo-fi", "reggae", "chiptune"):
        events.append(Event("drums", "crash", _at(sketch, bar, 0), 1, 0, 0.8))
    for line in lines:
        name, strokes = line.split(":")
        for step, mark in enumerate(strokes):
            if mark != ".":
                velocity = 1.0 if mark == "x" else 0.55
                events.append(Event("drums", name, _at(sketch, bar, step), 0.25, 0, velocity))
    return events


def _bass(sketch, voice, bar, chord, melody):
    offset = {0: chord[0], 2: chord[1], 4: chord[2], 7: chord[0]}
    events = []
    for step, degree, length in BASS[sketch.genre]:
        if step < _steps(sketch):
            midi = _near(HOME_OF_BASS, sketch.tonic, offset[degree]) + (12 if degree == 7 else 0)
            events.append(Event("bass", voice, _at(sketch, bar, step), length / 4, midi, 1.0))
    return events


def _keys(sketch, voice, bar, chord, melody):
    return [
        Event("keys", voice, _at(sketch, bar, step), length / 4, _near(HOME_OF_CHORDS, sketch.tonic, tone), 0.9)
        for step, length in KEYS[sketch.genre]
        if step < _steps(sketch)
        for tone in chord
    ]


def _pad(sketch, voice, bar, chord, melody):
    beats = sketch.beats_per_bar
    return [
        Event("pad", voice, bar * beats, beats, _near(HOME_OF_CHORDS - 5, sketch.tonic, tone), 0.9) for tone in chord
    ]


def _arp(sketch, voice, bar, chord, melody):
    low = sorted(_near(HOME_OF_CHORDS + 4, sketch.tonic, tone) for tone in chord)
    ladder = [*low, low[0] + 12, low[2], low[1]]
    stride = 1 if sketch.bpm < 112 or sketch.genre == "chiptune" else 2
    return [
        Event("arp", voice, _at(sketch, bar, step), stride / 4, ladder[(step // stride) % len(ladder)], 0.9)
        for step in range(0, _steps(sketch), stride)
    ]


def _melody(rng, sketch: Sketch) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Two bars of (step, rung of the pentatonic ladder): a question and an answer that ends at home."""
    question, rung = [], int(rng.integers(0, 5))
    for step in MOTIFS[rng.integers(len(MOTIFS))]:
        question.append((step, rung))
        rung = int(np.clip(rung + rng.choice([-2, -1, 1, 2]), 0, 8))
    answer = [*question[:-1], (question[-1][0], int(rng.choice([0, 5])))]
    return tuple(question), tuple(answer)


def _lead(sketch, voice, bar, chord, melody):
    ladder = PENTATONIC_MINOR if sketch.minor else PENTATONIC_MAJOR
    home = _near(HOME_OF_LEAD - 4, sketch.tonic, 0)
    line = [(step, rung) for step, rung in melody[bar % 2] if step < _steps(sketch)]
    ends = [step for step, _ in line[1:]] + [_steps(sketch)]
    return [
        Event("lead", voice, _at(sketch, bar, step), min(end - step, 5) * 0.23, home + _rung(ladder, rung), 1.0)
        for (step, rung), end in zip(line, ends)
    ]


def _rung(ladder: tuple[int, ...], rung: int) -> int:
    return ladder[rung % 5] + 12 * (rung // 5)
