"""Verdicts on files, such as which models one holds: found once, kept by path, size and time of change.

They are kept on disk between runs as well, so that thousands of files need not be opened whenever a program starts.
"""

import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import AceStepError
from ..json_text import read_json_object
from .files import write_whole
from .folders import cache_folder

KEPT_MAX = 30_000
_CHECK_SECONDS = 5.0  # between two checks of a list's files for changes
_DELAY_SECONDS = 0.2  # before the background work, so that lists which are made together are made first


State = Callable[[str], tuple[int, int] | None]


class Verdict(NamedTuple):
    """The verdict on a file of that size and time of change, in words; "" for a file of no use."""

    size_bytes: int
    changed_ns: int
    words: str


class Verdicts:
    """The verdicts of `judge` on files, by path. `code`: the files of the code that judges; a change of
    one voids all verdicts.

    `judge` returns words, "" for a file of no use, and raises nothing. `state` gives two numbers that change with the
    file, None where there is none.
    """

    def __init__(self, name: str, judge: Callable[[str], str], code: Sequence[str], state: "State | None" = None):
        self._name, self._judge, self._code, self._state = name, judge, code, state or file_state
        self._known: dict[str, Verdict] | None = None
        self._waiting: dict[str, None] = {}
        self._worker: threading.Thread | None = None
        self._is_changed, self._checked_at = False, -_CHECK_SECONDS
        self._lock = threading.RLock()

    def of(self, path: str) -> str:
        """The verdict on a file as it is now; "" where there is none. A file that is not known is read."""
        state = self._state(path)
        if state is None:
            return ""
        known = self._load().get(path)
        if known is None or known[:2] != state:
            known = Verdict(*state, self._judge(path))
            with self._lock:
                self._known[path], self._is_changed = known, True
        return known.words

    def last_of(self, paths: Iterable[str]) -> dict[str, str | None]:
        """The last verdict on each file, None where there is none yet, without opening a file or asking for its state.

        Reads unknown files, and every few seconds changed ones, in the background for the next call.
        """
        known = self._load()
        found = {path: known[path].words if path in known else None for path in paths}
        due = time.monotonic() - self._checked_at >= _CHECK_SECONDS
        self._judge_later([path for path, words in found.items() if due or words is None])
        return found

    def save(self) -> None:
        """Writes new verdicts to the user's cache folder, if there is one."""
        with self._lock:
            folder = cache_folder()
            if not self._is_changed or folder is None:
                return
            self._is_changed = False
            kept = [(path, verdict) for path, verdict in self._load().items() if _is_text(path)][-KEPT_MAX:]
            text = json.dumps({"code": self._stamp(), "files": dict(kept)})
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / f"{self._name}.json", text.encode())
        except (OSError, AceStepError):
            return  # a full or a read-only disk: the files are read again in the next run

    def wait(self) -> None:
        """Waits until nothing is read in the background."""
        while (worker := self._worker) is not None:
            worker.join()

    def _judge_later(self, paths: Sequence[str]) -> None:
        if not paths:
            return
        with self._lock:
            self._checked_at = time.monotonic()
            self._waiting.update(dict.fromkeys(paths))
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name=f"verdicts on {self._name}", daemon=True)
                self._worker.start()

    def _work(self) -> None:
        try:
            time.sleep(_DELAY_SECONDS)
            while self._has_more():
                while (path := self._next()) is not None:
                    self.of(path)
                self.save()
        finally:
            self._worker = None

    def _has_more(self) -> bool:
        """Whether files are waiting. If none is, the worker counts as ended at once, so that no file waits in vain."""
        with self._lock:
            if not self._waiting:
                self._worker = None
            return bool(self._waiting)

    def _next(self) -> str | None:
        with self._lock:
            path = next(iter(self._waiting), None)
            if path is not None:
                del self._waiting[path]
            return path

    def _load(self) -> dict[str, Verdict]:
        with self._lock:
            if self._known is None:
                self._known = self._stored()
            return self._known

    def _stored(self) -> dict[str, Verdict]:
        folder = cache_folder()
        try:
            stored = read_json_object(folder / f"{self._name}.json") if folder else {}
        except AceStepError:  # not there, or damaged
            return {}
        files = stored.get("files")
        if stored.get("code") != self._stamp() or not isinstance(files, dict):
            return {}
        return {path: Verdict(*entry) for path, entry in files.items() if _is_entry(entry)}

    def _stamp(self) -> list[list[int]]:
        states = (os.stat(file) for file in self._code if os.path.exists(file))
        return [[state.st_size, state.st_mtime_ns] for state in states]


WordsOf = Callable[[Verdicts, Iterable[str]], dict[str, str | None]]


def last_of(verdicts: Verdicts, paths: Iterable[str]) -> dict[str, str | None]:
    """The last verdicts, None where there is none yet; no file is opened here."""
    return verdicts.last_of(paths)


def now_of(verdicts: Verdicts, paths: Iterable[str]) -> dict[str, str | None]:
    """The verdicts on the files as they are now."""
    words: dict[str, str | None] = {path: verdicts.of(path) for path in paths}
    verdicts.save()
    return words


def file_state(path: str) -> tuple[int, int] | None:
    """Size and time of change of a file; None where there is none."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return None
    return (state.st_size, state.st_mtime_ns) if stat.S_ISREG(state.st_mode) else None


def _is_entry(entry: object) -> bool:
    return isinstance(entry, list) and [type(value) for value in entry] == [int, int, str]


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:  # a name in another encoding than the system's
        return False
    return True


def package_files(*modules: str) -> tuple[str, ...]:
    """Files of modules of this package, by their paths in it."""
    package = Path(__file__).resolve().parents[1]
    return tuple(str(package / module) for module in modules)
