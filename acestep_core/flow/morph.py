"""Flow edit: music is carried from the description of the source to that of the song, without inverting it to noise.

In each step both descriptions see the source noised with the same draw, the target moved by what was edited so far;
the difference of their velocities moves the music. One generator a song gives all draws, so that stages add up.
Formulas: FlowEdit (Kulikov et al. 2024), as ACE-Step 1.5 has it.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from ..errors import UserError
from ..models.source import Morph
from . import schedule
from .guidance import Guided
from .stages import ConditionMaker, Stage, Step, check_run, velocity_of

if TYPE_CHECKING:
    from ..models.condition import Condition

Draw = Callable[[], torch.Tensor]


def draws_of(table: Sequence[float], morph: Morph, shift: float) -> int:
    """The draws of noise that the steps of a table take; a stage behind it begins with the next one."""
    begin, end = _bounds(table, morph, shift)
    begins_alone = end < len(table) - 1 and not _is_alone(table, morph, shift)
    return (end - begin) * morph.averages + begins_alone


def _bounds(table: Sequence[float], morph: Morph, shift: float) -> tuple[int, int]:
    """The steps of a table, from 0, between which it edits."""
    first, last = (schedule.steps_until(table, schedule.share_time(share, shift)) for share in (morph.begin, morph.end))
    return first, last


def _is_alone(table: Sequence[float], morph: Morph, shift: float) -> bool:
    """Whether the edit ended before this table begins, so that the song's description alone makes the music."""
    return table[0] < schedule.share_time(morph.end, shift) - schedule.SAME_TIME


def run_morph(
    stages: Sequence[Stage],
    latents: torch.Tensor,
    conditions: "Sequence[Condition | ConditionMaker]",
    seeds: Sequence[int],
    source: torch.Tensor,
    morph: Morph,
    *,
    shift: float,
    draws: int = 0,
    at_once: int | None = None,
) -> Iterator[Step]:
    """Carries latents [B, C, T], the source's [1, C, T] at first, through all stages; `conditions` are those of the
    song, their `other` that of the source.

    `shift` is that of the run's first stage. `draws`: those of the stages that ran before. Raises UserError.
    """
    check_run(stages, latents, conditions, seeds)
    for stage in stages:
        check_morph(stage)
    draw = _draws(latents, seeds, draws)
    for number, (stage, condition) in enumerate(zip(stages, conditions)):
        for step in _morph_stage(number, stage, latents.float(), condition, source, (morph, shift), draw, at_once):
            latents = step.latents
            yield step


def check_morph(stage: Stage) -> None:
    """Raises UserError for a stage that cannot morph."""
    if stage.solver != "euler":
        raise UserError(f"morph: got the solver {stage.solver}, expected euler, which is the only one that it has")
    if stage.distilled:
        raise UserError(f"morph: {stage.model.name} is a turbo model; take a base or sft model")


def _draws(latents: torch.Tensor, seeds: Sequence[int], skipped: int) -> Draw:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    shape = (1, latents.shape[2], latents.shape[1])

    def draw() -> torch.Tensor:
        return torch.cat([torch.randn(shape, generator=one) for one in generators]).transpose(1, 2)

    for _ in range(skipped):
        draw()
    return draw


class _Pair:
    """The velocities of the song's description and of the source's, each with a momentum of its own."""

    def __init__(self, stage: Stage, condition: "Condition | ConditionMaker", at_once: int | None):
        condition = condition() if callable(condition) else condition
        self.target = Guided(velocity_of(stage, condition, at_once), stage.guidance)
        self.source = Guided(velocity_of(stage, condition.second, at_once), stage.guidance)
        self.device = self.target.velocity.device

    def change(self, music: torch.Tensor, source: torch.Tensor, t: float, draw: Draw, averages: int) -> torch.Tensor:
        """The mean difference of both velocities at t, over draws of noise."""
        before, after = (self.source.memory, self.target.memory), []
        total = torch.zeros_like(music)
        for _ in range(averages):
            self.source.memory, self.target.memory = before
            noised = (1 - t) * source + t * draw().to(music)
            total += -self.source(noised, t) + self.target(music + noised - source, t)
            after.append((self.source.memory, self.target.memory))
        # Momentum advances once a step, by the mean of the draws.
        self.source.memory, self.target.memory = (_mean(values) for values in zip(*after))
        return total / averages


def _mean(values: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    return None if values[0] is None else torch.stack(values).mean(dim=0)


def _morph_stage(number, stage: Stage, latents, condition, source, edit: tuple[Morph, float], draw: Draw, at_once):
    """The steps of one stage: left out before the edit begins, then edited, then made from the description alone."""
    morph, shift = edit
    (begin, end), made_alone = _bounds(stage.times, morph, shift), _is_alone(stage.times, morph, shift)
    pair = _Pair(stage, condition, at_once) if begin < stage.steps else None
    if pair:
        latents, source = latents.to(pair.device), source.to(pair.device, latents.dtype)
    for index, (t, t_next) in enumerate(pairwise(stage.times)):
        with torch.no_grad():
            if begin <= index < end:
                latents = latents + (t_next - t) * pair.change(latents, source, t, draw, morph.averages)
                x0 = latents
            elif index >= begin:
                if not made_alone:
                    latents, made_alone = latents + t * (draw().to(latents) - source), True
                velocity = pair.target(latents, t)
                latents, x0 = latents + (t_next - t) * velocity, latents - t * velocity
            else:
                x0 = latents
        yield Step(number, index + 1, stage.steps, t, t_next, latents, latents if t_next == 0 else x0)
