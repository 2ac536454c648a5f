"""Alignment of lyric tokens and music: attention [heads, tokens, patches] -> a matrix -> a monotone path through it.

Tokens are rows and patches of latents columns. Published models follow the lyrics of themselves: of each head the
medians of rows and columns are taken away, so that attention which is spread evenly says nothing. Heads that were
trained to look at what is sung are taken at their word. Dynamic time warping then finds the path.
"""

import numpy as np
import torch

LEAST_WEIGHT = 1e-6
MEDIANS = 2.0  # so many medians of its row, and then of its column, are taken from each weight
_DIAGONAL, _TOKEN, _PATCH = 0, 1, 2


def aligned(heads: torch.Tensor) -> torch.Tensor:
    """Attention weights [H, L, T] of several heads -> one matrix [L, T], large where a token is sung."""
    heads = heads.float()
    weights = heads.softmax(-1) * heads.softmax(-2)
    for axis in (-1, -2):
        weights = (weights - MEDIANS * weights.quantile(0.5, dim=axis, keepdim=True)).relu()
    weights = weights.square()
    weights = (weights - weights.mean()) / (weights.std(correction=0) + 1e-9)
    return weights.mean(0)


def likelihood(heads: torch.Tensor) -> torch.Tensor:
    """Attention weights [H, L, T] of heads that were trained to look at what is sung -> the logarithm of their mean
    [L, T]: each column is as good as the distribution of what is sung then.
    """
    return heads.float().mean(0).clamp(min=LEAST_WEIGHT).log()


def energy(heads: torch.Tensor) -> torch.Tensor:
    """The mean [L, T] of heads [H, L, T], scaled to 0..1; zeros where all of it is equal."""
    mean = heads.float().mean(0)
    low, high = mean.min(), mean.max()
    return (mean - low) / (high - low) if high > low else torch.zeros_like(mean)


def path_of(cost: "torch.Tensor | np.ndarray") -> tuple[np.ndarray, np.ndarray]:
    """The cheapest monotone path from the first to the last cell of a cost matrix [L, T]: token and patch indices [K].

    A tie goes to the next patch of the same token. Cells of one diagonal do not depend on each other and are computed
    together.
    """
    cost = np.asarray(cost, dtype=np.float64)
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf, dtype=np.float32)
    total[0, 0] = 0
    move = np.full((rows + 1, columns + 1), _PATCH, dtype=np.int8)
    for diagonal in range(2, rows + columns + 1):
        row = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        column = diagonal - row
        before = np.stack([total[row - 1, column - 1], total[row - 1, column], total[row, column - 1]])
        chosen = _cheapest(before)
        move[row, column] = chosen
        total[row, column] = cost[row - 1, column - 1] + before[chosen, np.arange(len(row))]
    return _followed(move)


def even_path(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """The path of tokens that are spread evenly over the patches: token and patch indices [K]."""
    steps = np.arange(max(rows, columns))
    return steps * rows // len(steps), steps * columns // len(steps)


def _cheapest(before: np.ndarray) -> np.ndarray:
    """The move into each cell: the one that is strictly cheapest, else to the next patch."""
    diagonal, token, patch = before
    chosen = np.full(before.shape[1], _PATCH, dtype=np.int8)
    chosen[(token < diagonal) & (token < patch)] = _TOKEN
    chosen[(diagonal < token) & (diagonal < patch)] = _DIAGONAL
    return chosen


def _followed(move: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    row, column = (size - 1 for size in move.shape)
    path = []
    while row > 0 or column > 0:
        path.append((row - 1, column - 1))
        chosen = _PATCH if row == 0 else _TOKEN if column == 0 else move[row, column]
        row -= chosen in (_DIAGONAL, _TOKEN)
        column -= chosen in (_DIAGONAL, _PATCH)
    tokens, patches = np.array(path[::-1]).T
    return tokens, patches
