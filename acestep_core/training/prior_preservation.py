"""Prior preservation: a share of the crops is from songs that the base model made. On them the adapter is trained to
give the base's own velocity, so that it changes little besides the style (DreamBooth, https://arxiv.org/abs/2208.12242,
with the base's velocity as the target instead of the data's).
"""

import math
from typing import TYPE_CHECKING

import torch

from ..models.velocity import prepare

if TYPE_CHECKING:
    from ..models.condition import Condition
    from ..models.stage_model import StageModel


def item_at(position: int, share: float) -> tuple[int, bool]:
    """The crop at a position: (its number among its kind, whether it is from the model's own songs). Both kinds are
    spread evenly.
    """
    before = math.floor(position * share)
    is_own = math.floor((position + 1) * share) > before
    return (before if is_own else position - before), is_own


@torch.no_grad()
def endpoints(
    model: "StageModel", condition: "Condition", music: torch.Tensor, noise: torch.Tensor, t: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Music and noise [B, C, T] with the same x_t as the given ones, and whose difference noise - music, the target of
    flow matching, is the model's own velocity at x_t.
    """
    x_t = t * noise + (1 - t) * music
    velocity = prepare(model.transformer, condition)(x_t, t)
    return x_t - t * velocity, x_t + (1 - t) * velocity
