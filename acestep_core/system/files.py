"""Files: places where one can be made, files that must be there, and files written whole or not at all."""

import os
import secrets
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
