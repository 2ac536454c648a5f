"""The training objective: flow matching, at the flow times at which the base model itself was trained.

x_t = t noise + (1 - t) music, the network predicts v = noise - music; latents are [B, C, T]. Turbo models were
distilled at the times of their table only, always conditioned. The others were trained at t = sigmoid(N(-0.4, 1)), with
the null condition in 15 % of the samples, which guidance needs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

import torch
from torch.utils.checkpoint import checkpoint

from ..errors import UserError
from ..flow import schedule
from ..flow.schedule import SAME_TIME
from ..models.condition import Condition
from ..models.velocity import Places, Velocity
from ..nn.attention import attend, out
from .crops import Crops

if TYPE_CHECKING:
    from ..models.defaults import VariantDefaults

TIME_MEAN, TIME_DEVIATION = -0.4, 1.0  # of the logit of t
NULL_SHARE = 0.15
_NORMAL = NormalDist(TIME_MEAN, TIME_DEVIATION)


@dataclass(frozen=True)
class FlowTimes:
    """A distribution of flow times from `start` to `end`: uniform over a table, or, without one, the base models' own.

    `null_share`: share of the samples that are trained under the null condition.
    """

    start: float = 1.0
    end: float = 0.0
    table: tuple[float, ...] | None = None
    null_share: float = NULL_SHARE

    def quantile(self, share: float) -> float:
        """The time below which `share` (0 to 1) of all times lie: of a uniform random number, a random time."""
        if self.table:
            return sorted(self.table)[min(int(share * len(self.table)), len(self.table) - 1)]
        low, high = (_NORMAL.cdf(_logit(t)) for t in (self.end, self.start))
        share = min(max(low + share * (high - low), 1e-9), 1 - 1e-9)
        return min(max(1 / (1 + math.exp(-_NORMAL.inv_cdf(share))), self.end), self.start)

    def spread(self, count: int) -> tuple[float, ...]:
        """`count` fixed times, evenly spread over the distribution, to measure at."""
        return tuple(self.quantile((i + 0.5) / count) for i in range(count))


def flow_times(own: "VariantDefaults", start: float = 1.0, end: float = 0.0, all_times: bool = False) -> FlowTimes:
    """The times of a variant between `start` and `end`. `all_times`: all 20 of a turbo model, not its schedule's 8.

    Raises UserError where a turbo model has no time there.
    """
    schedule.check_stretch(own.shift, start, end)
    if own.valid_times is None:
        null_share = NULL_SHARE if not own.variant.startswith("turbo") else 0.0
        return FlowTimes(start, end, None, null_share)
    everywhere = own.valid_times if all_times else schedule.times(own.steps, own.shift)[:-1]
    table = tuple(t for t in everywhere if end + SAME_TIME < t <= start + SAME_TIME)
    if not table:
        shown = ", ".join(f"{t:.4g}" for t in everywhere)
        raise UserError(f"stretch: the turbo model has no flow time from {start:g} to {end:g}; its times are {shown}")
    return FlowTimes(start, end, table, 0.0)


def _logit(t: float) -> float:
    return math.inf if t >= 1 else -math.inf if t <= 0 else math.log(t / (1 - t))


class TrainableVelocity(Velocity):
    """The velocity with gradients; with gradient checkpointing a layer's activations are computed again for them."""

    draws = True  # whether the network may draw random numbers, the same ones when it is computed again

    def __init__(
        self,
        transformer,
        condition: Condition,
        dtype: torch.dtype,
        gradient_checkpointing: bool = False,
        places: Places | None = None,
    ):
        super().__init__(transformer, condition, next(transformer.parameters()).device, dtype, places)
        self._gradient_checkpointing = gradient_checkpointing

    def _block(self, stream: torch.Tensor, number: int, shifts: torch.Tensor, cross) -> torch.Tensor:
        if not self._gradient_checkpointing or not torch.is_grad_enabled():
            return super()._block(stream, number, shifts, cross)
        how = {"use_reentrant": False, "preserve_rng_state": self.draws}
        return checkpoint(super()._block, stream, number, shifts, cross, **how)


class BatchVelocity(TrainableVelocity):
    """The velocities of songs of one length, each under a condition of its own, in one pass over the weights.

    Their texts may differ in length: a song attends to its own states alone, so its velocity is that of its own run.
    """

    def __init__(
        self,
        transformer,
        conditions: Sequence[Condition],
        dtype: torch.dtype,
        gradient_checkpointing: bool = False,
    ):
        self._lengths = [condition.states.shape[1] for condition in conditions]
        states = torch.cat([condition.states.to(dtype) for condition in conditions], dim=1)
        context = torch.cat([condition.context for condition in conditions])
        together = replace(conditions[0], states=states, context=context)
        super().__init__(transformer, together, dtype, gradient_checkpointing)

    def _cross(self, stream: torch.Tensor, number: int) -> torch.Tensor:
        layer = self._layers[number]
        queries = self._queries(stream, number).split(1)
        keys, values = (part.split(self._lengths, dim=2) for part in (layer.keys, layer.values))
        return out(layer.block.cross_attn, torch.cat([attend(*song) for song in zip(queries, keys, values)]))


class PaddedVelocity(TrainableVelocity):
    """The same for texts that are padded to one length, so that only the numbers differ from batch to batch.

    A song attends to its own states alone. For networks that draw no random numbers.
    """

    draws = False

    def __init__(
        self,
        transformer,
        crops: Crops,
        dtype: torch.dtype,
        gradient_checkpointing: bool = False,
        places: Places | None = None,
    ):
        condition = Condition(crops.states, crops.states[:1, :1], crops.context)
        super().__init__(transformer, condition, dtype, gradient_checkpointing, places)
        self._mask = crops.mask.to(dtype)

    def _cross(self, stream: torch.Tensor, number: int) -> torch.Tensor:
        layer = self._layers[number]
        seen = attend(self._queries(stream, number), layer.keys, layer.values, self._mask)
        return out(layer.block.cross_attn, seen)


def padded_pass(
    transformer, crops: Crops, dtype: torch.dtype, of: int, gradient_checkpointing: bool = False
) -> Callable[[], torch.Tensor]:
    """A function that adds the gradients of crops, of which a step has `of`, and returns their share of its loss, a
    scalar. It makes no tensor on the CPU, so it can be recorded.
    """
    places = Places.of(transformer, crops.context.shape[-1], crops.context)

    def run() -> torch.Tensor:
        with torch.enable_grad():
            velocity = PaddedVelocity(transformer, crops, dtype, gradient_checkpointing, places)
            loss = flow_loss(velocity, crops.music, crops.noise, crops.t).sum() / of
            loss.backward()
        return loss.detach()

    return run


def flow_loss(velocity: Velocity, music: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Mean squared error of the velocity at times t [B] for each item of music and noise [B, C, T] -> [B], float32."""
    at = t[:, None, None]
    made = velocity(at * noise + (1 - at) * music, t)
    return (made.float() - (noise - music)).square().mean(dim=(1, 2))
