"""The source of a song as its stages take it: a clip to continue, music to edit, or the codes of a plan.

From it follow the context of each stage, the music that a run keeps, where the run begins and when the condition
changes. Latents are [1, C, T].
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from ..audio.splice import Splice
from ..errors import UserError
from .kept import Kept, context
from .semantic_codes import hints_of_codes, hints_of_latents

if TYPE_CHECKING:
    from .stage_model import StageModel

# What the context shows where music is made.
SILENCE, SOURCE, CODES = "silence", "source", "codes"


@dataclass(frozen=True)
class Morph:
    """A flow edit: from the description of the source to the song's.

    It begins after a share `begin` of the run's steps and ends after a share `end`, from which on the song is made from
    its own description alone. Each step takes the mean of `averages` draws of noise.
    """

    begin: float = 0.0
    end: float = 1.0
    averages: int = 1

    def __post_init__(self):
        if not 0 <= self.begin < self.end <= 1:
            raise UserError(
                f"morph: got shares of the steps from {self.begin:g} to {self.end:g}, expected 0 <= from < to <= 1"
            )
        if not 1 <= self.averages <= 100:
            raise UserError(f"morph: got {self.averages} draws a step, expected 1 to 100")


@dataclass(frozen=True)
class Variation:
    """Other noise in a song's noise: the share `amount` of it, 0 to 1, and the seed of the first item's."""

    amount: float
    seed: int = 0

    def __post_init__(self):
        check_share("amount", self.amount)


class Source:
    """The interface of sources. A run without one is text to music."""

    latents: torch.Tensor  # [1, C, K]
    structure: float = 1.0  # share of the run's steps whose context shows the source
    closeness: float = 0.0  # the run begins with the source noised to the time 1 - closeness; 0: with noise alone
    morph: Morph | None = None
    splice: Splice | None = None

    def context(self, silent: torch.Tensor, hints: torch.Tensor | None = None) -> torch.Tensor:
        """The context [1, 2C, T] of a stage in a song as long as `silent` [1, C, T], the silence of its model.

        `hints`: the source through the model's own codes, where the source needs them.
        """
        raise NotImplementedError

    def kept(self, frames: int) -> Kept | None:
        """The part of a song of so many frames that a run keeps."""
        raise NotImplementedError

    def music(self, frames: int) -> torch.Tensor:
        """Latents [1, C, frames] of the source at its place in the song, zero elsewhere."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class EditSource(Source):
    """Music to edit. Equal only to itself.

    `frames` are those of the song to make; the source begins at the frame `first`. `window` [1, T] is true where new
    music is made; None: everywhere. With `keeps`, the source is silent in the window and kept outside (a repaint);
    without, the context shows all of it (a stem).
    """

    latents: torch.Tensor
    frames: int
    first: int = 0
    shows: str = SOURCE
    window: torch.Tensor | None = None
    keeps: bool = False
    injection_ratio: float = 0.0
    blend_frames: int = 0
    structure: float = 1.0
    closeness: float = 0.0
    morph: Morph | None = None
    codes: torch.Tensor | None = None  # [1, M, 1], in place of the latents' own
    splice: Splice | None = None  # how the finished sound is put together

    def __post_init__(self):
        for name in ("structure", "closeness"):
            check_share(name, getattr(self, name))
        if self.codes is not None and self.closeness:
            raise UserError("closeness: codes have no sound to begin with; give 0, or the source itself")

    def context(self, silent: torch.Tensor, hints: torch.Tensor | None = None) -> torch.Tensor:
        if self.keeps:
            return context(silent, self.kept(silent.shape[-1], silent))
        return masked(self._shown(silent, hints), self.window)

    def _shown(self, silent: torch.Tensor, hints: torch.Tensor | None) -> torch.Tensor:
        if self.shows == CODES:
            if hints is None:
                raise UserError("cover: the model's hints are missing; a stage makes them with its own audio tokenizer")
            return hints.to(silent)
        return self.filled(silent) if self.shows == SOURCE else silent

    def filled(self, silent: torch.Tensor) -> torch.Tensor:
        """The source at its place in a song, with silence before and after it; `silent` [1, C, T]."""
        end = self.first + self.latents.shape[-1]
        parts = silent[..., : self.first], self.latents.to(silent), silent[..., : max(0, self.frames - end)]
        return torch.cat(parts, dim=-1)[..., : self.frames]

    def hints(self, model: "StageModel") -> torch.Tensor:
        """The source [1, C, T] through a model's own audio tokenizer, or its codes through the detokenizer."""
        silent = model.silent(self.frames)
        if self.codes is not None:
            return hints_of_codes(model, self.codes, silent)
        return hints_of_latents(model, self.filled(silent))

    def kept(self, frames: int, silent: torch.Tensor | None = None) -> Kept | None:
        if not self.keeps or self.window is None:
            return None
        clean = self.music(frames) if silent is None else self.filled(silent)
        return Kept(clean, self.window, self.injection_ratio, self.blend_frames)

    def music(self, frames: int) -> torch.Tensor:
        end = self.first + self.latents.shape[-1]
        return functional.pad(self.latents, (self.first, frames - end))


def masked(source: torch.Tensor, window: torch.Tensor | None = None) -> torch.Tensor:
    """Context [1 or B, 2C, T] that shows all of a source [1 or B, C, T]; the chunk mask is the window, or ones."""
    if window is None:
        return context(source)
    return torch.cat([source, window[:, None].to(source).expand_as(source)], dim=1)


def check_share(name: str, value: float) -> None:
    """Raises UserError unless a value is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"{name}: got {value!r}, expected a number from 0 to 1")
