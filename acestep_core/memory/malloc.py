"""Keeps freed memory in the process for the next tensor of its size, and returns it to the system.

The C library of Linux returns large blocks to the system as soon as they are free, and the system zeroes each new block
page by page. On a CPU this can take more time than the arithmetic on a layer's output.
"""

import ctypes
import sys

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGEST, _PAD = 2**31 - 1, 64 << 20


def keep_freed_memory() -> None:
    """Keeps freed memory from now on. For our own processes, before the first tensor; never inside another program."""
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        for setting, value in ((_M_MMAP_THRESHOLD, _LARGEST), (_M_TRIM_THRESHOLD, _LARGEST), (_M_TOP_PAD, _PAD)):
            mallopt(setting, value)


def return_freed_memory() -> None:
    """Returns kept memory to the system, after networks were released whose blocks nothing will fit soon."""
    malloc_trim = _of_glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _of_glibc(name: str):
    """A function of glibc; None with any other C library."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
