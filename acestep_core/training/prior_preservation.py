"""What keeps a model itself while it learns a style: a share of the crops are songs of its own, at which it is taught
to answer as it would without the adapter (the prior preservation of DreamBooth, https://arxiv.org/abs/2208.12242, with
the base's velocity in place of the data's).
"""

import math
from typing import TYPE_CHECKING

import torch

from ..models.velocity import prepare

if TYPE_CHECKING:
    from ..models.condition import Condition
    from ..models.stage_model import StageModel


def turn(position: int, share: float) -> tuple[int, bool]:
    """Of the crop at a place in the order of all: whether it is a song of the model's own, and how many of its kind
    came before. They lie as evenly as may be.
    """
    before = math.floor(position * share)
    is_own = math.floor((position + 1) * share) > before
    return (before if is_own else position - before), is_own


@torch.no_grad()
def ends(
    model: "StageModel", condition: "Condition", music: torch.Tensor, noise: torch.Tensor, t: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The music and the noise [B, C, T] between which the model itself sees the point at t between those given: their
    difference, which flow matching teaches, is its own velocity there.
    """
    x_t = t * noise + (1 - t) * music
    velocity = prepare(model.transformer, condition)(x_t, t)
    return x_t - t * velocity, x_t + (1 - t) * velocity
