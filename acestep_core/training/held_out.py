"""Which examples of a training are trained on, and which are held out to measure its loss on."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from .rng import seed_of

if TYPE_CHECKING:
    from .prepare import Example
    from .settings import TrainingSettings

FEWEST_TO_HOLD_OUT = 4  # with fewer examples than this all are trained on


def preview_example(examples: Sequence["Example"], settings: "TrainingSettings") -> "Example":
    """The example whose text is used for previews."""
    train_set, held_out = split_examples(examples, settings)
    return (held_out or train_set)[0]


def split_examples(
    examples: Sequence["Example"], settings: "TrainingSettings"
) -> "tuple[list[Example], list[Example]]":
    """Examples to train on, and held-out examples to measure on."""
    if not settings.hold_out or len(examples) < FEWEST_TO_HOLD_OUT:
        return list(examples), []
    count = max(1, min(round(settings.hold_out * len(examples)), len(examples) - 1))
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed_of(settings.seed, "held out")))
    held = set(order[:count].tolist())
    return [p for i, p in enumerate(examples) if i not in held], [examples[i] for i in sorted(held)]


def data_hash(examples: Sequence["Example"]) -> str:
    """A hash of all examples' sources."""
    return hashlib.sha256(" ".join(example.key for example in examples).encode()).hexdigest()[:32]
