"""The cascade: stages, each a model with a start and an end (t), and the run through them from noise to music.

Latents are [B, C, T] float32. x_t = t noise + (1 - t) music; handing latents over at one and the same t is exact, so
three stages of one model are one stage.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from ..errors import UserError
from ..models.cuda_graph import with_cuda_graph
from ..models.kept import Kept
from ..models.velocity import Velocity, prepare
from . import schedule
from .dcw import corrected
from .guidance import Guidance, Guided
from .solvers import SOLVERS

if TYPE_CHECKING:
    from ..models.condition import Condition
    from ..models.stage_model import StageModel

ConditionMaker = Callable[[], "Condition"]


@dataclass(frozen=True)
class Stage:
    """A model and its flow times, from `start` down to `end`. None takes the checkpoint's default; `times` replaces
    start, end, steps and shift. `dcw`: whether steps are corrected (dcw.py). Raises UserError for values that make no
    sense.
    """

    model: "StageModel"
    start: float = 1.0
    end: float = 0.0
    steps: int | None = None
    shift: float | None = None
    solver: str = "euler"
    guidance: Guidance | None = None
    times: tuple[float, ...] | None = None
    dcw: bool = False

    def __post_init__(self):
        defaults = self.model.defaults
        fill = object.__setattr__  # the dataclass is frozen
        if self.solver not in SOLVERS:
            raise UserError(f"solver: got {self.solver!r}, expected one of {', '.join(SOLVERS)}")
        fill(self, "guidance", self.guidance or Guidance(defaults.guidance_kind, defaults.guidance))
        fill(self, "shift", defaults.shift if self.shift is None else self.shift)
        steps = defaults.steps if self.steps is None else self.steps
        table = self.times or schedule.times(steps, self.shift, self.start, self.end)
        table = schedule.snap(schedule.check(table), defaults.valid_times or ())
        for name, value in (("times", table), ("start", table[0]), ("end", table[-1]), ("steps", len(table) - 1)):
            fill(self, name, value)

    @property
    def distilled(self) -> bool:
        """Whether the model was distilled on certain times only (and never on t = 0)."""
        return self.model.defaults.valid_times is not None

    def notes(self) -> tuple[str, ...]:
        """Warnings for the user before this stage runs, in whole sentences."""
        notes = []
        if self.distilled and (untrained := schedule.untrained_times(self.times, self.model.defaults.valid_times)):
            shown, valid = (", ".join(f"{t:.4g}" for t in ts) for ts in (untrained, self.model.defaults.valid_times))
            notes.append(
                f"{self.model.name} is a turbo model and will run at flow times it was not trained on, t = {shown}; "
                f"its times are {valid}."
            )
        if self.distilled and self.guidance.forward_passes > 1:
            notes.append(
                f"{self.model.name} is a turbo model, made to run without guidance; {self.guidance.kind} "
                f"{self.guidance.scale:g} doubles its time and overdoes its sound."
            )
        return tuple(notes)


@dataclass(frozen=True)
class Step:
    """The state after a step: `latents` at t_next, and `x0`, the estimate of the finished music."""

    stage: int  # from 0
    step: int  # from 1, within the stage
    of: int  # steps of this stage
    t: float
    t_next: float
    latents: torch.Tensor
    x0: torch.Tensor


def item_seeds(seed: int, count: int) -> tuple[int, ...]:
    """The seeds of a batch: item i has seed + i, and equals a single run with that seed."""
    return tuple(seed + i for i in range(count))


def noise(seeds: Sequence[int], channels: int, frames: int) -> torch.Tensor:
    """Noise [B, C, T] at t = 1, from one CPU generator an item, in the original code's order of axes (time first)."""
    drawn = [torch.randn((1, frames, channels), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.cat(drawn).transpose(1, 2).contiguous()


def mixed_noise(first: torch.Tensor, second: torch.Tensor, amount: float) -> torch.Tensor:
    """Noise between two: the first at `amount` 0, the second at 1, of the same variance throughout."""
    angle = amount * math.pi / 2
    return math.cos(angle) * first + math.sin(angle) * second


def renoise(latents: torch.Tensor, t: float, seeds: Sequence[int]) -> torch.Tensor:
    """Finished latents [B, C, T] noised to flow time t, where a stage begins, with noise seeded by (seed, t)."""
    fresh = _noise_maker(latents, t, seeds, "renoise")()
    return t * fresh + (1 - t) * latents


def _noise_maker(latents: torch.Tensor, start: float, seeds: Sequence[int], use: str) -> Callable[[], torch.Tensor]:
    """A function that draws noise like `latents`: one CPU generator an item, seeded by seed, stage's start and use."""
    keys = (hashlib.sha256(f"{seed} {start:.6f} {use}".encode()).digest() for seed in seeds)
    generators = [torch.Generator().manual_seed(int.from_bytes(key[:8], "big") >> 1) for key in keys]
    shape = (1, latents.shape[2], latents.shape[1])
    return lambda: torch.cat([torch.randn(shape, generator=g) for g in generators]).transpose(1, 2).to(latents)


def enter(latents: torch.Tensor, at: float, start: float, seeds: Sequence[int]) -> torch.Tensor:
    """Latents at flow time `at` as input of a stage that begins at `start`. Raises UserError where the times differ.

    Latents at the start stay as they are. Finished latents (t = 0) are noised to the start; empty latents (all zero)
    become seeded noise, which is at t = 1.
    """
    if abs(at - start) <= schedule.SAME_TIME:
        return latents
    if at == 0 and not bool(latents.any()):
        latents, at = noise(seeds, *latents.shape[1:]).to(latents), 1.0
        return enter(latents, at, start, seeds)
    if at == 0:
        return renoise(latents, start, seeds)
    raise UserError(
        f"latents at t = {at:.4g} for a stage that begins at t = {start:.4g}; let the stage begin where the one before "
        "it ended, or give it a finished latent (t = 0)"
    )


def run(
    stages: Sequence[Stage],
    latents: torch.Tensor,
    conditions: "Sequence[Condition | ConditionMaker]",
    seeds: Sequence[int],
    *,
    kept: Kept | None = None,
    at: float | None = None,
    at_once: int | None = None,
    first_noise: torch.Tensor | None = None,
    switch: float = 0.0,
) -> Iterator[Step]:
    """Carries latents [B, C, T] at time `at` (the first stage's start, unless given) through all stages.

    `conditions` has one a stage; a callable is called for it when its stage begins, after the stage before released its
    own, so that one model at a time is enough. `seeds`, one an item, seed any noise drawn on the way. `kept` applies to
    the whole run. `at_once` limits how many items pass through a model together, and splits the conditional from the
    unconditional pass; fewer take less memory. `first_noise`: the noise of the song where it is not that of the seeds,
    for `kept`. Steps that end below the flow time `switch` use the conditions' `other`. To cancel, stop iterating.
    Raises UserError before the first step.
    """
    check_run(stages, latents, conditions, seeds)
    latents = enter(latents.float(), stages[0].start if at is None else at, stages[0].start, seeds)
    holder = kept and _Holder.begin(kept, stages, latents, seeds, first_noise)
    for number, (stage, condition) in enumerate(zip(stages, conditions)):
        for step in _run_stage(number, stage, latents, condition, seeds, holder, at_once, switch):
            latents = step.latents
            yield step


def check_run(stages: Sequence[Stage], latents: torch.Tensor, conditions: Sequence, seeds: Sequence[int]) -> None:
    """Raises UserError unless stages, conditions, latents [B, C, T] and seeds belong together."""
    if not stages or len(stages) != len(conditions):
        raise UserError(f"stages: got {len(stages)} with {len(conditions)} conditions, expected one for each of them")
    if len(seeds) != len(latents):
        raise UserError(f"seeds: got {len(seeds)} for a batch of {len(latents)}, expected one an item")
    for number, (before, after) in enumerate(pairwise(stages), start=1):
        if abs(before.end - after.start) > schedule.SAME_TIME:
            raise UserError(
                f"stage {number} ({before.model.name}) ends at t = {before.end:.4g} and stage {number + 1} "
                f"({after.model.name}) begins at t = {after.start:.4g}; give both the same time"
            )
    for stage in stages:
        if stage.model.latents_channels != latents.shape[1]:
            raise UserError(
                f"{stage.model.name} makes latents of {stage.model.latents_channels} channels, got {latents.shape[1]}; "
                "the stages and the vocoder of a cascade must be of one family"
            )


class _Holder:
    """Applies a Kept to a run, counting the steps of all its stages."""

    def __init__(self, kept: Kept, noise: torch.Tensor, steps: int):
        self.kept, self.noise, self.steps_left = kept, noise, steps

    @staticmethod
    def begin(
        kept: Kept,
        stages: Sequence[Stage],
        latents: torch.Tensor,
        seeds: Sequence[int],
        first: torch.Tensor | None,
    ) -> "_Holder":
        at_noise = first is None and abs(stages[0].start - 1) <= schedule.SAME_TIME
        # A run that begins at t < 1 does not have its noise any more; noise of the same seeds serves as well.
        if first is None:
            first = latents if at_noise else noise(seeds, *latents.shape[1:])
        return _Holder(kept, first, round(kept.injection_ratio * sum(stage.steps for stage in stages)))

    def after_step(self, latents: torch.Tensor, t: float, distilled: bool) -> torch.Tensor:
        # As in the original code: the last estimate of a turbo model stays as it is.
        if self.steps_left > 0 and not (t == 0 and distilled):
            latents = self.kept.hold(latents, t, self.noise)
        self.steps_left -= 1
        return self.kept.blend(latents) if t == 0 else latents


class _InTurn:
    """The velocity of a batch, `at_once` items at a time. The condition must be of one item."""

    def __init__(self, velocity: Velocity, at_once: int):
        self._velocity, self._at_once = velocity, at_once
        self.device = velocity.device

    def __call__(self, latents: torch.Tensor, t: float) -> torch.Tensor:
        return torch.cat([self._velocity(items, t) for items in latents.split(self._at_once)])

    def with_null(self, latents: torch.Tensor, t: float) -> tuple[torch.Tensor, torch.Tensor]:
        parts = latents.split(self._at_once)
        return self(latents, t), torch.cat([self._velocity.null(items, t) for items in parts])


def velocity_of(stage: Stage, condition: "Condition", at_once: int | None) -> "Velocity | _InTurn":
    """The velocity of a stage's model under a condition, `at_once` items at a time where that is given."""
    with torch.no_grad():
        velocity = prepare(stage.model.transformer, condition)
    velocity = with_cuda_graph(velocity, stage.steps * (2 if stage.solver == "heun" else 1))
    return _InTurn(velocity, at_once) if at_once else velocity


def _run_stage(
    number: int,
    stage: Stage,
    latents: torch.Tensor,
    condition: "Condition | ConditionMaker",
    seeds: Sequence[int],
    holder: _Holder | None,
    at_once: int | None,
    switch: float,
) -> Iterator[Step]:
    guided, fresh = Guided(None, stage.guidance), None
    solve = SOLVERS[stage.solver]
    for index, (t, t_next, given) in enumerate(_steps(stage, condition, switch), start=1):
        if given is not None:
            guided.velocity = None  # released before the next one is prepared
            guided.velocity = velocity_of(stage, given, at_once)
            latents = latents.to(guided.velocity.device)
            fresh = fresh or _noise_maker(latents, stage.start, seeds, "sde")
        with torch.no_grad():
            latents, x0 = solve(guided, latents, t, t_next, fresh, not stage.distilled)
            if stage.dcw:
                latents = corrected(latents, x0, t)
            if holder is not None:
                latents, x0 = holder.after_step(latents, t_next, stage.distilled), holder.kept.blend(x0)
        yield Step(number, index, stage.steps, t, t_next, latents, latents if t_next == 0 else x0)


def _steps(
    stage: Stage, condition: "Condition | ConditionMaker", switch: float
) -> "Iterator[tuple[float, float, Condition | None]]":
    """(t, t_next, the condition from this step on, None where it is that of the step before) of each step."""
    condition = condition() if callable(condition) else condition
    first = schedule.steps_until(stage.times, switch)  # steps before the switch
    for index, (t, t_next) in enumerate(pairwise(stage.times)):
        if index == first:
            yield t, t_next, condition.second
        else:
            yield t, t_next, condition if index == 0 else None
