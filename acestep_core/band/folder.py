"""Clips of the band as a user would have clips: sound files with their words beside them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from ..audio.files import write
from ..audio.waveform import Waveform
from ..system.files import write_whole
from .caption import song_of
from .mix import play
from .sketch import Sketch
from .strokes import RATE_HZ


def write_clips(folder: Path, seeds: Sequence[int], seconds: float, genre: str | None = None) -> Iterator[Path]:
    """chiptune-2000000.flac and .txt for each seed, yielded as soon as both are written; existing files stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        sketch = Sketch.draw(seed, seconds, genre)
        path = folder / f"{sketch.genre.replace(' ', '-')}-{seed}.flac"
        if not path.exists():
            song = song_of(sketch, complete=True)
            words = {"caption": song.caption, "bpm": song.bpm, "key": song.key, "time signature": song.time_signature}
            lines = "".join(f"{name}: {value}\n" for name, value in words.items())
            write_whole(path.with_suffix(".txt"), lines.encode())
            write(path, Waveform(torch.from_numpy(play(sketch))[None], RATE_HZ))
        yield path
