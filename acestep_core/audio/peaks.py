"""Peaks of a sound file: the lowest and the highest sample of each short stretch, to draw its waveform at any zoom.

The file is read piece by piece, so that a recording of an hour takes a few megabytes. No torch.
"""

import os
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from .files import blocks

STRETCHES_PER_SECOND = 200
LONGEST_SECONDS = 3600.0  # the rest of a longer file is not read
READING_SECONDS_MOST = 60.0  # an hour of FLAC takes about ten
COLUMNS_MOST = 4000
ROUNDING = 1e-6  # of a stretch


@dataclass(frozen=True)
class Peaks:
    """`pairs` [N, 2] float32: the lowest and the highest sample of each stretch, over all channels. `seconds`: of the
    sound, as far as it was read.
    """

    pairs: np.ndarray
    seconds: float

    def window(self, start: float, end: float, columns: int) -> np.ndarray:
        """Pairs [columns, 2] of the sound from `start` to `end` seconds; [0, 2] of nothing. Raises UserError."""
        if not (0 <= start < end and 1 <= columns <= COLUMNS_MOST):
            raise UserError(
                f"peaks: got {columns} columns from {start:g} to {end:g} s, expected a start below the end, and 1 to "
                f"{COLUMNS_MOST} columns"
            )
        edges = np.linspace(start, min(end, self.seconds), columns + 1) * (len(self.pairs) / self.seconds) + ROUNDING
        first = np.minimum(edges[:-1].astype(int), len(self.pairs) - 1)
        until = max(first[-1] + 1, int(np.ceil(edges[-1] - 2 * ROUNDING)))
        low = np.minimum.reduceat(self.pairs[:until, 0], first)
        return np.stack([low, np.maximum.reduceat(self.pairs[:until, 1], first)], axis=1)


def peaks_of(path: "str | os.PathLike") -> Peaks:
    """The peaks of a sound or video file. Raises UserError for one that cannot be read, or not in a minute."""
    deadline, stretches = time.monotonic() + READING_SECONDS_MOST, _Stretches()
    for block, rate_hz in blocks(path):
        stretches.add(block, rate_hz)
        if stretches.seconds >= LONGEST_SECONDS:
            break
        if time.monotonic() > deadline:
            raise UserError(
                f"{path}: got no further than {stretches.seconds:.0f} s of its sound in {READING_SECONDS_MOST:g} s; "
                "cut it up"
            )
    if not stretches.seconds:
        raise UserError(f"{path}: holds no sound")
    return Peaks(stretches.pairs, stretches.seconds)


class _Stretches:
    """Collects the peaks of blocks, whose ends lie anywhere."""

    def __init__(self):
        self._made, self._rest, self._rate_hz = [], None, None
        self._samples = Counter()  # by rate

    @property
    def seconds(self) -> float:
        return sum(count / rate_hz for rate_hz, count in self._samples.items())

    def add(self, block: np.ndarray, rate_hz: int) -> None:
        outer = np.nan_to_num(np.stack([block.min(axis=0), block.max(axis=0)]), nan=0.0, posinf=1.0, neginf=-1.0)
        self._samples[rate_hz] += outer.shape[1]
        if rate_hz != self._rate_hz:
            self._finish()
            self._rate_hz = rate_hz
        elif self._rest is not None:
            outer = np.concatenate([self._rest, outer], axis=1)
        length = max(1, round(rate_hz / STRETCHES_PER_SECOND))
        whole = outer.shape[1] // length * length
        self._reduce(outer[:, :whole], length)
        self._rest = outer[:, whole:]

    def _finish(self) -> None:
        if self._rest is not None and self._rest.shape[1]:
            self._reduce(self._rest, self._rest.shape[1])
        self._rest = None

    def _reduce(self, outer: np.ndarray, length: int) -> None:
        rows = outer.reshape(2, -1, length)
        self._made.append(np.stack([rows[0].min(axis=1), rows[1].max(axis=1)], axis=1))

    @property
    def pairs(self) -> np.ndarray:
        self._finish()
        return np.concatenate(self._made)
