"""Threads of a process: as many as it may use at once, and idle ones soon sleep.

OpenMP's threads spin while they wait for one another. On a busy machine one of them is often not running, and the
others spin for milliseconds at each of thousands of waits: a song may take five times as long as with threads that
sleep. On a free machine waits are short, and a thread that sleeps at once takes longer to be woken than to wait: a
small model's song takes twice as long. So they spin for a moment. OpenMP reads its settings once, when torch is
imported.
"""

import math
import os
import sys
from pathlib import Path

WAITS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SHORTLY = {"GOMP_SPINCOUNT": "20000", "KMP_BLOCKTIME": "1"}  # turns, a millisecond or less; milliseconds
COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def prepare_threads() -> None:
    """Sets OpenMP up for the first import of torch; settings that the user made stay. Nothing happens after it."""
    if "torch" in sys.modules:
        return
    if not any(name in os.environ for name in WAITS):
        os.environ |= SHORTLY
    if usable_cpus() < (os.cpu_count() or 1) and not any(name in os.environ for name in COUNTS):
        os.environ["OMP_NUM_THREADS"] = str(usable_cpus())


def fit_threads() -> None:
    """Gives torch no more threads than there are usable CPUs, in a program that imported it with its own settings."""
    import torch

    if torch.get_num_threads() > usable_cpus():
        torch.set_num_threads(usable_cpus())


def usable_cpus() -> int:
    """CPUs that this process may use at once: those it may run on, at most as many as its container's share."""
    known = hasattr(os, "sched_getaffinity")
    allowed = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return max(1, min(allowed, _container_share()))


def _container_share() -> int:
    """CPUs of the quota of the container around this process; no limit where there is none."""
    try:
        quota, period = _QUOTA.read_text().split()
    except (OSError, ValueError):
        return sys.maxsize
    return math.ceil(int(quota) / int(period)) if quota.isdigit() else sys.maxsize
