"""Held-out songs of the band: what is asked for, and how the band itself plays it. Waveforms `[2, N]` at 48 kHz."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from ..audio.waveform import Waveform
from ..band import Sketch, play, song_of
from ..band.caption import caption
from ..band.strokes import RATE_HZ
from ..generation.cascade import Cascade
from ..song import Song
from ..tiny_recipe.spectral import mel_distance_db

ANOTHER_MELODY = 500_000  # added to a seed: the same band, tempo and key, other notes


@dataclass(frozen=True)
class Truth:
    """A held-out song, and the roles that its caption names and forbids. `font`: a soundfont, where the band can also
    play it on sampled instruments.
    """

    sketch: Sketch
    song: Song
    named: frozenset[str]
    forbidden: frozenset[str]
    font: Path | None = None

    @cached_property
    def wave(self) -> torch.Tensor:
        """The band's own clip, by its synthesiser. [2, N]"""
        return torch.from_numpy(play(self.sketch))

    @cached_property
    def sampled(self) -> torch.Tensor | None:
        return torch.from_numpy(play(self.sketch, self.font)) if self.font else None

    @cached_property
    def takes(self) -> list[torch.Tensor]:
        """The song as the band plays it: synthesised, and sampled where there is a soundfont."""
        return [self.wave, *([] if self.sampled is None else [self.sampled])]

    @cached_property
    def other_melody(self) -> list[torch.Tensor]:
        """As `takes`, with the same words and other notes."""
        other = replace(self.sketch, seed=self.sketch.seed + ANOTHER_MELODY)
        fonts = (None, *((self.font,) if self.font else ()))
        return [torch.from_numpy(play(other, font)) for font in fonts]

    def nearest(self, wave: torch.Tensor) -> float:
        """Log-mel distance of a wave [2, N] in dB to the nearer of the band's takes."""
        return min(mel_distance_db(wave[None, :, : take.shape[-1]], take[None]).item() for take in self.takes)

    @cached_property
    def between_melodies(self) -> float:
        """The mean distance in dB of the band's takes of the same words with other notes."""
        return mean([self.nearest(take) for take in self.other_melody])


def truth(seed: int, seconds: float, genre: str | None = None, font: Path | None = None) -> Truth:
    return truth_of(Sketch.draw(seed, seconds, genre), font)


def truth_of(sketch: Sketch, font: Path | None = None) -> Truth:
    _, named, forbidden = caption(sketch)
    return Truth(sketch, song_of(sketch, complete=True), named, forbidden, font)


def make(cascade: Cascade, asked: Truth, seed: int, **settings) -> torch.Tensor:
    """The song that a cascade makes of the same words. [2, N]"""
    return cascade.generate(asked.song, seed=seed, **settings).samples[0]


def waveform(clip: torch.Tensor) -> Waveform:
    return Waveform(clip[None], RATE_HZ)


def mean(values: list) -> float:
    """nan of nothing."""
    return float(torch.tensor(values, dtype=torch.float64).mean()) if len(values) else float("nan")
