"""A song's latents, its lyrics and a stage's velocity -> when each line is sung, and how well the words came out."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..errors import UserError
from ..planner.metadata import is_instrumental
from ..song import Song
from .alignment import aligned, even_path, likelihood, path_of
from .lyric_heads import Heads, lyric_attention, noised
from .lyric_score import LyricScore, lyric_score
from .lyric_times import Timed, lyric_tokens, timed_lines, timed_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from ..models.velocity import Velocity


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LyricAlignment:
    """The lines that are sung, with their words and times, and the score. `cut`: the models read not all of them."""

    lines: tuple[Timed, ...]
    score: LyricScore
    cut: bool = False


def align(
    velocity: "Velocity",
    latents: torch.Tensor,
    t: float,
    heads: Heads,
    tokenizer: "Tokenizer",
    song: Song,
    seconds: float,
    trained: bool = False,
) -> LyricAlignment:
    """The alignment of finished latents [1, C, T], which are `seconds` long, by one forward pass at flow time `t`.

    `trained`: whether the heads were trained to look at what is sung. Raises UserError for a song without words.
    """
    check_sung(song)
    texts, rows = lyric_tokens(tokenizer, song)
    weights = lyric_attention(velocity, noised(latents, t), t, heads, rows)
    path = _path(likelihood(weights) if trained else aligned(weights))
    lines = timed_lines(timed_tokens(texts, path, seconds, weights.shape[-1]))
    return LyricAlignment(tuple(lines), lyric_score(weights, texts), _is_cut(song, texts))


def _path(found: torch.Tensor):
    """The path through a matrix [L, T]; where nothing stands out in it, an even one, and the log says so."""
    if found.max() > found.min():
        return path_of(-found.double())
    logger.warning("lyrics: the model's attention follows none of them, so lines are spread evenly over the song")
    return even_path(*found.shape)


def check_sung(song: Song) -> None:
    """Raises UserError for a song without words."""
    if is_instrumental(song.lyrics):
        raise UserError("lyrics: the song has none, so there is nothing to time; give its words")


def _is_cut(song: Song, texts: Sequence[str]) -> bool:
    return len("".join(texts)) < len(song.lyrics)
