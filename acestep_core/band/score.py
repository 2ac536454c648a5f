"""The notes of each member of the band, bar by bar, from a `Sketch`. Times in beats, pitches in MIDI numbers."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from .form import LEVELS, Form, Section, form_of
from .genres import KNOWN_GENRES
from .instruments import KNOWN_VOICES
from .lyrics import lines_of
from .melody import chord_on, melody_of, on_chord
from .patterns import (
    BASS,
    BASS_OF_SIX,
    FILL,
    KEYS,
    KEYS_OF_SIX,
    LIGHT,
    SLOW_BPM,
    UNCRASHED,
    UNFILLED,
    percussion_of,
    strokes_of,
)
from .sketch import Sketch

HOME_OF_BASS, HOME_OF_CHORDS, HOME_OF_LEAD, HOME_OF_POWER = 33, 57, 65, 40
HOME_OF_SINGER = {"female voice": 53, "male voice": 43}
KICKS = ("kick", "thump", "boom", "zap")
SOFT, FULL = 0.55, 1.0
SLIDE = -2  # semitones from which an instrument that slides begins a phrase
UNTUNED = ("drums", "percussion", "fx")  # parts whose notes are strokes, but for timpani


@dataclass(frozen=True)
class Event:
    """One note or stroke; `voice` names an instrument or a drum, `midi` is 0 for strokes. A note that slides begins so
    many semitones away from its pitch. `syllable` is what a singer sings on it.
    """

    role: str
    voice: str
    beat: float
    beats: float
    midi: int
    velocity: float
    slide: float = 0.0
    syllable: str = ""


@dataclass(frozen=True)
class _Bar:
    """A bar as the players see it."""

    form: Form
    section: Section
    number: int
    chord: tuple[int, ...]  # semitones above the tonic

    @property
    def sketch(self) -> Sketch:
        return self.form.sketch

    @property
    def loud(self) -> bool:
        return self.section.name == "chorus"

    def at(self, step: float) -> float:
        return self.number * self.sketch.beats_per_bar + step / self.sketch.steps_per_beat

    def beats(self, steps: float) -> float:
        return steps / self.sketch.steps_per_beat


@lru_cache(maxsize=8)
def _written(key: tuple) -> tuple[Event, ...]:
    sketch = Sketch(*key[:7], dict(key[7]), key[8])
    form = form_of(sketch)
    bars = [
        _Bar(form, section, number, chord_on(sketch, form.chord(section, number)))
        for section in form.sections
        for number in range(section.first_bar, section.after)
    ]
    events = [
        replace(event, velocity=event.velocity * LEVELS[bar.section.name])
        for bar in bars
        for role, voice in sketch.voices.items()
        if role != "vocals" and form.plays(role, bar.section.name)
        for event in _PLAYERS[role](bar, voice)
    ]
    events += _sung(form) + (_final_chord(form) if form.ring_s else [])
    swung = [_swing(sketch, event) for event in events]
    return tuple(event for event in swung if event.beat * sketch.seconds_per_beat < sketch.seconds)


def write(sketch: Sketch) -> list[Event]:
    """All events of the song. Bar 1 begins at beat 0; the last event begins before the song ends."""
    s = sketch
    key = (s.seed, s.genre, s.mood, s.bpm, s.tonic, s.minor, s.metre, tuple(s.voices.items()), s.seconds)
    return list(_written(key))


def pitch_classes(sketch: Sketch, per_second: float) -> np.ndarray:
    """Which notes sound: [24, N] of 0 and 1, `per_second` columns a second. Rows 0-11 are the bass from C to B, rows
    12-23 everybody else.
    """
    sounding = np.zeros((24, int(np.ceil(sketch.seconds * per_second))), np.float32)
    for event in write(sketch):
        if event.midi:
            row = event.midi % 12 + (0 if event.role == "bass" else 12)
            start, length = (beats * sketch.seconds_per_beat * per_second for beats in (event.beat, event.beats))
            sounding[row, round(start) : max(round(start) + 1, round(start + length))] = 1
    return sounding


def _swing(sketch: Sketch, event: Event) -> Event:
    """Every second note of the swung grid comes late; 6/8 swings by itself."""
    grid, late = KNOWN_GENRES[sketch.genre].swing
    step = event.beat * sketch.steps_per_beat
    if late and sketch.metre != 6 and round(step) == step and step % (2 * grid) == grid:
        return replace(event, beat=event.beat + late / sketch.steps_per_beat)
    return event


def _near(home: int, tonic: int, semitones: int) -> int:
    """The pitch of that class in the octave that begins at `home`."""
    return home + (tonic + semitones - home) % 12


def _strokes(bar: _Bar, role: str, lines) -> list[Event]:
    return [
        Event(role, name, bar.at(step), bar.beats(1), 0, FULL if mark == "x" else SOFT)
        for name, marks in lines
        for step, mark in enumerate(marks[: bar.sketch.steps_per_bar])
        if mark != "."
    ]


def _lines(bar: _Bar, patterns) -> list[tuple[str, str]]:
    """(stroke, marks) of the lines that are played in this section."""
    chosen = [line.removeprefix("+").split(":") for line in patterns if bar.loud or line[0] != "+"]
    names = [name for name, _ in chosen]
    if bar.sketch.metre == 4 and bar.sketch.bpm < SLOW_BPM:
        chosen = [(name, _thinned(marks) if name in LIGHT else marks) for name, marks in chosen]
    return [(name, marks) for name, marks in chosen if not (name == "hat" and "ride" in names)]


def _thinned(marks: str) -> str:
    return "".join(mark if step % 2 == 0 else "." for step, mark in enumerate(marks))


def _drums(bar: _Bar, voice: str) -> list[Event]:
    genre, kit = bar.sketch.genre, KNOWN_GENRES[bar.sketch.genre].kit
    lines = _lines(bar, strokes_of(genre, kit, bar.sketch.metre))
    light = bar.section.name == "bridge" or (bar.section.name == "intro" and bar.number < bar.section.bars // 2)
    if light:
        lines = [(name, marks if name in LIGHT else marks[:1] * (name in KICKS)) for name, marks in lines]
    if bar.number == bar.section.after - 1 and genre not in UNFILLED:
        steps = bar.sketch.steps_per_bar - 4
        lines = [(name, marks if name in KICKS else marks[:steps]) for name, marks in lines]
        lines += [(name, "." * steps + marks) for name, marks in (line.split(":") for line in FILL[kit])]
    if bar.loud and bar.number == bar.section.first_bar and genre not in UNCRASHED:
        lines.append(("crash", "x"))
    return _strokes(bar, "drums", lines)


def _percussion(bar: _Bar, voice: str) -> list[Event]:
    if voice in KNOWN_VOICES:  # timpani
        root = _near(38, bar.sketch.tonic, bar.chord[0])
        return [Event("percussion", voice, bar.at(0), bar.sketch.beats_per_bar / 2, root, 0.9)]
    return _strokes(bar, "percussion", _lines(bar, percussion_of(bar.sketch.genre, bar.sketch.metre)))


def _effects(bar: _Bar, voice: str) -> list[Event]:
    """A riser that ends where a chorus begins, and a fall behind its first beat."""
    begins = [section.first_bar for section in bar.form.sections if section.name == "chorus"]
    events = [Event("fx", "fall", bar.at(0), 2.0, 0, 0.8)] if bar.number in begins else []
    if bar.number + 1 in begins:
        events.append(Event("fx", "riser", bar.at(0), float(bar.sketch.beats_per_bar), 0, 0.8))
    return events


def _bass(bar: _Bar, voice: str) -> list[Event]:
    root, third, fifth = bar.chord
    offset = {0: root, 2: third, 4: fifth, 7: root}
    return [
        Event(
            *("bass", voice, bar.at(step), bar.beats(length)),
            _near(HOME_OF_BASS, bar.sketch.tonic, offset[degree]) + (12 if degree == 7 else 0),
            FULL if step % bar.sketch.steps_per_beat == 0 else 0.9,
        )
        for step, degree, length in (BASS_OF_SIX if bar.sketch.metre == 6 else BASS[bar.sketch.genre])
        if step < bar.sketch.steps_per_bar
    ]


def _voicing(bar: _Bar, voice: str) -> list[int]:
    """The pitches of the bar's chord on keys or guitar."""
    kind = "power" if voice == "distorted guitar" else KNOWN_GENRES[bar.sketch.genre].chords
    home = HOME_OF_POWER if kind == "power" else HOME_OF_CHORDS
    chord = chord_on(bar.sketch, bar.form.chord(bar.section, bar.number), kind)
    pitches = [_near(home, bar.sketch.tonic, tone) for tone in chord]
    return [pitches[0], pitches[0] + 7, pitches[0] + 12] if kind == "power" and len(pitches) == 2 else pitches


