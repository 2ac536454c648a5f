"""Targets with a known fault, with which the tests try themselves."""

import ctypes
import os
import signal
import threading
import time

import torch

from .library import UserError
from .targets import Place, Refused


def crashes(place: Place) -> None:
    ctypes.string_at(0)


def aborts(place: Place) -> None:
    os.kill(os.getpid(), signal.SIGABRT)


def computes_for_ever(place: Place) -> None:
    while True:
        pass


def computes_in_c_for_ever(place: Place) -> None:
    import re

    re.fullmatch("(l+)+x", "l" * 100)


def allocates_at_once(place: Place) -> None:
    torch.ones(3 << 30, dtype=torch.uint8)


def allocates_in_steps(place: Place) -> None:
    held = [torch.empty(64 << 20, dtype=torch.uint8) for _ in range(40)]  # untouched, which is quick
    held.clear()


def ends_the_process(place: Place) -> None:
    raise SystemExit(0)


def exits(place: Place) -> None:
    os._exit(0)


def raises_a_key_error(place: Place) -> None:
    raise KeyError("mutant")


def recurses(place: Place) -> None:
    recurses(place)


def three_lines(place: Place) -> None:
    raise Refused("mutant\nis\nwrong")


def escape_in_message(place: Place) -> None:
    raise Refused("mutant \x1b[31m is wrong")


def long_message(place: Place) -> None:
    raise Refused("mutant " * 500)


def no_name_in_message(place: Place) -> None:
    raise UserError("something is wrong; mend it")


def clean_error(place: Place) -> None:
    raise UserError("mutant.txt: is wrong; mend it")


def success(place: Place) -> None:
    threading.Thread(target=time.sleep, args=(0.01,)).start()


TARGETS = {
    function.__name__: function
    for function in (
        *(crashes, aborts, computes_for_ever, computes_in_c_for_ever, allocates_at_once, allocates_in_steps),
        *(ends_the_process, exits, raises_a_key_error, recurses, three_lines, escape_in_message),
        *(long_message, no_name_in_message, clean_error, success),
    )
}
