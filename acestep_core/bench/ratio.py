"""Two ways to compute the same thing, timed by turns, so that other load on the machine slows both."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy
import torch

from .contender import OURS, THEIRS, Apart, Run


@dataclass(frozen=True)
class Ratio:
    """Median seconds of both sides, how many times as fast ours is, and how far its numbers are from theirs."""

    name: str
    dtype: str  # of both sides, or "ours/theirs"
    ours_seconds: float
    theirs_seconds: float
    ratio: float
    max_difference: float | None = None  # None where both draw noise of their own
    repeats: int = 1
    theirs: str = "diffusers"
    ours_gb: float | None = None  # the most memory held, weights included; None where the system does not report it
    theirs_gb: float | None = None
    gflop: float | None = None  # of ours, counted
    share: float | None = None  # of the rate that the machine reaches at our dtype, see Contender.flop_rate


def compare(
    name: str,
    dtype: str,
    make: Callable[..., Run],
    repeats: int,
    where: tuple[torch.device, torch.dtype, str],
    *,
    of: str = "diffusers",
    same: bool = True,
    place: type = Apart,
) -> Ratio:
    """Runs both sides once to warm up, then by turns. `same`: both should give equal numbers, so these are compared.

    `make(side=...)` builds a side; `where` is device, dtype and gradient mode; `place` is Apart or Here, the process
    of a side.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    with (
        place(make, OURS, *where, keeps_freed_memory=True) as ours,
        place(make, THEIRS, *where, keeps_freed_memory=False) as theirs,
    ):
        (mine, flop), other = ours.call("counted"), theirs.call("first")
        for _ in range(repeats):
            for side, contender in enumerate((ours, theirs)):
                seconds[side].append(contender.call("seconds"))
        memory = ours.call("memory_bytes"), theirs.call("memory_bytes")
        rate = ours.call("flop_rate")
    quick, slow = (statistics.median(side) for side in seconds)
    return Ratio(
        name,
        dtype,
        round(quick, 5),
        round(slow, 5),
        round(slow / quick, 3),
        float(numpy.abs(mine - other).max()) if same else None,
        repeats,
        of,
        *(None if size is None else round(size / 1e9, 2) for size in memory),
        flop / 1e9,
        flop / quick / rate,
    )
