"""Solvers: one step along the flow, from t down to t_next. Latents are [B, C, T].

A solver returns the latents at t_next and its estimate of the finished music, x0. Adding one is one function and one
row of SOLVERS.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from .guidance import Guided


class StepResult(NamedTuple):
    latents: torch.Tensor  # at t_next
    x0: torch.Tensor  # the estimate of the finished music


# (velocity, latents, t, t_next, fresh noise, whether the model knows t = 0)
Solver = Callable[[Guided, torch.Tensor, float, float, Callable[[], torch.Tensor], bool], StepResult]


def _along(latents: torch.Tensor, velocity: torch.Tensor, t: float, t_next: float) -> StepResult:
    return StepResult(latents - velocity * (t - t_next), latents - velocity * t)


def euler(velocity, latents, t, t_next, noise, knows_zero) -> StepResult:
    """Euler, first order: one evaluation of the model."""
    return _along(latents, velocity(latents, t), t, t_next)


def heun(velocity, latents, t, t_next, noise, knows_zero) -> StepResult:
    """Heun, second order: a second evaluation at the end of the step, and the mean of both.

    A model that was not trained at t = 0 is not evaluated there: its last step is an Euler step.
    """
    first = velocity(latents, t)
    if t_next == 0 and not knows_zero:
        return _along(latents, first, t, t_next)
    second = velocity.corrector(latents - first * (t - t_next), t_next)
    return _along(latents, (first + second) / 2, t, t_next)


def sde(velocity, latents, t, t_next, noise, knows_zero) -> StepResult:
    """SDE, first order: the estimate of the music, noised to t_next with new noise."""
    x0 = latents - velocity(latents, t) * t
    return StepResult(t_next * noise() + (1 - t_next) * x0 if t_next > 0 else x0, x0)


SOLVERS: dict[str, Solver] = {"euler": euler, "heun": heun, "sde": sde}
