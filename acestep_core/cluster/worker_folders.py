"""Folders of workers below the temporary folder: each is locked while its worker lives, and removed once it is dead.

A killed process cleans nothing up, but the system takes its locks back: a folder whose lock is free has no worker.
"""

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

PREFIX, LOCK_FILE, TEMPORARY = "acestep-worker-", ".lock", ".temporary"


class WorkerFolder:
    """A new folder at `path`, which this process holds until `remove`, or until it ends. Raises OSError.

    Folders of workers that were killed on this machine are removed before.
    """

    def __init__(self):
        remove_dead()
        while not self._made():
            pass

    def _made(self) -> bool:
        """Whether the folder was locked before another process took it for a dead worker's."""
        from filelock import FileLock

        self._folder = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
        self.path = Path(self._folder.name)
        self._lock = FileLock(self.path / LOCK_FILE, timeout=0)
        with contextlib.suppress(TimeoutError, FileNotFoundError):
            self._lock.acquire()
        return self._lock.is_locked and (self.path / LOCK_FILE).exists()

    def hold_temporary_files(self) -> None:
        """From now on those of this process lie in the folder, and go with it."""
        place = self.path / TEMPORARY
        place.mkdir()
        tempfile.tempdir = str(place)

    def remove(self) -> None:
        if tempfile.tempdir == str(self.path / TEMPORARY):
            tempfile.tempdir = None
        self._lock.release()
        self._folder.cleanup()


def remove_dead() -> None:
    """Removes the folders of dead workers of this user; those of living ones, and what is not theirs, stay."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # its worker lives, or another process removes it at this moment
            if _is_own(folder.lstat()) and (folder / LOCK_FILE).is_file():
                _remove_unlocked(folder)


def _is_own(state: os.stat_result) -> bool:
    return stat.S_ISDIR(state.st_mode) and (not hasattr(os, "getuid") or state.st_uid == os.getuid())


def _remove_unlocked(folder: Path) -> None:
    """Raises TimeoutError where a worker has the lock."""
    from filelock import FileLock

    with FileLock(folder / LOCK_FILE, timeout=0):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():  # Windows keeps a locked file, so the folder too
        folder.rmdir()
