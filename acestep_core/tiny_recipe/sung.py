"""When each word of the lyrics is sung, and when a section without words plays: in its prompt, and in its tokens.

One cross-attention head of L, which lays out a song, is trained to look at the words that are being sung, or at the tag
of the section that plays. It gives the lines of a song their times, and a network that knows its place in the lyrics
sings them in their order. (Guided attention, arXiv:1710.08969, with the score's own times in place of a diagonal.)
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import torch

from ..band.score import sung_words
from ..band.sketch import Sketch
from .songs import Crop

NOTHING = (0, 0)  # no rows of the lyrics


@dataclass(frozen=True)
class Span:
    """Characters of a lyrics prompt, and from when to when they are sung, in seconds of the crop."""

    first: int
    after: int
    start_s: float
    end_s: float


def spans_of(prompt: str, crop: Crop, sketch: Sketch) -> list[Span]:
    """The words and tags of a crop's lyrics prompt in their order; none where it has no lyrics."""
    lines = {begin: words for (_, begin, _), words in zip(crop.song.lines, sung_words(sketch))}
    spans, at = [], 0

    def found(text: str, start_s: float, end_s: float) -> None:
        nonlocal at
        first = prompt.lower().find(text.lower(), at)
        if first >= 0:
            at = first + len(text)
            spans.append(Span(first, at, start_s - crop.start_s, end_s - crop.start_s))

    for name, begin, end in crop.parts:
        own = [words for start, words in lines.items() if begin <= start < end and crop.has(start)]
        found(f"[{name}]", begin, own[0][0][1] if own else end)
        for words in own:
            for word in words:
                found(*word)
    return spans


def rows_of(spans: list[Span], offsets: list[tuple[int, int]], middles_s: torch.Tensor) -> torch.Tensor:
    """[N, 2], the first row of the lyrics' states and the one after the last that belong to each time; NOTHING where
    nothing is sung. `offsets`: the characters of each token of the prompt.
    """
    rows = torch.tensor(NOTHING).repeat(len(middles_s), 1)
    for span in spans:
        first = bisect_right(offsets, span.first, key=lambda token: token[1])
        after = bisect_left(offsets, span.after, key=lambda token: token[0])
        rows[(middles_s >= span.start_s) & (middles_s < span.end_s)] = torch.tensor([first, after])
    return rows


def missed(queries, keys, rows: torch.Tensor, tokens: tuple[int, ...], heard: tuple[int, ...]) -> torch.Tensor:
    """Mean cross entropy of one head's attention, queries [N, D] and keys [S, D], against the rows of each token [N, 2]
    that has any; 0 where none has.
    """
    total, count = queries.new_zeros((), dtype=torch.float32), 0
    for q, k, wanted in zip(queries.float().split(tokens), keys.float().split(heard), rows.split(tokens)):
        sung = wanted[:, 1] > wanted[:, 0]
        if sung.any() and len(k) > 1:
            row, (first, after) = torch.arange(len(k), device=k.device), wanted[sung, :, None].unbind(1)
            scores = (q[sung] @ k.T * q.shape[-1] ** -0.5).log_softmax(-1)
            own = scores.masked_fill((row < first) | (row >= after), float("-inf")).logsumexp(-1)
            total, count = total - own.sum(), count + len(own)
    return total / max(count, 1)
