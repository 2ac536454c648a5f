"""How a source shapes the run of a song through its stages: where it begins, what it keeps, when its condition changes.

Numbers and noise only, no networks. Each stage can run alone, with the latents that the one before handed on.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from ..models.kept import Kept
from ..models.reference import Reference
from ..models.source import Source
from . import schedule
from .morph import draws_of, run_morph
from .stage_plan import StagePlan
from .stages import Stage, Step, item_seeds, mixed_noise, noise, run

if TYPE_CHECKING:
    from ..models.condition import Condition


@dataclass(frozen=True)
class StagePart:
    """The part of a stage that a run goes through. `index`: of the stage in its cascade. `draws`: of a morph, those of
    the stages before.
    """

    index: int
    plan: StagePlan
    kept: Kept | None = None
    draws: int = 0


@dataclass(frozen=True, eq=False)
class SongRun:
    """A run of a batch of songs, of `frames` frames each, one for each of `seeds`, through the stages of `plans`.

    `shift` is that of the first stage's model: shares of the run are counted on its schedule. Raises UserError.
    """

    plans: Sequence[StagePlan]
    reference: Reference | None
    seeds: Sequence[int]
    channels: int
    frames: int
    shift: float
    source: Source = field(init=False)
    first_noise: torch.Tensor = field(init=False)  # [B, C, T]
    start: float = field(init=False)  # the flow time at which the run begins
    parts: tuple[StagePart, ...] = field(init=False)  # in the order in which they run

    def __post_init__(self):
        fill = object.__setattr__  # the dataclass is frozen
        fill(self, "source", self.reference and self.reference.source or _TextToMusic())
        fill(self, "first_noise", self._noise())
        fill(self, "start", schedule.start_time([plan.times for plan in self.plans], self.source.closeness))
        fill(self, "parts", tuple(self._parts()))

    def latents(self) -> torch.Tensor:
        """The latents [B, C, T] with which the run begins."""
        music = self.source.music(self.frames) if self.source.morph or self.start < 1 else None
        if self.source.morph:
            return music.expand(len(self.seeds), -1, -1).clone()
        return self.first_noise if music is None else self.start * self.first_noise + (1 - self.start) * music

    def play(
        self,
        part: StagePart,
        stage: Stage,
        latents: torch.Tensor,
        condition: "Condition",
        at_once: int | None = None,
    ) -> Iterator[Step]:
        """The steps of one part, from latents [B, C, T] at its first time, under its own model's condition."""
        if self.source.morph:
            music = self.source.music(self.frames)
            given = {"shift": self.shift, "draws": part.draws, "at_once": at_once}
            return run_morph([stage], latents, [condition], self.seeds, music, self.source.morph, **given)
        given = {"kept": part.kept, "at_once": at_once, "first_noise": self.first_noise, "switch": self.switch}
        return run([stage], latents, [condition], self.seeds, **given)

    @property
    def passes(self) -> int:
        """Songs that pass a model in a step; twice as many where two conditions take part."""
        return len(self.seeds) * (2 if self.source.morph else 1)

    @property
    def switch(self) -> float:
        """The flow time from which on the condition does not show the source."""
        return schedule.share_time(self.source.structure, self.shift, self.start)

    def _noise(self) -> torch.Tensor:
        own = noise(self.seeds, self.channels, self.frames)
        variation = self.reference and self.reference.variation
        if not variation or variation.amount == 0:
            return own
        others = item_seeds(variation.seed, len(self.seeds))
        return mixed_noise(own, noise(others, self.channels, self.frames), variation.amount)

    def _parts(self) -> Iterator[StagePart]:
        cut = [(index, _from(plan, self.start)) for index, plan in enumerate(self.plans)]
        left = [(index, plan) for index, plan in cut if plan.steps > 0]
        shares, draws = _kept(self.source.kept(self.frames), [plan.steps for _, plan in left]), 0
        for (index, plan), kept in zip(left, shares):
            yield StagePart(index, plan, kept, draws)
            draws += draws_of(plan.times, self.source.morph, self.shift) if self.source.morph else 0


class _TextToMusic(Source):
    def kept(self, frames: int) -> None:
        return None


def _from(plan: StagePlan, start: float) -> StagePlan:
    """A stage from flow time `start` on; without steps where it ends there or before."""
    return dataclasses.replace(plan, times=tuple(t for t in plan.times if t <= start))


def _kept(kept: Kept | None, steps: Sequence[int]) -> list[Kept | None]:
    """The music that each stage keeps, injected in the first steps of the whole run."""
    if kept is None:
        return [None] * len(steps)
    left, each = round(kept.injection_ratio * sum(steps)), []
    for count in steps:
        held = min(left, count)
        each.append(dataclasses.replace(kept, injection_ratio=held / count))
        left -= held
    return each
