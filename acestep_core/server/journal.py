"""The journal of jobs: their last states in a SQLite file, which outlives the process."""

import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from ..errors import UserError

logger = logging.getLogger(__name__)

_TABLE = "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, created REAL, record TEXT)"


class Journal:
    """Records of jobs, by id. A damaged file is begun anew: songs are in the library, whatever a journal says.

    Raises UserError for a place that cannot be written.
    """

    def __init__(self, path: Path):
        self._lock, self._path = threading.Lock(), path
        self._file = opened_or_anew(path, self._opened)

    def _opened(self) -> sqlite3.Connection:
        file = open_database(self._path)
        with file:
            file.execute(_TABLE)
        return file

    def put(self, record: dict) -> None:
        """Keeps the state of a job, in place of an earlier one."""
        row = record["id"], record["created"], json.dumps(record, ensure_ascii=False)
        with self._lock, self._file:
            self._file.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)", row)

    def records(self) -> list[dict]:
        """All of them, the oldest first."""
        with self._lock:
            rows = self._file.execute("SELECT record FROM jobs ORDER BY created").fetchall()
        return [json.loads(record) for (record,) in rows]

    def forget(self, ids: Iterable[str]) -> None:
        with self._lock, self._file:
            self._file.executemany("DELETE FROM jobs WHERE id = ?", [(one,) for one in ids])

    def close(self) -> None:
        with self._lock:
            self._file.close()


def open_database(path: Path) -> sqlite3.Connection:
    """A SQLite file that survives a killed process, and that several processes may read while one writes."""
    file = sqlite3.connect(path, timeout=10, check_same_thread=False)
    file.execute("PRAGMA journal_mode=WAL")
    file.execute("PRAGMA synchronous=NORMAL")
    return file


def opened_or_anew(path: Path, opened: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
    """The SQLite file that `opened` opens at `path`; one that is damaged is removed before.

    Raises UserError where it cannot be opened for another reason: the place is full or read-only, or another program
    has it locked.
    """
    try:
        try:
            return opened()
        except sqlite3.OperationalError:  # which is a DatabaseError, but no sign of damage
            raise
        except sqlite3.DatabaseError as exc:
            logger.warning("%s: is damaged (%s) and is made anew", path, exc)
            _remove_database(path)
            return opened()
    except sqlite3.OperationalError as exc:
        raise UserError(f"{path}: cannot be opened ({exc}); make its folder writable, or give another one") from exc


def _remove_database(path: Path) -> None:
    """Removes a SQLite file and those beside it."""
    for ending in ("", "-wal", "-shm"):
        with suppress(OSError):
            path.with_name(path.name + ending).unlink()
