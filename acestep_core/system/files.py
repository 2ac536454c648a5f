"""Files and folders written whole or not at all, places where a file can be made, files that must be there."""

import itertools
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import AceStepError, UserError
from .folders import user_path

STALE_SECONDS = 3600  # since the last write; a living writer never pauses for so long
# Names of unfinished files, those of earlier versions too.
_UNFINISHED = re.compile(r"\.(?:[0-9a-f]{16}\.part|.+\.[a-z0-9_]{8}\.incomplete)")


@contextmanager
def whole_file(path: Path, move: Callable[[Path, Path], None] | None = None, mode: int | None = None) -> Iterator[Path]:
    """The path of an unfinished file to write, which gets the name `path` once the block has ended without an error.

    By then its bytes are on the disk. Unfinished files that killed writers left in the folder are removed. Raises
    AceStepError where `path` cannot be written, as on a full disk; what was there before stays. `move` gives the
    finished file its name, instead of os.replace; `mode`: its permissions, None: as the umask says.
    """
    # Beside the target, so that the last step is a rename within one file system; short, as the target's may be long.
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    _sweep(path.parent)
    try:
        part.touch(0o666 if mode is None else 0o600, exist_ok=False)
        kept = part.stat().st_mode if mode is None else mode
        yield part
        _flush(part, kept)
        (move or os.replace)(part, path)
    except OSError as exc:
        raise AceStepError(
            f"{path}: could not be written ({exc.strerror or exc}); free space or give another place"
        ) from exc
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all. Raises AceStepError as `whole_file` does."""
    with whole_file(path) as part:
        part.write_bytes(data)


def write_again(path: Path, data: bytes) -> None:
    """Writes a file that is there once more, with its permissions; a link to it stays. Raises as `whole_file` does."""
    path = path.resolve()
    with whole_file(path, mode=path.stat().st_mode) as part:
        part.write_bytes(data)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """An unfinished folder to fill, which gets the name `folder` once the block has ended without an error.

    By then its files are on the disk. A folder of that name is replaced. One process at a time may fill it.
    """
    unfinished = folder.with_name(f".{folder.name}.incomplete")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was stopped
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        for file in filter(Path.is_file, unfinished.rglob("*")):
            _flush(file, unfinished.stat().st_mode & ~0o111)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """`remove_stale`, at most once in STALE_SECONDS for a folder, as it takes longer the more files there are."""
    now = time.monotonic()
    if now - _swept.get(folder, -STALE_SECONDS) >= STALE_SECONDS:
        remove_stale(folder)
        _swept[folder] = now


_swept: dict[Path, float] = {}


def remove_stale(folder: Path) -> None:
    """Removes unfinished files, old enough that their writers must be dead, from a folder (not from those below)."""
    before = time.time() - STALE_SECONDS
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _UNFINISHED.fullmatch(entry.name) and _is_stale(entry, before):
                os.unlink(entry.path)


def _is_stale(entry: os.DirEntry, before: float) -> bool:
    return entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < before


def _flush(file: Path, mode: int) -> None:
    with file.open("rb+") as opened:  # before the mode, which may be one that is not opened for writing
        with suppress(OSError):  # a file system may know no modes
            file.chmod(stat.S_IMODE(mode))  # safetensors makes files that only their owner can read
        os.fsync(opened.fileno())


def write_beside(path: Path, data: bytes) -> Path:
    """Writes a whole file under the first free name of song.flac, song_2.flac, ... and returns it; replaces nothing.

    The name is claimed at the moment of writing, so that programs which run at the same time keep all their files.
    Raises AceStepError as `whole_file` does.
    """
    written = []

    def claim(part: Path, path: Path) -> None:
        written.append(next(name for name in numbered(path) if _moved(part, name)))

    with whole_file(path, claim) as part:
        part.write_bytes(data)
    return written[0]


def numbered(path: Path) -> Iterator[Path]:
    """song.flac, song_2.flac, song_3.flac, ..."""
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
    if path.exists() and not path.is_file():  # os.replace would put the file in its place
        raise UserError(f"{path}: is a device or a pipe, expected the name of a file")
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; create it first or give another place")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder}: is not writable; give another place")
    return path


def existing(path: "str | os.PathLike") -> Path:
    """The path of an audio file that a user typed. Raises UserError where there is no such file, or where tags and
    decoders cannot hold its name.
    """
    path = user_path(path)
    try:
        str(path).encode()
    except UnicodeEncodeError as exc:
        raise UserError(f"{ascii(str(path))}: its name is not UTF-8; rename the file") from exc
    if not path.is_file():
        raise UserError(f"{path}: {'is a folder' if path.is_dir() else 'does not exist'}, expected an audio file")
    return path
