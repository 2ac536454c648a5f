"""Folders of this machine's user, and paths that a user typed."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from ..errors import UserError

APPLICATION = "acestep-cascade"
CACHE_ENVIRONMENT, CACHE_OFF = "ACESTEP_CACHE", "off"
_APPLE_DATA = Path("Library", "Application Support", APPLICATION)


def data_folder() -> Path | None:
    """The folder of this user's lasting data; None where the user has no home folder."""
    if sys.platform == "darwin" and (apple := _apple_data()):
        return apple
    import platformdirs  # here, so that importing the pack imports nothing else

    return _absolute(lambda: platformdirs.user_data_path(APPLICATION, appauthor=False))


def cache_folder() -> Path | None:
    """The folder of caches, ACESTEP_CACHE if it is set; None if that is "off", and for a user without a home folder.

    Raises UserError for an ACESTEP_CACHE that is no path.
    """
    named = os.environ.get(CACHE_ENVIRONMENT)
    if named:
        return None if named.lower() == CACHE_OFF else user_path(named)
    import platformdirs

    return _absolute(lambda: platformdirs.user_cache_path(APPLICATION, appauthor=False, opinion=False))


def user_path(path: str | os.PathLike) -> Path:
    """A path that a user typed, with ~ expanded. Raises UserError where that names no home, and for a NUL character."""
    if "\0" in str(path):
        raise UserError(f"{str(path)!r}: holds a NUL character, which no path can; correct it")
    try:
        return Path(path).expanduser()
    except RuntimeError as exc:
        raise UserError(f"{path}: ~ stands for a home folder that is not known here; write the absolute path") from exc


def _absolute(folder: Callable[[], Path]) -> Path | None:
    try:
        path = folder()
    except RuntimeError:  # a user id without a name, and no HOME
        return None
    return path if path.is_absolute() else None


def _apple_data() -> Path | None:
    """macOS's own data folder if it exists: newer releases of platformdirs prefer XDG_DATA_HOME to it."""
    home = Path(os.path.expanduser("~"))
    return home / _APPLE_DATA if (home / _APPLE_DATA).is_dir() else None
