"""Ctrl-C, and SIGTERM, that wait for the end of a step: weights and the step count must belong together."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deferred_interrupt() -> Iterator[list[int]]:
    """A list that stays empty until the process is told to stop. Only in the main thread: no other thread receives
    signals. SIGTERM ends it at once, as ever, where nothing handles that: outside the command line.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handled = {number: handler for number, handler in before.items() if number == signal.SIGINT or callable(handler)}
    for number in handled:
        signal.signal(number, lambda number, _: received.append(number))
    try:
        yield received
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
