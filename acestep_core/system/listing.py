"""Names of the files below a folder; a folder is read again only once it has changed."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

# A change soon after a listing may have the same time of change, by the clock of the file system.
_SETTLED_NS = 2 * 10**9
_FOLDERS_MAX, _DEPTH_MAX = 20_000, 40


@dataclass(frozen=True)
class _Listing:
    changed_ns: int
    read_ns: int
    folders: tuple[str, ...]
    files: tuple[str, ...]
    is_lasting: bool  # False with links that lead nowhere: their targets may come without a change here


_listings: dict[str, _Listing] = {}


def files_below(folder: str | os.PathLike) -> list[str]:
    """Names of all files in a folder and in those below it, relative to it, with /, sorted.

    Links to folders are followed, but for those that lead back. Names with a dot before them are left out.
    """
    return sorted(_below(os.fspath(folder), "", ()))


def entries(folder: str | os.PathLike) -> frozenset[str]:
    """Names in a folder, of files and folders; none where there is no such folder."""
    listing = _listing_of(os.fspath(folder))
    return frozenset((*listing.folders, *listing.files)) if listing else frozenset()


def _below(path: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    try:
        state = os.stat(path)
    except OSError:
        return
    identity = (state.st_dev, state.st_ino)
    if len(above) >= _DEPTH_MAX or (state.st_ino and identity in above):
        return
    listing = _listing_of(path, state)
    for name in listing.files if listing else ():
        yield prefix + name
    for name in listing.folders if listing else ():
        yield from _below(os.path.join(path, name), f"{prefix}{name}/", (*above, identity))


def _listing_of(path: str, state: os.stat_result | None = None) -> _Listing | None:
    try:
        changed_ns = (state or os.stat(path)).st_mtime_ns
        known = _listings.get(path)
        if known and known.is_lasting and known.changed_ns == changed_ns < known.read_ns - _SETTLED_NS:
            return known
        listing = _read(path, changed_ns)
    except OSError:
        return None
    if len(_listings) >= _FOLDERS_MAX:
        _listings.clear()
    _listings[path] = listing
    return listing


def _read(path: str, changed_ns: int) -> _Listing:
    folders, files, is_lasting, read_ns = [], [], True, time.time_ns()
    with os.scandir(path) as found:
        for entry in found:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            else:
                files.append(entry.name)
                is_lasting &= not entry.is_symlink() or os.path.exists(entry.path)
    return _Listing(changed_ns, read_ns, tuple(folders), tuple(files), is_lasting)
