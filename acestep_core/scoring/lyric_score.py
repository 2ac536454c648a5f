"""How well the words of lyrics can be found in a song: a score 0..1, from the attention of lyric heads.

It compares takes of one song. Of two songs it says nothing, for it depends on their words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .alignment import energy, path_of

SUNG = 0.1  # a token whose energy exceeds it somewhere is sung
WEIGHT_LEAST = 0.01  # energy below it does not shift the centre of a token
BACKWARDS_PATCHES = 9.0  # by which a token's centre may lie before the one of the token before


@dataclass(frozen=True)
class LyricScore:
    """Share of tokens that are sung, share of neighbours that are sung in order, and mean energy on the path."""

    coverage: float
    order: float
    confidence: float

    @property
    def score(self) -> float:
        made = self.coverage**2 * self.order**2 * self.confidence
        return round(min(max(made, 0.0), 1.0), 4)


def lyric_score(heads: torch.Tensor, texts: Sequence[str]) -> LyricScore:
    """The score of attention [H, L, T] to tokens of these texts. Tokens in [tags] count on the path alone."""
    levels = energy(heads).numpy()
    sung = sung_tokens(texts)
    path = path_of(-(levels**2))
    confidence = float(levels[path].mean())
    words = levels[sung]
    coverage = float((words.max(1) > SUNG).mean()) if len(words) else 1.0
    return LyricScore(coverage, _order(words), confidence)


def sung_tokens(texts: Sequence[str]) -> np.ndarray:
    """Whether each token [L] is outside of tags: a tag reaches from [ to ], both tokens included."""
    sung, inside = [], False
    for text in texts:
        inside = inside or "[" in text
        sung.append(not inside)
        inside = inside and "]" not in text
    return np.array(sung, dtype=bool)


def _order(levels: np.ndarray) -> float:
    """The share of neighbouring tokens [L, T] of which the second one's centre lies behind the first's."""
    weights = np.where(levels > WEIGHT_LEAST, levels, 0)
    total = weights.sum(1)
    places = np.arange(levels.shape[1])
    centres = (weights[total > 0] @ places) / total[total > 0]
    if len(centres) < 2:
        return 1.0
    return float((np.diff(centres) >= -BACKWARDS_PATCHES).mean())
