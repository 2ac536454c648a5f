"""A lock on a training's folder: two trainings in one would mix their checkpoints and losses."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path

from ..errors import AceStepError, UserError

LOCK_FILE, HOLDER_FILE = ".lock", ".holder"
HOLDER_CHARACTERS_MOST = 200


def locked(work: Path, is_main: bool = True):
    """Holds the lock on a training's folder, which is made where it is missing; only a group's main process does.

    Raises UserError that names the process which holds it, AceStepError where the folder cannot be written.
    """
    return _locked(work) if is_main else nullcontext()


@contextmanager
def _locked(work: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    holder = work / HOLDER_FILE
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = FileLock(work / LOCK_FILE)
        lock.acquire(timeout=0)
    except Timeout as exc:
        raise UserError(
            f"{work}: is in use by another training ({_text(holder)}); wait until it has ended, or choose "
            "another output"
        ) from exc
    except OSError as exc:
        raise AceStepError(
            f"{work}: could not be locked ({exc.strerror or exc}); free space or give another place"
        ) from exc
    try:
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _text(holder: Path) -> str:
    try:
        text = holder.read_text(errors="replace")[:HOLDER_CHARACTERS_MOST]
    except OSError:  # it has ended just now, or has not written it yet
        return "its process is not known"
    return "".join(letter for letter in text if letter.isprintable())
