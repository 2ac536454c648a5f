"""A procedural band that plays captioned clips from a seed: the music, free of any licence, that the tiny family
learns.

`sketch.py` decides what is played (genre, key, tempo, instruments) and says it as a `Song`; `score.py` writes the
notes; `voices.py` makes one note or one drum stroke sound; `mix.py` puts them together in stereo at 48 kHz.
"""

from pathlib import Path

from .mix import play
from .score import pitch_classes
from .sketch import Sketch, song_of

EXAMPLE_CLIP = Path(__file__).with_name("example_clip.opus")  # 12 s of calm lo-fi in D minor, 80 bpm

__all__ = ["EXAMPLE_CLIP", "Sketch", "pitch_classes", "play", "song_of"]
