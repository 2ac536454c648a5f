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
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's; other C libraries have none
    if mallopt is not None:
        for setting, value in ((_M_MMAP_THRESHOLD, _LARGEST), (_M_TRIM_THRESHOLD, _LARGEST), (_M_TOP_PAD, _PAD)):
            mallopt(setting, value)
