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


@dataclass(frozen=True)
class RunState:
    """What a stage that runs alone must know of the stages before it. `shift`: of the first one's model. `start`: the
    flow time at which the run began, None where no step of it has been made. `draws`: of a morph, those so far.
    """

    shift: float
    start: float | None = None
    draws: int = 0


@dataclass(frozen=True, eq=False)
class SongRun:
    """A run of a batch of songs, of `frames` frames each, one for each of `seeds`, through the stages of `plans`.

    `shift` is that of the first stage's model: shares of the run are counted on its schedule. `started` and `draws`:
    as in the RunState of stages that ran before. Raises UserError.
    """

    plans: Sequence[StagePlan]
    reference: Reference | None
    seeds: Sequence[int]
    channels: int
    frames: int
    shift: float
    started: float | None = None
    draws: int = 0
    source: Source = field(init=False)
    first_noise: torch.Tensor = field(init=False)  # [B, C, T]
    start: float = field(init=False)  # the flow time at which the run begins
    parts: tuple[StagePart, ...] = field(init=False)  # in the order in which they run

    def __post_init__(self):
        fill = object.__setattr__  # the dataclass is frozen
        fill(self, "source", self.reference and self.reference.source or _TextToMusic())
        fill(self, "first_noise", self._noise())
        own = schedule.start_time([plan.times for plan in self.plans], self.source.closeness)
        fill(self, "start", own if self.started is None else self.started)
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
        seeds: Sequence[int] = (),
    ) -> Iterator[Step]:
        """The steps of one part, from latents [B, C, T] at its first time, under its own model's condition.

        `seeds`: of the noise that a solver draws on the way, where they are not those of the songs.
        """
        if self.source.morph:
            music = self.source.music(self.frames)
            given = {"shift": self.shift, "draws": part.draws, "at_once": at_once}
            return run_morph([stage], latents, [condition], self.seeds, music, self.source.morph, **given)
        given = {"kept": part.kept, "at_once": at_once, "first_noise": self.first_noise, "switch": self.switch}
        return run([stage], latents, [condition], seeds or self.seeds, **given)

    @property
    def state(self) -> RunState:
        """The state behind these stages. Where `closeness` lets a later stage begin, nothing has started."""
        if not self.parts:
            return RunState(self.shift, self.started, self.draws)
        last = self.parts[-1]
        return RunState(self.shift, self.start, last.draws + self._draws(last.plan))

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
        kept, draws = self.source.kept(self.frames), self.draws
        for index, whole in enumerate(self.plans):
            plan = _from(whole, self.start)
            if plan.steps > 0:
                yield StagePart(index, plan, kept and self._kept(kept, plan), draws)
                draws += self._draws(plan)

    def _kept(self, kept: Kept, plan: StagePlan) -> Kept:
        """The music that a stage keeps, injected in those of its steps that are among the first of the run."""
        held = schedule.steps_within(plan.times, kept.injection_ratio, self.shift, self.start)
        return dataclasses.replace(kept, injection_ratio=held / plan.steps)

    def _draws(self, plan: StagePlan) -> int:
        return draws_of(plan.times, self.source.morph, self.shift) if self.source.morph else 0


class _TextToMusic(Source):
    def kept(self, frames: int) -> None:
        return None


def _from(plan: StagePlan, start: float) -> StagePlan:
    """A stage from flow time `start` on; without steps where it ends there or before."""
    return dataclasses.replace(plan, times=tuple(t for t in plan.times if t <= start))
