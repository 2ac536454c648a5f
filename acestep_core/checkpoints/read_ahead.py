"""Files read ahead, while something else is computed, so that loading them finds them in the system's cache."""

import os
import threading
from collections.abc import Iterable
from pathlib import Path

_PIECE_BYTES = 8 << 20


def read_ahead(files: Iterable[Path], most_bytes: float) -> threading.Thread | None:
    """Starts a thread that reads the files, and does not wait for it. Reads nothing if the files together are larger
    than `most_bytes`: they would displace files that are needed sooner.
    """
    files = [path for path in dict.fromkeys(files) if path.is_file()]
    if not files or sum(path.stat().st_size for path in files) > most_bytes:
        return None
    thread = threading.Thread(target=lambda: [_read(path) for path in files], daemon=True, name="read ahead")
    thread.start()
    return thread


def _read(path: Path) -> None:
    try:
        with path.open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):  # costs nothing where the file is in the cache already
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
                return
            while file.read(_PIECE_BYTES):
                pass
    except OSError:
        return  # loading it raises the error
