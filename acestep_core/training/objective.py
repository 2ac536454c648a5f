"""What an adapter is taught: flow matching, at the flow times at which its base model itself was taught.

x_t = t noise + (1 - t) music, the network answers v = noise - music; latents are [B, C, T]. Turbo models know the
times of their table and nothing else, always under a full condition. The others were taught at t = sigmoid(N(-0.4, 1)),
and 15 % of the time were told nothing, which is what guidance needs.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import torch
from torch.utils.checkpoint import checkpoint

from ..errors import UserError
from ..flow import schedule
from ..flow.schedule import SAME_TIME
from ..models.velocity import Velocity

if TYPE_CHECKING:
    from ..models.condition import Condition
    from ..models.defaults import VariantDefaults

TIME_MEAN, TIME_DEVIATION = -0.4, 1.0  # of the logit of t
NULL_SHARE = 0.15
_NORMAL = NormalDist(TIME_MEAN, TIME_DEVIATION)


@dataclass(frozen=True)
class FlowTimes:
    """Flow times within a stretch: a table's, each as often, or (where there is none) those of the base models."""

    start: float = 1.0
    end: float = 0.0
    table: tuple[float, ...] | None = None
    null_share: float = NULL_SHARE

    def at(self, share: float) -> float:
        """The time below which `share` (0 to 1) of all rng lie: a uniform number becomes a draw."""
        if self.table:
            return sorted(self.table)[min(int(share * len(self.table)), len(self.table) - 1)]
        low, high = (_NORMAL.cdf(_logit(t)) for t in (self.end, self.start))
        share = min(max(low + share * (high - low), 1e-9), 1 - 1e-9)
        return min(max(1 / (1 + math.exp(-_NORMAL.inv_cdf(share))), self.end), self.start)

    def spread(self, count: int) -> tuple[float, ...]:
        """`count` times that stand for all: fixed ones, to measure with."""
        return tuple(self.at((i + 0.5) / count) for i in range(count))


def flow_times(own: "VariantDefaults", start: float = 1.0, end: float = 0.0, taught: bool = False) -> FlowTimes:
    """The times of a variant between `start` and `end`. `taught`: of a turbo model all 20, not just its own table's 8.

    Raises UserError where a turbo model has none there.
    """
    schedule.check_stretch(own.shift, start, end)
    if own.valid_times is None:
        told_nothing = NULL_SHARE if not own.variant.startswith("turbo") else 0.0
        return FlowTimes(start, end, None, told_nothing)
    everywhere = own.valid_times if taught else schedule.times(own.steps, own.shift)[:-1]
    table = tuple(t for t in everywhere if end + SAME_TIME < t <= start + SAME_TIME)
    if not table:
        shown = ", ".join(f"{t:.4g}" for t in everywhere)
        raise UserError(f"stretch: no time of the turbo model lies from {start:g} to {end:g}; it knows {shown}")
    return FlowTimes(start, end, table, 0.0)


def _logit(t: float) -> float:
    return math.inf if t >= 1 else -math.inf if t <= 0 else math.log(t / (1 - t))


class Learning(Velocity):
    """The same velocity with gradients; with `frugal` the inside of a layer is computed again for them, not kept."""

    def __init__(self, transformer, condition: "Condition", dtype: torch.dtype, frugal: bool = False):
        super().__init__(transformer, condition, next(transformer.parameters()).device, dtype)
        self._frugal = frugal

    def _block(self, stream: torch.Tensor, number: int, shifts: torch.Tensor, cross) -> torch.Tensor:
        if not self._frugal or not torch.is_grad_enabled():
            return super()._block(stream, number, shifts, cross)
        return checkpoint(super()._block, stream, number, shifts, cross, use_reentrant=False)


def flow_loss(velocity: Velocity, music: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Mean squared error of the velocity at times t [B] for each item of music and noise [B, C, T] -> [B], float32."""
    at = t[:, None, None]
    made = velocity(at * noise + (1 - at) * music, t)
    return (made.float() - (noise - music)).square().mean(dim=(1, 2))
