"""Targets that do what none may: by them the harness is tried itself."""

import ctypes
import os
import signal
import threading
import time

import torch

from .library import UserError
from .targets import Place


def crashes(place: Place) -> None:
    ctypes.string_at(0)


def aborts(place: Place) -> None:
    os.kill(os.getpid(), signal.SIGABRT)


def works_for_ever(place: Place) -> None:
    while True:
        pass


def works_in_c_for_ever(place: Place) -> None:
    import re

    re.fullmatch("(l+)+x", "l" * 100)


def takes_memory_all_at_once(place: Place) -> None:
    torch.ones(3 << 30, dtype=torch.uint8)


def takes_memory_bit_by_bit(place: Place) -> None:
    held = [bytes([1]) * (64 << 20) for _ in range(40)]
    held.clear()


def ends_the_process(place: Place) -> None:
    raise SystemExit(0)


def leaves(place: Place) -> None:
    os._exit(0)


def raises_what_is_no_error_of_ours(place: Place) -> None:
    raise KeyError("mutant")


def recurses(place: Place) -> None:
    recurses(place)


def tells_three_lines(place: Place) -> None:
    raise UserError("mutant\nis\nwrong")


def tells_an_escape(place: Place) -> None:
    raise UserError("mutant \x1b[31m is wrong")


def tells_a_page(place: Place) -> None:
    raise UserError("mutant " * 500)


def names_nothing(place: Place) -> None:
    raise UserError("something is wrong; mend it")


def tells(place: Place) -> None:
    raise UserError("mutant.txt: is wrong; mend it")


def ends_well(place: Place) -> None:
    threading.Thread(target=time.sleep, args=(0.01,)).start()


TARGETS = {
    function.__name__: function
    for function in (
        *(crashes, aborts, works_for_ever, works_in_c_for_ever, takes_memory_all_at_once, takes_memory_bit_by_bit),
        *(ends_the_process, leaves, raises_what_is_no_error_of_ours, recurses, tells_three_lines, tells_an_escape),
        *(tells_a_page, names_nothing, tells, ends_well),
    )
}
