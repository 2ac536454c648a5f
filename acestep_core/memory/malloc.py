"""Freed memory stays with the process, for the next tensor of its size.

The C library of Linux hands large blocks back to the system as soon as they are free, and each one made after that is
zeroed anew, page by page: on a CPU that can take more time than the arithmetic on a layer's output.
"""

import ctypes
import sys

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGEST, _PAD = 2**31 - 1, 64 << 20


def keep_freed_memory() -> None:
    """For a process of our own, before its first tensor; a guest in another program leaves its allocator alone."""
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        for setting, value in ((_M_MMAP_THRESHOLD, _LARGEST), (_M_TRIM_THRESHOLD, _LARGEST), (_M_TOP_PAD, _PAD)):
            mallopt(setting, value)


def return_freed_memory() -> None:
    """What has been kept goes back to the system: for when networks have gone, whose places nothing will fit soon."""
    malloc_trim = _of_glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _of_glibc(name: str):
    """A function of its own, None where another C library serves."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
