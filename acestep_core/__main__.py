"""`acestep-cascade`, and `python -m acestep_core`: the command line in a process of its own."""

import gc
import sys

from .cli import main

_YOUNG_BEFORE_ALL = 1000


def command() -> int:
    """Runs the command that the shell gave; returns the exit code.

    Half a million objects are imported and stay. To search them all for garbage whenever a quarter came to them, and
    once more on leaving, takes a sixth of the time of a short song; young objects are searched as ever.
    """
    gc.set_threshold(*gc.get_threshold()[:2], _YOUNG_BEFORE_ALL)
    try:
        return main()
    finally:
        gc.freeze()


if __name__ == "__main__":
    sys.exit(command())
