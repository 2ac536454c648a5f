"""Blocks of sound [n, channels], as decoders give them, put together as one waveform [1, channels, N].

Memory is that of the result: channels beyond two are mixed block by block, and each block is freed once it is copied.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np
import torch

from .bounds import CHANNELS_READ, check_samples
from .waveform import Waveform, convert, remix


def gathered(blocks: Iterable[tuple[np.ndarray, int]], name: str) -> Waveform | None:
    """Blocks and their rates, which may change midway, at the first one's rate and channel count; None of no blocks.

    Raises UserError, with the file's `name`, for more than is read of one file.
    """
    runs = [
        _joined(list(block for block, _ in run), rate_hz)
        for (_, rate_hz), run in groupby(_bounded(blocks, name), lambda one: (one[0].shape[1], one[1]))
    ]
    if len(runs) < 2:
        return runs[0] if runs else None
    rate_hz, channels = runs[0].sample_rate_hz, runs[0].samples.shape[1]
    return Waveform(torch.cat([convert(run, rate_hz, channels).samples for run in runs], dim=-1), rate_hz)


def _bounded(blocks: Iterable[tuple[np.ndarray, int]], name: str) -> Iterator[tuple[np.ndarray, int]]:
    """The blocks in at most two channels."""
    samples = 0
    for block, rate_hz in blocks:
        if block.shape[1] > CHANNELS_READ:
            block = remix(torch.from_numpy(block.T)[None], CHANNELS_READ)[0].numpy().T
        samples += block.size
        check_samples(samples, rate_hz, block.shape[1], name)
        yield block, rate_hz


def _joined(blocks: list[np.ndarray], rate_hz: int) -> Waveform:
    """Blocks of one channel count, which are taken out of the list."""
    length, start = sum(map(len, blocks)), 0
    samples = np.empty((1, blocks[0].shape[1], length), np.float32)
    blocks.reverse()
    while blocks:
        block = blocks.pop()
        samples[0, :, start : start + len(block)] = block.T
        start += len(block)
    return Waveform(torch.from_numpy(samples), rate_hz)
