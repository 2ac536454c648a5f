"""A procedural band that plays captioned songs from a seed: the music, free of any licence, of the tiny family.

`sketch.py` decides what is played (genre, key, tempo, instruments), `caption.py` says it as a `Song`; `form.py`,
`melody.py`, `lyrics.py` and `score.py` write the notes; `voices.py`, `strokes.py`, `singer.py` and `soundfont.py` make
one note sound; `mix.py` puts them together in stereo at 48 kHz, as stems and as a mix.
"""

from pathlib import Path

from .caption import song_of
from .mix import play, stems
from .score import pitch_classes
from .sketch import Sketch

EXAMPLE_SCORE = Path(__file__).with_name("example_score.mid")  # a folk tune in G major at 100 bpm, with chords
EXAMPLE_MELODY = Path(__file__).with_name("example_melody.mid")  # the tune alone
EXAMPLE_CLIP = Path(__file__).with_name("example_clip.opus")  # 12 s of calm lo-fi in D minor, 80 bpm

__all__ = [
    "EXAMPLE_CLIP",
    "EXAMPLE_MELODY",
    "EXAMPLE_SCORE",
    "Sketch",
    "pitch_classes",
    "play",
    "song_of",
    "stems",
]
