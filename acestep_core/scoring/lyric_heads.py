"""The cross-attention heads of published models that follow the lyrics, and their weights in one forward pass.

A checkpoint's config may name others (HEADS_KEY in checkpoints/variants.py). The table of one family means nothing for
another.
"""

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from ..errors import UserError
from ..flow.stages import noise

if TYPE_CHECKING:
    from ..models.defaults import VariantDefaults
    from ..models.velocity import Velocity

logger = logging.getLogger(__name__)

Heads = Mapping[int, Sequence[int]]  # layer -> its heads
PUBLISHED_HEADS: Mapping[str, Heads] = MappingProxyType(
    {
        "2b": {2: (6,), 3: (10, 11), 4: (3,), 5: (8, 9), 6: (8,)},
        "xl": {3: (18, 27), 4: (22,), 5: (5, 6, 7), 6: (2, 12, 13), 7: (20, 21)},
    }
)
PUBLISHED_DEPTH = MappingProxyType({"2b": 24, "xl": 32})  # layers of the models that the table was made for
TRAINED_TIME = 0.5
ALIGNMENT_SEED = 42  # of the noise, as in the original


def known_heads(family: str, defaults: "VariantDefaults", config: Mapping, name: str) -> Heads | None:
    """The heads that follow the lyrics: those that a model's config names, else those of its published family.

    None where they are not known. `config`: of its transformer. Raises UserError for heads that it lacks.
    """
    depth = config["num_hidden_layers"]
    if defaults.lyric_heads:
        return _checked(dict(defaults.lyric_heads), depth, config["num_attention_heads"], name)
    return PUBLISHED_HEADS[family] if depth == PUBLISHED_DEPTH.get(family) else None


def all_heads(config: Mapping, name: str) -> Heads:
    """All heads of a model, for want of better ones: a warning in the log says so."""
    logger.warning(
        "lyrics: it is not known which attention heads of %s follow them, so all are used and times are a guess", name
    )
    return {layer: range(config["num_attention_heads"]) for layer in range(config["num_hidden_layers"])}


def alignment_time(defaults: "VariantDefaults") -> float:
    """The flow time at which a model's heads are read. Published models follow the lyrics in nearly finished music, at
    the last of their steps (golden case); heads that were trained know most about music that is half made.
    """
    return TRAINED_TIME if defaults.lyric_heads_trained else 1 / defaults.steps


def _checked(heads: Heads, depth: int, width: int, name: str) -> Heads:
    """The same heads. Raises UserError unless a model of so many layers, and heads in each, has them."""
    for layer, numbers in heads.items():
        if not 0 <= layer < depth or not all(0 <= number < width for number in numbers):
            raise UserError(
                f"lyrics: got heads {', '.join(map(str, numbers))} of layer {layer} for {name}, which has {depth} "
                f"layers of {width} heads; correct the table in its config.json"
            )
    return heads


def noised(latents: torch.Tensor, t: float, seed: int = ALIGNMENT_SEED) -> torch.Tensor:
    """Finished latents [1, C, T] at the flow time t, with the noise of a seed."""
    return t * noise([seed], *latents.shape[1:]).to(latents) + (1 - t) * latents


def lyric_attention(velocity: "Velocity", latents: torch.Tensor, t: float, heads: Heads, rows: range) -> torch.Tensor:
    """Attention [heads, rows, patches] of patches of latents [1, C, T], which are at flow time t, to the lyric tokens
    in `rows` of the condition. Layers behind the deepest of `heads` do not run.
    """
    with torch.no_grad():
        found = velocity.cross_weights(latents, t, heads)
    return torch.cat(found, dim=1)[0, :, :, rows.start : rows.stop].transpose(1, 2).float().cpu()
