"""`acestep-cascade`, and `python -m acestep_core`: the command line in a process of its own."""

import gc
import os
import signal
import sys
from types import FrameType

from .cli.parser import STOPPED, main
from .console import Console
from .system.skipped_imports import spare

_YOUNG_BEFORE_ALL = 1000


def command() -> int:
    """Runs the command that the shell gave; returns the exit code.

    Half a million objects are imported and stay. To search them all for garbage whenever a quarter came to them, and
    once more on leaving, takes a sixth of the time of a short song; young objects are searched as ever.
    """
    gc.set_threshold(*gc.get_threshold()[:2], _YOUNG_BEFORE_ALL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else whoever began it wants no Ctrl-C
        signal.signal(signal.SIGINT, _stopped)
    if sys.argv[1:2] == ["generate"]:
        spare("scipy")
        spare("sklearn")  # it needs scipy, and older transformers import it wherever it is installed
    try:
        return main()
    finally:
        gc.freeze()


def _stopped(number: int, frame: FrameType | None) -> None:
    """Ctrl-C. Libraries that are being imported take a KeyboardInterrupt for a failure of their own, and try something
    else; nothing is half written then, so the process may end where it is.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            Console().error("stopped")
            os._exit(STOPPED)
        frame = frame.f_back
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(command())
