"""DCW: a correction of each step in the wavelet domain, which the original applies to turbo models.

The step's result moves away from the estimate of the finished music: its slow half by a share that falls with t, its
fast half by one that grows (differential correction in the wavelet domain; Haar, the original's mode "double").
"""

import torch
from torch.nn import functional

SLOW, FAST = 0.05, 0.02  # the original's scalers


def corrected(latents: torch.Tensor, x0: torch.Tensor, t: float) -> torch.Tensor:
    """Latents [B, C, T] of a step from flow time t, corrected by the step's estimate of the music."""
    away = latents - x0
    pairs = functional.pad(away, (0, away.shape[-1] % 2)).unflatten(-1, (-1, 2))  # the Haar transform pads with zeros
    slow = pairs.mean(dim=-1, keepdim=True)
    change = t * SLOW * slow + (1 - t) * FAST * (pairs - slow)
    return latents + change.flatten(-2)[..., : latents.shape[-1]]
