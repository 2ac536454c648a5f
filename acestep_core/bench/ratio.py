"""Two ways to compute the same thing, timed turn by turn: what else the machine does hits both."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Ratio:
    """Median seconds of both sides, how many times as fast ours is, and how far its numbers are from theirs."""

    name: str
    dtype: str  # of both sides, or "ours/theirs"
    ours_seconds: float
    theirs_seconds: float
    ratio: float
    max_difference: float | None  # None where both draw noise of their own
    repeats: int
    theirs: str = "diffusers"


def compare(
    name: str,
    dtype: str,
    ours: Callable[[], torch.Tensor],
    theirs: Callable[[], torch.Tensor],
    repeats: int,
    *,
    of: str = "diffusers",
    same: bool = True,
) -> Ratio:
    """Once to warm up (and, where both give the `same`, to compare it), then turn by turn."""
    mine, other = ours(), theirs()
    difference = float((mine.float() - other.float()).abs().max()) if same else None
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for side, function in enumerate((ours, theirs)):
            seconds[side].append(_seconds(function))
    quick, slow = (statistics.median(side) for side in seconds)
    return Ratio(name, dtype, round(quick, 5), round(slow, 5), round(slow / quick, 3), difference, repeats, of)


def _seconds(function: Callable[[], torch.Tensor]) -> float:
    start = time.perf_counter()
    float(function().flatten()[-1])  # a number on the CPU is there only when the device is done
    return time.perf_counter() - start
