"""Packages that others import wherever they are installed, and that a song has no use for: scipy is a tenth of the time
of a short one from a shell.

Whoever passes for a package that is spared takes the path that it has for machines without it, and keeps to it. So only
a process that does nothing but make songs may spare one.
"""

import sys


def spare(name: str) -> None:
    """Nobody can import the package from now on, unless it is imported already."""
    if name not in sys.modules:
        sys.modules[name] = None  # type: ignore[assignment]  # what Python itself means by "not importable"


def need(name: str) -> None:
    """The package can be imported after all."""
    if sys.modules.get(name, name) is None:
        del sys.modules[name]
