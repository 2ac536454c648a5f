"""Prior preservation: a share of the crops are songs that the base model made itself, trained to its own velocity, so
that the adapter changes little else than the style (DreamBooth, https://arxiv.org/abs/2208.12242, with the base's
velocity as the target instead of the data's).
"""

import math
from typing import TYPE_CHECKING

import torch

from ..models.velocity import prepare

if TYPE_CHECKING:
    from ..models.condition import Condition
    from ..models.stage_model import StageModel


def item_at(position: int, share: float) -> tuple[int, bool]:
    """(number among its kind, whether it is one of the model's own songs) of the crop at a position; both kinds are
    spread evenly.
    """
    before = math.floor(position * share)
    is_own = math.floor((position + 1) * share) > before
    return (before if is_own else position - before), is_own


@torch.no_grad()
def endpoints(
    model: "StageModel", condition: "Condition", music: torch.Tensor, noise: torch.Tensor, t: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Music and noise [B, C, T] with the same point at t between them as those given, and a difference, the target of
    flow matching, that is the model's own velocity there.
    """
    x_t = t * noise + (1 - t) * music
    velocity = prepare(model.transformer, condition)(x_t, t)
    return x_t - t * velocity, x_t + (1 - t) * velocity
