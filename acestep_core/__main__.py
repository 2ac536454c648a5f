"""`acestep-cascade`, and `python -m acestep_core`: the command line in a process of its own.

It handles signals before it imports anything else, so that Ctrl-C is quiet from the beginning.
"""

import os
import signal
import sys
from types import FrameType

from .cli import STOPPED

_GENERATION_2_THRESHOLD = 1000


def command() -> int:
    """Runs the command that the shell gave; returns the exit code.

    Full collections of the half a million imported objects cost a sixth of the time of a short song, so generation 2 is
    collected rarely, and the collection at exit is skipped.
    """
    try:
        _handle_signals()
        code = _run()
    except KeyboardInterrupt:  # before the command began, or after its end
        _say_stopped()
        code = STOPPED
    if signal.getsignal(signal.SIGINT) is _stopped:  # nothing is left to be removed
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if signal.SIGTERM in _received:
        _end_by_sigterm()
    return code


def _run() -> int:
    import gc

    from .cli.parser import main
    from .system.threads import prepare_threads

    gc.set_threshold(*gc.get_threshold()[:2], _GENERATION_2_THRESHOLD)
    prepare_threads()
    try:
        return main()
    finally:
        gc.freeze()


_received: list[int] = []


def _handle_signals() -> None:
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:  # a parent process that ignores Ctrl-C keeps it ignored
            signal.signal(number, _stopped)


def _stopped(number: int, frame: FrameType | None) -> None:
    """Handles Ctrl-C and SIGTERM: what is half written is removed. During an import the process ends at once: libraries
    catch a KeyboardInterrupt there, and no file is half written yet.
    """
    _received.append(number)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _say_stopped()
            os._exit(STOPPED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _say_stopped() -> None:
    """By the system alone, as any module may be half imported."""
    try:
        os.write(2, b"acestep-cascade: stopped\n")
    except OSError:  # stderr is closed
        return


def _end_by_sigterm() -> None:
    """Ends as if SIGTERM had not been handled: to who sent it, a service has been stopped, and has not failed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # it may be closed, or not be there
            continue
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(command())
