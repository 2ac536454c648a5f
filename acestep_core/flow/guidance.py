"""Guidance: combines the conditional and the unconditional velocity into the one that the solver follows.

Latents and velocities are [B, C, T]. Adding a guidance is one function and one row of GUIDANCE.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn.functional import normalize

from ..errors import UserError
from ..spec import APG_MOMENTUM, APG_NORM_LIMIT
from .schedule import SAME_TIME

# (latents, t, conditional velocity, unconditional velocity) -> velocity
Combine = Callable[[torch.Tensor, float, torch.Tensor, torch.Tensor], torch.Tensor]


class ConditionedVelocity(Protocol):
    def __call__(self, latents: torch.Tensor, t: float) -> torch.Tensor: ...

    def with_null(self, latents: torch.Tensor, t: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The conditional and the unconditional velocity."""
        ...


def cfg(scale: float) -> Combine:
    """Classifier-free guidance: the unconditional velocity plus `scale` times the difference to the conditional one."""

    def combine(latents, t, cond, null):
        return null + scale * (cond - null)

    return combine


class Apg:
    """Adaptive projected guidance: only the part of the difference orthogonal to the conditional velocity counts.

    Its norm is bounded, and it carries momentum from step to step: `memory`, which starts empty. Norms and projections
    run over time, per channel.
    """

    def __init__(self, scale: float):
        self.scale = scale
        self.memory: torch.Tensor | None = None

    def __call__(self, latents, t, cond, null):
        push = cond - null
        if self.memory is not None:
            push = push + APG_MOMENTUM * self.memory
        self.memory = push
        push = push * (APG_NORM_LIMIT / push.norm(dim=-1, keepdim=True)).clamp(max=1.0)
        return cond + (self.scale - 1) * _across(push, cond)


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    # Angles and projections over thousands of frames lose too much in float32. MPS knows no float64; a CPU does.
    return tensor.cpu().double() if tensor.device.type == "mps" else tensor.double()


def _across(push: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
    wide, unit = _wide(push), normalize(_wide(along), dim=-1)
    return (wide - (wide * unit).sum(dim=-1, keepdim=True) * unit).to(push)


ADG_ANGLE_LIMIT = 3.14 / 6
ADG_FLAT = 1e-3  # below this sine the two estimates are parallel and define no rotation


def adg(scale: float) -> Combine:
    """Angle-based dynamic guidance: rotates the estimate of the music by an angle, per frame, over the channels."""
    weight = max(scale - 1, 0.0) + 1e-3

    def combine(latents, t, cond, null):
        music, plain = latents - t * cond, latents - t * null
        return (latents - _turned(_wide(music), _wide(plain), weight).to(latents)) / t

    return combine


def _turned(music: torch.Tensor, plain: torch.Tensor, weight: float) -> torch.Tensor:
    apart = music - plain
    lengths = music.norm(dim=1, keepdim=True) * plain.norm(dim=1, keepdim=True)
    cosine = ((music * plain).sum(dim=1, keepdim=True) / lengths.clamp(min=1e-12)).clamp(-1 + 1e-6, 1 - 1e-6)
    angle = torch.acos(cosine)
    wanted = (weight * angle).clamp(-ADG_ANGLE_LIMIT, ADG_ANGLE_LIMIT)
    across = apart - (apart * plain).sum(dim=1, keepdim=True) / (plain.square().sum(dim=1, keepdim=True) + 1e-8) * plain
    sine = torch.sin(angle)
    turn = torch.where(sine > ADG_FLAT, torch.sin(wanted) / sine, torch.full_like(sine, weight))
    return torch.cos(wanted) * music + across * turn


GUIDANCE: dict[str, Callable[[float], Combine] | None] = {"none": None, "cfg": cfg, "apg": Apg, "adg": adg}


@dataclass(frozen=True)
class Guidance:
    """The kind of guidance, its scale (1 is none), and the flow times between which it acts, both included."""

    kind: str = "none"
    scale: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self):
        if self.kind not in GUIDANCE:
            raise UserError(f"guidance: got {self.kind!r}, expected one of {', '.join(GUIDANCE)}")
        if not (math.isfinite(self.scale) and self.scale >= 1):
            raise UserError(f"guidance scale: got {self.scale:g}, expected 1 (none) or more, such as 7")
        low, high = self.interval
        if not 0 <= low <= high <= 1:
            raise UserError(f"guidance interval: got {low:g} to {high:g}, expected 0 <= low <= high <= 1")

    @property
    def forward_passes(self) -> int:
        """Forward passes of a step for one song: the conditional one, and with guidance the unconditional one."""
        return 2 if self.kind != "none" and self.scale > 1 else 1

    def applies(self, t: float) -> bool:
        low, high = self.interval
        return self.forward_passes > 1 and low - SAME_TIME <= t <= high + SAME_TIME


class Guided:
    """velocity(latents, t) under guidance, for one stage; the momentum of guidance lives as long as this object.

    `velocity` may be replaced during the stage by that of another condition; the momentum stays.
    """

    def __init__(self, velocity: ConditionedVelocity, guidance: Guidance):
        self.velocity = velocity
        self._guidance = guidance
        row = GUIDANCE[guidance.kind]
        self._combine = row and row(guidance.scale)
        self._plain = cfg(guidance.scale)

    def __call__(self, latents: torch.Tensor, t: float) -> torch.Tensor:
        return self._guided(latents, t, self._combine)

    def corrector(self, latents: torch.Tensor, t: float) -> torch.Tensor:
        """The velocity of a second evaluation within one step: plain guidance, which leaves the momentum as it is."""
        return self._guided(latents, t, self._plain)

    @property
    def memory(self) -> torch.Tensor | None:
        """The momentum that the next call starts from; None where there is none."""
        return getattr(self._combine, "memory", None)

    @memory.setter
    def memory(self, memory: torch.Tensor | None) -> None:
        if isinstance(self._combine, Apg):
            self._combine.memory = memory

    def _guided(self, latents: torch.Tensor, t: float, combine: Combine | None) -> torch.Tensor:
        if not self._guidance.applies(t):
            return self.velocity(latents, t)
        return combine(latents, t, *self.velocity.with_null(latents, t))