def _keys(bar: _Bar, voice: str) -> list[Event]:
    rhythm = KEYS_OF_SIX if bar.sketch.metre == 6 else KEYS[bar.sketch.genre]
    return [
        Event("keys", voice, bar.at(step), bar.beats(length), midi, 0.9)
        for step, length in rhythm
        if step < bar.sketch.steps_per_bar
        for midi in _voicing(bar, voice)
    ]


def _pad(bar: _Bar, voice: str) -> list[Event]:
    beats = float(bar.sketch.beats_per_bar)
    pitches = [_near(HOME_OF_CHORDS - 5, bar.sketch.tonic, tone) for tone in bar.chord]
    return [Event("pad", voice, bar.at(0), 0.99 * beats, midi, 0.9) for midi in pitches]


def _arp(bar: _Bar, voice: str) -> list[Event]:
    low = sorted(_near(HOME_OF_CHORDS + 4, bar.sketch.tonic, tone) for tone in bar.chord)
    ladder = [*low, low[0] + 12, low[2], low[1]]
    fast = bar.sketch.metre != 6 and (bar.sketch.bpm < 112 or bar.sketch.genre == "chiptune")
    stride = 1 if fast else 2
    return [
        Event("arp", voice, bar.at(step), bar.beats(stride), ladder[(step // stride) % len(ladder)], 0.9)
        for step in range(0, bar.sketch.steps_per_bar, stride)
    ]


def _line(bar: _Bar, name: str, home: int) -> list[tuple[float, float, int]]:
    """(beat, beats, pitch) of a bar of a section's melody."""
    notes = melody_of(bar.sketch, name)[(bar.number - bar.section.first_bar) % 4]
    home = _near(home, bar.sketch.tonic, 0)
    return [(bar.at(n.step), bar.beats(n.steps), home + on_chord(n, bar.chord)) for n in notes]


def _lead(bar: _Bar, voice: str) -> list[Event]:
    name = bar.section.name if bar.section.name in ("verse", "chorus", "bridge") else "chorus"
    begins = (bar.number - bar.section.first_bar) % 2 == 0 and KNOWN_VOICES[voice].slides
    return [
        Event("lead", voice, beat, beats, midi, FULL, SLIDE if begins and not n else 0.0)
        for n, (beat, beats, midi) in enumerate(_line(bar, name, HOME_OF_LEAD))
    ]


def _backing(bar: _Bar, voice: str) -> list[Event]:
    beats = float(bar.sketch.beats_per_bar)
    pitches = sorted(_near(HOME_OF_CHORDS, bar.sketch.tonic, tone) for tone in bar.chord)
    return [Event("backing", voice, bar.at(0), 0.96 * beats, midi, 0.9, syllable="/oo/") for midi in pitches]


_PLAYERS = dict(
    drums=_drums, percussion=_percussion, fx=_effects, bass=_bass, keys=_keys, pad=_pad, arp=_arp, lead=_lead
) | dict(backing=_backing)


def _sung(form: Form) -> list[Event]:
    """The melody of every line of the lyrics, a syllable a note."""
    events, voice = [], form.sketch.voices.get("vocals", "")
    for line in lines_of(form):
        notes = []
        for number in range(line.first_bar, line.first_bar + line.bars):
            chord = chord_on(form.sketch, form.chord(line.section, number))
            notes += _line(_Bar(form, line.section, number, chord), line.section.name, HOME_OF_SINGER[voice])
        level = LEVELS[line.section.name]
        for n, ((beat, beats, midi), syllable) in enumerate(zip(notes, line.syllables)):
            events.append(Event("vocals", voice, beat, beats, midi, level, 0.0 if n else -1.0, syllable))
    return events


def sung_words(sketch: Sketch) -> list[list[tuple[str, float, float]]]:
    """The words of each line of the lyrics, and from when to when each is sung, in seconds."""
    form, beat_s = form_of(sketch), sketch.seconds_per_beat
    notes = iter(_swing(sketch, event) for event in _sung(form))
    lines = []
    for line in lines_of(form):
        words = [(word.text, [next(notes) for _ in word.sounds]) for word in line.words]
        lines.append([(text, own[0].beat * beat_s, (own[-1].beat + own[-1].beats) * beat_s) for text, own in words])
    return lines


def _final_chord(form: Form) -> list[Event]:
    """Everybody who plays in the last section on the home chord, until the song ends."""
    sketch, last = form.sketch, form.sections[-1]
    bar = _Bar(form, last, last.after, chord_on(sketch, 0))
    beats = form.ring_s / sketch.seconds_per_beat
    playing = {role: v for role, v in sketch.voices.items() if form.plays(role, last.name)}
    events = []
    for role, voice in playing.items():
        for midi in _final_pitches(bar, role, voice):
            events.append(Event(role, voice, bar.at(0), beats, midi, 0.9))
    if "drums" in playing:
        lines = strokes_of(sketch.genre, KNOWN_GENRES[sketch.genre].kit, sketch.metre)
        kick = next((line.split(":")[0] for line in lines if line.split(":")[0] in KICKS), "thump")
        closing = (kick,) if sketch.genre in UNCRASHED else (kick, "crash")
        events += [Event("drums", name, bar.at(0), 1.0, 0, FULL) for name in closing]
    return events


def _final_pitches(bar: _Bar, role: str, voice: str) -> list[int]:
    tonic = bar.sketch.tonic
    chord = [_near(HOME_OF_CHORDS, tonic, tone) for tone in bar.chord]
    single = {"bass": HOME_OF_BASS, "lead": HOME_OF_LEAD, "percussion": 38}
    if role in single and voice in KNOWN_VOICES:
        return [_near(single[role], tonic, 0)]
    if role == "keys" and voice == "distorted guitar":
        return [_near(HOME_OF_POWER, tonic, tone) for tone in (0, 7)]
    return chord if role in ("keys", "pad") else chord[:1] if role == "arp" else []
