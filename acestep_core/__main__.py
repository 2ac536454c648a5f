"""`acestep-cascade`, and `python -m acestep_core`: the command line in a process of its own."""

import gc
import os
import signal
import sys
from types import FrameType

from .cli.parser import STOPPED, main
from .console import Console
from .system.threads import prepare_threads

_GENERATION_2_THRESHOLD = 1000


def command() -> int:
    """Runs the command that the shell gave; returns the exit code.

    Full collections of the half a million imported objects cost a sixth of the time of a short song, so generation 2 is
    collected rarely, and the collection at exit is skipped.
    """
    gc.set_threshold(*gc.get_threshold()[:2], _GENERATION_2_THRESHOLD)
    prepare_threads()
    if (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):  # a parent process that ignores Ctrl-C keeps it ignored
        signal.signal(signal.SIGINT, _stopped)
    try:
        return main()
    finally:
        gc.freeze()


def _stopped(number: int, frame: FrameType | None) -> None:
    """Handles Ctrl-C. During an import the process ends at once: libraries catch a KeyboardInterrupt there, and
    no file is half written yet.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            Console().error("stopped")
            os._exit(STOPPED)
        frame = frame.f_back
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(command())
