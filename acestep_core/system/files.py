"""Files: places where one can be made, files that must be there, and files written whole or not at all."""

import itertools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ..errors import AceStepError, UserError
from .folders import user_path


def write_whole(path: Path, data: bytes):
    # Beside the target, so that the last step is a rename within one file system; short, as the target's may be long.
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as exc:
        raise AceStepError(
            f"{path}: could not be written ({exc.strerror or exc}); free space or give another place"
        ) from exc
    finally:
        part.unlink(missing_ok=True)


def write_beside(path: Path, data: bytes) -> Path:
    """Write a whole file under the first free name of song.flac, song_2.flac, ... and return it; replaces nothing.

    The name is claimed at the moment of writing, so that programs which run at the same time keep all their files.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    write_whole(part, data)
    try:
        return next(name for name in _numbered(path) if _moved(part, name))
    except OSError as exc:
        raise AceStepError(f"{path}: could not be written ({exc.strerror or exc}); give another place") from exc
    finally:
        part.unlink(missing_ok=True)


def _numbered(path: Path) -> Iterator[Path]:
    return (path if number == 1 else path.with_stem(f"{path.stem}_{number}") for number in itertools.count(1))


def _moved(part: Path, name: Path) -> bool:
    """Whether the name was free, and the file has it now."""
    try:
        os.link(part, name)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: an empty file holds the name for a moment
        try:
            name.touch(exist_ok=False)
        except FileExistsError:
            return False
        os.replace(part, name)
    return True


def check_destination(path: "str | os.PathLike") -> Path:
    """The path, if a file can be made there. Raises UserError, so that nobody waits for a song that cannot be saved."""
    path = Path(path)
    folder = path.parent
    if path.is_dir():
        raise UserError(f"{path}: is a folder, expected the name of a file")
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; create it first or give another place")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder}: is not writable; give another place")
    return path


def existing(path: "str | os.PathLike") -> Path:
    path = user_path(path)
    if not path.is_file():
        raise UserError(f"{path}: {'is a folder' if path.is_dir() else 'does not exist'}, expected an audio file")
    return path
