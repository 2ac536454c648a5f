"""The journal of jobs: their last states in a SQLite file, which outlives the process."""

import json
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_TABLE = "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, created REAL, record TEXT)"


class Journal:
    """Records of jobs, by id. A damaged file is begun anew: songs are in the library, whatever a journal says."""

    def __init__(self, path: Path):
        self._lock, self._path = threading.Lock(), path
        try:
            self._file = self._opened()
        except sqlite3.DatabaseError:
            remove_database(path)
            self._file = self._opened()

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


def remove_database(path: Path) -> None:
    """Removes a SQLite file and those beside it."""
    for ending in ("", "-wal", "-shm"):
        with suppress(OSError):
            path.with_name(path.name + ending).unlink()
