"""Plays the notes of a MIDI file by the band: `[2, N]` at 48 kHz, by synthesis or with a soundfont."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import UserError
from .instruments import KNOWN_VOICES, VOICES
from .midi import MidiNote, MidiScore, read_score
from .mix import RATE_HZ, Desk, Sound, mixed, render
from .soundfont import DRUM_KEYS

RING_S = 1.5  # behind the last note
LONGEST_NOTE_S = 30.0
LOUDEST = 0.9
# The band's voice for each family of eight programs of General MIDI, and for programs that have one of their own.
FAMILIES = (
    *("piano", "vibraphone", "organ", "acoustic guitar", "electric bass", "violin", "strings", "trumpet"),
    *("saxophone", "flute", "saw lead", "warm pad", "warm pad", "banjo", "marimba", "pluck"),
)
OWN = {voice.program: name for name, voice in VOICES.items() if voice.program is not None}
OWN |= {5: "electric piano", 26: "electric guitar", 35: "upright bass", 38: "synth bass", 39: "sub bass"}
OWN |= {44: "strings", 80: "square lead", 64: "saxophone", 66: "saxophone", 67: "saxophone"}
# Drum keys beyond those of DRUM_KEYS → the stroke that comes nearest.
NEAREST = {41: "tom", 43: "tom", 47: "tom", 48: "tom", 50: "tom", 44: "hat", 52: "crash", 55: "crash", 57: "crash"}
NEAREST |= {53: "ride", 59: "ride", 60: "slap", 61: "conga", 63: "conga", 66: "timbale", 67: "cowbell", 68: "cowbell"}
NEAREST |= {69: "shaker", 82: "shaker", 76: "clave", 77: "clave"}
STROKES = NEAREST | {key: name for name, key in DRUM_KEYS.items() if name != "brush"}
HAND = ("shaker", "conga", "slap", "cowbell", "clave", "tambourine", "timbale")


def play_midi(path: "str | Path", font: Path | None = None) -> np.ndarray:
    """The file as sound, [2, N] float32. Raises UserError where it is no MIDI file that can be played."""
    return play_score(read_score(path), str(path), font)


def play_score(score: MidiScore, name: str, font: Path | None = None, voice: str | None = None) -> np.ndarray:
    """A score as sound, [2, N] float32. `voice`: an instrument that plays all notes but those of drums.

    Raises UserError, with the file's name, where no instrument can play it.
    """
    played = sounds_of(score.notes, voice)
    if not played:
        raise UserError(f"{name}: holds only drum notes that no drum of the band comes near")
    count = round((max(note.start_s + note.seconds for note in score.notes) + RING_S) * RATE_HZ)
    return mixed(render(played, count, Desk(font=font), by_track=False), count)


def sounds_of(notes: Iterable[MidiNote], voice: str | None = None) -> list[Sound]:
    """The band's sounds for notes, all by one voice where it is given; drum keys that no drum of the band comes near
    are left out.
    """
    return [sound for note in notes if (sound := _sound(note, voice))]


def voice_of(program: int) -> str:
    """The band's instrument for a program of General MIDI, from 0."""
    return OWN.get(program, FAMILIES[program // 8])


def _sound(note: MidiNote, voice: str | None = None) -> Sound | None:
    start, level = round(note.start_s * RATE_HZ), LOUDEST * note.velocity
    seconds = min(note.seconds, LONGEST_NOTE_S)
    if not note.is_drum:
        program = KNOWN_VOICES[voice].program if voice else note.program
        own = KNOWN_VOICES[name := voice or voice_of(note.program)]
        return Sound(own.role, name, start, seconds, max(1, note.midi), level, program=program)
    stroke = STROKES.get(note.midi)
    return Sound("percussion" if stroke in HAND else "drums", stroke, start, seconds, 0, level) if stroke else None
