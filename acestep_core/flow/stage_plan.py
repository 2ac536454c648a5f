"""Divides a run into stages: the checkpoints' defaults, overridden by the user's settings -> one StagePlan a stage.

Numbers only, no networks: settings that cannot work are refused before any model is loaded.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..errors import UserError
from ..models.defaults import VariantDefaults
from ..spec import DEFAULT_BOUNDARY_US, TURBO_SHIFT
from . import schedule
from .guidance import Guidance
from .solvers import SOLVERS

Guidances = float | str | Guidance | Sequence[float | str | Guidance] | None


@dataclass(frozen=True)
class SamplingSettings:
    """A user's settings of a run; None takes the checkpoints' defaults.

    `steps` is the total or one number a stage, `boundaries` are the flow times of the hand-overs. `guidance` is one
    value for all stages trained for guidance (for all stages where none is) or one a stage: a scale (7), a kind and a
    scale ("cfg:7"), or a Guidance. `dcw` corrects the steps of turbo models. `every` makes a draft of the run: of each
    stage's steps as many are joined into one, at times that the whole run has too.
    """

    steps: int | Sequence[int] | None = None
    boundaries: Sequence[float] | None = None
    solver: str = "euler"
    guidance: Guidances = None
    dcw: bool = False
    every: int = 1

    def __post_init__(self):
        if not isinstance(self.every, int) or self.every < 1:
            raise UserError(f"every: got {self.every!r}, expected a whole number of at least 1")
        if self.solver not in SOLVERS:
            raise UserError(f"solver: got {self.solver!r}, expected one of {', '.join(SOLVERS)}")
        schedule.check_kinds(self.steps, self.boundaries)

    @property
    def stages(self) -> int:
        """The number of stages that these settings describe, at least one."""
        counts = len(self.steps) if isinstance(self.steps, Sequence) else 1
        return max(counts, 1 + len(self.boundaries or ()))


@dataclass(frozen=True)
class StagePlan:
    """A stage without its model: its flow times, its solver and its guidance."""

    times: tuple[float, ...]
    solver: str
    guidance: Guidance
    dcw: bool = False

    @property
    def steps(self) -> int:
        return len(self.times) - 1


def plan_for_models(defaults: Sequence[VariantDefaults], settings: SamplingSettings) -> tuple[StagePlan, ...]:
    """The plans of a cascade's stages, by its models' defaults. A lone model runs all stages that settings name."""
    return plan(tuple(defaults) * (settings.stages if len(defaults) == 1 else 1), settings)


def plan(defaults: Sequence[VariantDefaults], settings: SamplingSettings) -> tuple[StagePlan, ...]:
    """One StagePlan for each of `defaults`. Raises UserError.

    With steps a stage and no boundaries, one table (with the first stage's shift) is cut after these steps. Otherwise
    each stage has times of its own shift between its boundaries.
    """
    counts = _counts(defaults, settings)
    if counts is not None and settings.boundaries is None:
        tables = [times for _, _, times in schedule.split(schedule.times(sum(counts), defaults[0].shift), counts)]
    else:
        tables = _tables(defaults, counts, settings.boundaries)
    tables = [schedule.snap(table, own.valid_times or ()) for table, own in zip(tables, defaults, strict=True)]
    # Where models have different valid times, the hand-over takes the time at which the next stage begins.
    tables = [(*own[:-1], following[0]) for own, following in pairwise(tables)] + tables[-1:]
    tables = [(*table[:-1][:: settings.every], table[-1]) for table in tables]
    guidances = _guidances(defaults, settings.guidance)
    each = zip(tables, guidances, _dcw(defaults, settings), strict=True)
    return tuple(StagePlan(table, settings.solver, guidance, dcw) for table, guidance, dcw in each)


def _dcw(defaults: Sequence[VariantDefaults], settings: SamplingSettings) -> list[bool]:
    """Whether the steps of each stage are corrected."""
    turbo = [own.variant.startswith("turbo") for own in defaults]
    if settings.dcw and not any(turbo):
        raise UserError("dcw: got it for models none of which is a turbo model, for which alone it is; leave it out")
    return [settings.dcw and one for one in turbo]


def stage_times(
    own: VariantDefaults,
    slot: int,
    *,
    at: float | None = None,
    finished: bool = False,
    start: float | None = None,
    end: float | None = None,
    steps: int | None = None,
    shift: float | None = None,
    slots: int = len(DEFAULT_BOUNDARY_US) + 1,
) -> tuple[float, ...]:
    """Flow times of one stage in a slot of a cascade (0 is the first), from a checkpoint's defaults.

    `at` is the time of its latents, None for finished or unknown ones. A `start` of None is `at`, else the start of
    the slot; an `end` of None is the end of the slot. `finished`: the latents are finished music; a stage that would
    begin at t = 1, where nothing of them is left, begins in the middle of its slot. Raises UserError.
    """
    edges = (1.0, *(_own(own.boundaries, slots - 1) or _default_boundaries(slots)), 0.0)
    end = edges[slot + 1] if end is None else end
    if start is None:
        start = at if at is not None else edges[slot]
        if finished and start == 1 > end:
            start = _middle(stage_times(own, slot, end=end, shift=shift, slots=slots))
    if start <= end:
        raise UserError(
            f"start and end: this stage would begin at t = {start:.4g} and end at t = {end:.4g}, but t falls from 1 "
            "(noise) to 0 (music); give it a smaller end, or latents that are at a larger time"
        )
    shift = own.shift if shift is None else shift
    schedule.check_stretch(shift, start, end)
    if steps is None:
        in_slot = (start, end) == (edges[slot], edges[slot + 1])
        taught = _own(own.cascade_steps, slots) if in_slot else None
        steps = taught[slot] if taught else _steps_between(dataclasses.replace(own, shift=shift), start, end)
    return schedule.snap(schedule.times(steps, shift, start, end), own.valid_times or ())


def _middle(table: Sequence[float]) -> float:
    """The time of a stage's table that is nearest to the middle of the stage, its first and last apart."""
    middle = (table[0] + table[-1]) / 2
    return min(table[1:-1] or (middle,), key=lambda t: abs(t - middle))


def _tables(defaults, counts, boundaries) -> list[tuple[float, ...]]:
    first = defaults[0]
    if boundaries is None:
        boundaries = _own(first.boundaries, len(defaults) - 1)
        counts = counts or _own(first.cascade_steps, len(defaults))
    if boundaries is None:
        boundaries = _default_boundaries(len(defaults))
    edges = (1.0, *boundaries, 0.0)
    if len(boundaries) != len(defaults) - 1 or any(high <= low for high, low in pairwise(edges)):
        shown = ", ".join(f"{t:g}" for t in boundaries)
        raise UserError(
            f"boundaries: got {shown or 'none'} for {len(defaults)} stages, expected {len(defaults) - 1} "
            "flow times that fall between 1 and 0, such as 0.8333,0.5"
        )
    intervals = list(zip(pairwise(edges), defaults, strict=True))
    if counts is None:
        counts = [_steps_between(own, start, end) for (start, end), own in intervals]
    return [
        schedule.times(count, own.shift, start, end)
        for count, ((start, end), own) in zip(counts, intervals, strict=True)
    ]


def _own(values: Sequence | None, length: int) -> tuple | None:
    """A checkpoint's values for its cascade, if that cascade has as many stages."""
    return tuple(values) if values and len(values) == length else None


def _default_boundaries(stages: int) -> tuple[float, ...]:
    us = DEFAULT_BOUNDARY_US if stages == len(DEFAULT_BOUNDARY_US) + 1 else [1 - i / stages for i in range(1, stages)]
    return tuple(schedule.shifted(u, TURBO_SHIFT) for u in us)


def _steps_between(own: VariantDefaults, start: float, end: float) -> int:
    """The steps that the model's own schedule spends between these times."""
    share = schedule.unshifted(start, own.shift) - schedule.unshifted(end, own.shift)
    return max(1, round(own.steps * share))


def _counts(defaults: Sequence[VariantDefaults], settings: SamplingSettings) -> tuple[int, ...] | None:
    steps, stages = settings.steps, len(defaults)
    if steps is None:
        return None
    if isinstance(steps, int):
        return _shared(steps, defaults)
    if len(steps) != stages or any(count < 1 for count in steps):
        shown = ",".join(map(str, steps))
        raise UserError(f"steps: got {shown} for {stages} stages, expected {stages} numbers of at least 1")
    return tuple(steps)


def _shared(steps: int, defaults: Sequence[VariantDefaults]) -> tuple[int, ...]:
    """A total of steps, distributed over the stages in proportion to their defaults."""
    stages = len(defaults)
    if steps < stages:
        raise UserError(f"steps: got {steps}, expected at least one for each of the {stages} stages")
    weights = [len(table) - 1 for table in _tables(defaults, None, None)]
    counts = [1] * stages
    for _ in range(steps - stages):
        # The next step goes to the stage with the smallest share of its due.
        counts[min(range(stages), key=lambda i: counts[i] / weights[i])] += 1
    return tuple(counts)


def _guidances(defaults: Sequence[VariantDefaults], asked: Guidances) -> list[Guidance]:
    own = [Guidance(one.guidance_kind, one.guidance) for one in defaults]
    if asked is None:
        return own
    if isinstance(asked, str | Guidance | int | float):
        guided = [one.kind != "none" for one in own]
        return [_guidance(asked, one) if takes or not any(guided) else one for one, takes in zip(own, guided)]
    if len(asked) != len(own):
        raise UserError(f"guidance: got {len(asked)} values for {len(own)} stages, expected one or {len(own)}")
    return [_guidance(one, default) for one, default in zip(asked, own)]


def _guidance(asked: float | str | Guidance, own: Guidance) -> Guidance:
    if isinstance(asked, Guidance):
        return asked
    kind, _, scale = str(asked).rpartition(":")
    try:
        number = float(scale)
    except ValueError:
        raise UserError(
            f"guidance: got {asked!r}, expected a scale such as 7, or a kind with it such as cfg:7"
        ) from None
    if number == 1:
        return Guidance()
    return dataclasses.replace(own, kind=kind or (own.kind if own.kind != "none" else "apg"), scale=number)
