"""Products of a few rows with a large matrix, as a language model needs them for each token.

A CPU's product of two rows in float32 packs the matrix first, which takes several times as long as reading it. Block by
block, each row alone, the matrix is read from memory once, and a row's numbers are those it has alone.
"""

import torch
from torch.nn import functional

FEW = 4  # rows
BLOCK_NUMBERS = 1 << 20  # of the matrix: a block stays in the cache of a core until all rows have passed


def linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """x [N, D] times the transposed weight [M, D] -> [N, M]."""
    rows = len(x)
    if x.device.type != "cpu" or rows > FEW or type(weight) not in _PLAIN:
        return functional.linear(x, weight)
    if weight.dtype == torch.bfloat16 and rows == 1:  # two rows take less time than one, which has a slower kernel
        return functional.linear(x.expand(2, -1), weight)[:1]
    if weight.dtype != torch.float32 or rows == 1:
        return functional.linear(x, weight)
    made = x.new_empty(rows, len(weight))
    step = max(1, BLOCK_NUMBERS // weight.shape[1])
    for start in range(0, len(weight), step):
        block = weight[start : start + step]
        for row in range(rows):
            torch.mv(block, x[row], out=made[row, start : start + step])
    return made


_PLAIN = (torch.Tensor, torch.nn.Parameter)  # not the weights in 8 bits, which multiply themselves
