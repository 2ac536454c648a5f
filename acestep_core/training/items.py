"""What goes into a step of a training, and what comes of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ..models.condition import Condition


@dataclass(frozen=True)
class TrainingStep:
    """The result of a step."""

    step: int  # from 1
    of: int
    loss: float
    learning_rate: float
    held_out: float | None = None  # loss on the held-out examples, where it was measured
    preview: Path | None = None  # a song with the trained weights ...
    without: Path | None = None  # ... and the same song without
    saved: Path | None = None


@dataclass(frozen=True, eq=False)
class Drawn:
    """An item of a step: condition, music and noise [1, C, T], flow time, and the seed of the network's own numbers."""

    seed: int
    condition: "Condition"
    music: torch.Tensor
    noise: torch.Tensor
    t: float
