"""`acestep-cascade`, and `python -m acestep_core`: the command line in a process of its own."""

import gc
import os
import signal
import sys
from contextlib import suppress
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
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:  # a parent process that ignores Ctrl-C keeps it ignored
            signal.signal(number, _stopped)
    try:
        code = main()
    finally:
        gc.freeze()
    if signal.SIGTERM in _received:
        _end_by_sigterm()
    return code


_received: list[int] = []


def _stopped(number: int, frame: FrameType | None) -> None:
    """Handles Ctrl-C and SIGTERM: what is half written is removed. During an import the process ends at once: libraries
    catch a KeyboardInterrupt there, and no file is half written yet.
    """
    _received.append(number)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            Console().error("stopped")
            os._exit(STOPPED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _end_by_sigterm() -> None:
    """Ends as if SIGTERM had not been handled: to who sent it, a service has been stopped, and has not failed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # it may be closed, or not be there
            stream.flush()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(command())
