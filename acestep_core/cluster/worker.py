"""What runs in a worker's process: it holds a maker, keeps copies of files, and gives the events of one task in turn.

The asker pulls: `begin`, then `next` until the end, and `close` to cancel. torch is imported with the maker's work.
"""

import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import AceStepError, UserError
from ..memory.malloc import keep_freed_memory
from ..system.threads import prepare_threads
from .worker_folders import WorkerFolder

COPIES_MOST = 64  # bundles; the one that was not asked for longest goes first


@dataclass(frozen=True)
class Said:
    """An event of a task, and the notes since the last one. `failed`: (whether it is the user's mistake, the message)
    in place of an event; neither at the end.
    """

    event: object = None
    notes: tuple[str, ...] = ()
    failed: tuple[bool, str] | None = None


@dataclass(frozen=True)
class About:
    """Where a worker runs."""

    host: str
    pid: int

    def __str__(self) -> str:
        return f"{self.host}, process {self.pid}"


class Maker(Protocol):
    """Makes tasks one after the other. `places`: name of a file in the task -> the copy that is here."""

    def steps(self, task: object, places: Mapping[str, str]) -> Iterator[object]: ...


class WorkerProcess:
    """A maker in its own process, which has so many threads of torch: sums on a CPU depend on their number.

    Without `threads` it is a guest in a process that has its own.
    """

    def __init__(self, make: Callable[[], Maker], threads: int | None = None):
        if threads is not None:
            _prepare_process(threads)
        self._maker, self._steps, self._places = make(), None, {}
        self._folder = WorkerFolder()
        if threads is not None:
            self._folder.hold_temporary_files()
        self._copies: dict[str, str] = {}
        self._notes = _Notes()
        logging.getLogger(__package__.rpartition(".")[0]).addHandler(self._notes)

    def about(self) -> About:
        return About(socket.gethostname(), os.getpid())

    def lacks(self, keys: list[str]) -> list[str]:
        """Those of these bundles that have no copy here."""
        return [key for key in keys if key not in self._copies]

    def attach(self, key: str, files: Mapping[str, bytes]) -> None:
        """Keeps a copy of a bundle's files."""
        folder = self._folder.path / key
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self._copies[key] = str(folder)

    def begin(self, task: object, names: Mapping[str, tuple[str, str]]) -> None:
        """Begins a task. `names`: name of a file in it -> (key of its bundle, name in there)"""
        self.close()
        for key, _ in names.values():  # asked for now: the last to go
            self._copies[key] = self._copies.pop(key)
        while len(self._copies) > max(COPIES_MOST, len(names)):
            shutil.rmtree(self._copies.pop(next(iter(self._copies))), ignore_errors=True)
        self._places = {given: str(Path(self._copies[key], name)) for given, (key, name) in names.items()}
        self._steps = iter(self._maker.steps(task, self._places))

    def next(self) -> Said:
        """The next event of the task that was begun."""
        try:
            event = next(self._steps, None)
            return Said(event, self._notes.taken())
        except UserError as exc:
            return self._failed(True, str(exc))
        except (AceStepError, OSError, MemoryError) as exc:
            return self._failed(False, str(exc) or "out of memory")

    def _failed(self, by_user: bool, message: str) -> Said:
        for given, here in self._places.items():
            message = message.replace(here, given)
        return Said(None, self._notes.taken(), (by_user, message))

    def close(self) -> None:
        """Ends the task, whether or not it is made."""
        steps, self._steps = self._steps, None
        if steps is not None and hasattr(steps, "close"):
            steps.close()
        self._notes.taken()

    def leave(self) -> None:
        """Removes its copies of files; call it last."""
        self.close()
        self._folder.remove()


def _prepare_process(threads: int) -> None:
    """Does before the first import of torch what the command line does."""
    prepare_threads()
    keep_freed_memory()
    import torch

    torch.set_num_threads(threads)


class _Notes(logging.Handler):
    """Keeps what the library logs."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())

    def taken(self) -> tuple[str, ...]:
        lines, self._lines = tuple(dict.fromkeys(self._lines)), []
        return lines
