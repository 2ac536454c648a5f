"""Skips packages that other libraries import wherever they are installed, and that a song does not need.

Importing scipy takes a tenth of the time of a short song from a shell. A library that finds a package skipped behaves
as on machines without it, for as long as the process runs, so only a process that makes nothing but songs may skip.
"""

import sys


def spare(name: str) -> None:
    """Makes a package unimportable from now on, unless it is imported already."""
    if name not in sys.modules:
        sys.modules[name] = None  # type: ignore[assignment]  # how Python marks "not importable"


def need(name: str) -> None:
    """Makes a skipped package importable again."""
    if sys.modules.get(name, name) is None:
        del sys.modules[name]
