"""What a MIDI file says of a song: tempo, key and metre, and which instruments play."""

import dataclasses

import numpy as np

from ..audio.beat_and_key import fitting_key
from ..song import BEATS, Song
from ..spec import MAX_BPM, MAX_SECONDS, MIN_BPM, MIN_SECONDS
from .midi import MidiNote, MidiScore
from .midi_player import voice_of

# Names of keys by their sharps, from seven flats on.
_FIFTHS = ("F", "C", "G", "D", "A", "E", "B")
_NAMES = tuple(name + accidental for accidental in ("b", "", "#") for name in _FIFTHS)
_MAJOR, _MINOR = 8, 11  # places of C major and A minor, which have no sharps
_DEFAULT = (0, False)  # C major, which many programs write whatever the key is


def song_of_score(score: MidiScore, song: Song, seconds: float) -> Song:
    """A song with the length of the score, and with its tempo, key and metre where the song leaves them open.

    A song without a caption gets the names of the instruments.
    """
    known = {"bpm": _bpm(score), "key": _key(score), "time_signature": _metre(score)}
    filled = {name: value for name, value in known.items() if getattr(song, name) is None}
    caption = song.caption if song.caption.strip() else ", ".join(instruments(score.notes))
    seconds = min(max(seconds, MIN_SECONDS), MAX_SECONDS)
    return dataclasses.replace(song, caption=caption, seconds=seconds, **filled)


def instruments(notes: list[MidiNote]) -> list[str]:
    """The band's instruments that play, drums last."""
    voices = dict.fromkeys(voice_of(note.program) for note in notes if not note.is_drum)
    return [*voices, *(["drums"] if any(note.is_drum for note in notes) else [])]


def _bpm(score: MidiScore) -> int | None:
    bpm = score.bpm and round(score.bpm)
    return bpm if bpm and MIN_BPM <= bpm <= MAX_BPM else None


def _metre(score: MidiScore) -> str | None:
    beats, part = score.metre or (0, 0)
    fits = part == (8 if beats == 6 else 4)
    return str(beats) if fits and str(beats) in BEATS else None


def _key(score: MidiScore) -> str | None:
    """The key that the file names, unless it is the one of files that name none; else the one that the notes fit."""
    if score.signature and score.signature != _DEFAULT:
        sharps, minor = score.signature
        return f"{_NAMES[sharps + (_MINOR if minor else _MAJOR)]} {'minor' if minor else 'major'}"
    classes = np.zeros(12)
    for note in score.notes:
        classes[note.midi % 12] += 0 if note.is_drum else note.seconds * note.velocity
    return fitting_key(classes) if classes.std() > 0 else None
