"""The library: a SQLite index over a folder of songs. The tags of the files are the truth; the index is made of them.

Songs are named by handles, never by paths. The index and what belongs to it lie in the folder `.library`.
"""

import hashlib
import logging
import os
import re
import secrets
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

from ..audio.formats import FORMATS
from ..audio.song_tags import SONG_TAG, TIMED_TAG
from ..audio.tags import read_tags
from ..errors import UserError
from ..generation.settings import TaggedSong, read_song
from .journal import open_database, opened_or_anew

logger = logging.getLogger(__name__)

OWN_FOLDER, INDEX, TRASH = ".library", "songs.sqlite", "trash"
SONG_PREFIX, _DIGITS = "s_", 16
SONG_ID = re.compile(rf"{SONG_PREFIX}[0-9a-f]{{{_DIGITS}}}")
LIST_MOST, SKIP_MOST, WORDS_MOST = 500, 2**62, 20
_FORM = 1  # of the index; a file of another form is made anew
_ORDERS = {"newest": "made DESC, path", "oldest": "made, path", "title": "title COLLATE NOCASE, path"}


@dataclass(frozen=True)
class SongRow:
    """A song in lists. `path` is below the library's folder; `task` is that of an edit; `made` is a time in seconds."""

    id: str
    path: str
    size: int
    changed_ns: int
    made: float
    title: str = ""
    caption: str = ""
    language: str = ""
    bpm: int | None = None
    key: str | None = None
    time_signature: str | None = None
    seconds: float | None = None
    seed: int | None = None
    task: str | None = None
    models: str = ""
    is_song: bool = True  # False: a sound file without a song in its tags, or one that cannot be read


_COLUMNS = [column.name for column in fields(SongRow)]


@dataclass(frozen=True)
class SongPage:
    """Songs of a list, and how many the whole list has."""

    songs: tuple[SongRow, ...]
    total: int


class NoSuchSong(UserError):
    """There is no song of this handle."""


class Library:
    """The songs of a folder. Threads may share one, and other processes may have the same folder open.

    Raises UserError where there is no such folder, or none that can be written, also later on. A damaged index is made
    anew.
    """

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise UserError(f"{folder}: is not a folder; create it first or give another place")
        self.folder, self.own_folder = folder.resolve(), folder.resolve() / OWN_FOLDER
        self._lock, self._path = threading.RLock(), self.own_folder / INDEX
        try:
            self.own_folder.mkdir(exist_ok=True)
            self._index = opened_or_anew(self._path, self._opened)
        except (OSError, sqlite3.Error) as exc:
            raise _unusable(self.own_folder, exc) from exc

    def _opened(self) -> sqlite3.Connection:
        index = open_database(self._path)
        if index.execute("PRAGMA user_version").fetchone()[0] != _FORM:
            with index:
                index.execute("DROP TABLE IF EXISTS songs")
                index.execute(f"CREATE TABLE songs ({', '.join(_COLUMNS)}, words TEXT, PRIMARY KEY (id))")
                index.execute("CREATE INDEX made ON songs (is_song, made)")
                index.execute(f"PRAGMA user_version = {_FORM}")
        index.execute("SELECT count(*) FROM songs").fetchone()
        return index

    def close(self) -> None:
        with self._lock:
            self._index.close()

    @contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        """The index, for one thread, in one transaction. Raises UserError where it cannot be read or written."""
        with self._lock:
            try:
                with self._index:
                    yield self._index
            except sqlite3.ProgrammingError:  # the index was closed meanwhile
                raise
            except sqlite3.Error as exc:
                raise _unusable(self._path, exc) from exc

    # ---- reading -----------------------------------------------------------------------------------------------------

    def songs(self, query: str = "", *, most: int = 50, skip: int = 0, order: str = "newest") -> SongPage:
        """Songs that have all words of `query` in their title, caption, lyrics, key, models and the like."""
        if order not in _ORDERS:
            raise UserError(f"order: got {order[:40]!r}, expected one of {', '.join(_ORDERS)}")
        words = query.casefold().split()[:WORDS_MOST]
        wanted = " AND ".join(["is_song", *("instr(words, ?)" for _ in words)])
        page = max(0, min(most, LIST_MOST)), max(0, min(skip, SKIP_MOST))
        with self._used() as index:
            total = index.execute(f"SELECT count(*) FROM songs WHERE {wanted}", words).fetchone()[0]
            rows = index.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM songs WHERE {wanted} ORDER BY {_ORDERS[order]} LIMIT ? OFFSET ?",
                (*words, *page),
            ).fetchall()
        return SongPage(tuple(SongRow(*row) for row in rows), total)

    def get(self, song_id: str) -> SongRow:
        """The row of a handle. Raises NoSuchSong."""
        return self._row("id", song_id)

    def by_name(self, name: str) -> SongRow:
        """The row of a file below the folder, by its name in the index: no file is looked for. Raises NoSuchSong."""
        return self._row("path", name)

    def _row(self, column: str, value: str) -> SongRow:
        with self._used() as index:
            row = index.execute(f"SELECT {', '.join(_COLUMNS)} FROM songs WHERE {column} = ?", (value,)).fetchone()
        if row is None:
            raise NoSuchSong(f"song: there is none of the handle {value[:80]!r} in the library")
        return SongRow(*row)

    def path(self, song_id: str) -> Path:
        """The file of a handle. Raises NoSuchSong."""
        path = self.folder / self.get(song_id).path
        if not path.is_file():
            raise NoSuchSong(f"song: the file of {song_id} is gone")
        return path

    def tagged(self, song_id: str) -> TaggedSong:
        """A song's tags. Raises NoSuchSong, and UserError for a file without them."""
        return read_song(str(self.path(song_id)))

    def lyric_times(self, song_id: str) -> str:
        """The LRC in a song's tags. Raises NoSuchSong where it has none."""
        lrc = read_tags(self.path(song_id)).get(TIMED_TAG)
        if not lrc:
            raise NoSuchSong(f"song: {song_id} has no times of its lyrics; make it with lrc true")
        return lrc

    # ---- changing ----------------------------------------------------------------------------------------------------

    def add(self, path: Path) -> SongRow:
        """Takes a file of the folder into the index, or anew after it has changed."""
        row, words = _read(self.folder, path)
        with self._used():
            self._put([(row, words)])
        return row

    def refresh(self) -> tuple[int, int]:
        """Takes in what is new or changed in the folder, and drops what is gone: (files read, rows dropped)."""
        found = dict(_files(self.folder))
        with self._used() as index:
            known = {
                path: (size, changed)
                for path, size, changed in index.execute("SELECT path, size, changed_ns FROM songs")
            }
        new = [self.folder / path for path, state in found.items() if known.get(path) != state]
        gone = [path for path in known if path not in found]
        for path in new:
            with suppress(OSError):  # gone in the meantime
                self.add(path)
        with self._used() as index:
            index.executemany("DELETE FROM songs WHERE path = ?", [(path,) for path in gone])
        return len(new), len(gone)

    def rebuild(self) -> int:
        """Makes the index anew from the tags of all files, in one transaction; the number of songs."""
        read = []
        for path, _ in _files(self.folder):
            with suppress(OSError):
                read.append(_read(self.folder, self.folder / path))
        with self._used() as index:
            index.execute("DELETE FROM songs")
            return self._put(read)

    def _put(self, read: Sequence[tuple[SongRow, str]]) -> int:
        """Writes rows and their words; the number of songs. One that SQLite cannot hold is no song, with a note."""
        songs = 0
        for row, words in read:
            try:
                self._insert(row, words)
            except (OverflowError, UnicodeEncodeError, sqlite3.DataError) as exc:
                logger.warning("%s is left out of the library: the index cannot hold its tags (%s)", row.path, exc)
                row = SongRow(row.id, row.path, row.size, row.changed_ns, row.made, is_song=False)
                self._insert(row, "")
            songs += row.is_song
        return songs

    def _insert(self, row: SongRow, words: str) -> None:
        values = *(getattr(row, name) for name in _COLUMNS), words
        self._index.execute(f"INSERT OR REPLACE INTO songs VALUES ({', '.join('?' * len(values))})", values)

    def remove(self, song_id: str) -> Path:
        """Moves a song's file into the trash of the library, and returns its place there. Raises NoSuchSong."""
        path = self.path(song_id)
        trash = self.own_folder / TRASH
        place = trash / f"{path.stem[:40]}-{secrets.token_hex(4)}{path.suffix}"
        try:
            trash.mkdir(exist_ok=True)
            shutil.move(path, place)
        except OSError as exc:
            raise _unusable(trash, exc) from exc
        with self._used() as index:
            index.execute("DELETE FROM songs WHERE id = ?", (song_id,))
        return place


def _unusable(place: Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or error
    return UserError(
        f"{place}: cannot be read or written ({reason}); make its folder writable, end what has it locked, or give "
        "another one"
    )


def song_id(name: str) -> str:
    """The handle of a file below a library's folder: the same whenever the index is made."""
    return SONG_PREFIX + hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]


def _files(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """(name below the folder, (size, time of the last change)) of each sound file. No link is followed.

    A file whose name is no text in UTF-8 is left out with a note in the log: the index could not hold it.
    """
    endings = tuple(f".{name}" for name in FORMATS)
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith(".") or not name.lower().endswith(endings) or path.is_symlink():
                continue
            below = path.relative_to(folder).as_posix()
            if not _is_text(below):
                logger.warning("%s is left out of the library: its name is no text in UTF-8; rename it", ascii(below))
                continue
            with suppress(OSError):
                state = path.stat()
                yield below, (state.st_size, state.st_mtime_ns)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read(folder: Path, path: Path) -> tuple[SongRow, str]:
    """A file's row, and the words by which it is found. Raises OSError where it is gone."""
    name, state = path.relative_to(folder).as_posix(), path.stat()
    place = {"id": song_id(name), "path": name, "size": state.st_size, "changed_ns": state.st_mtime_ns}
    place["made"] = state.st_mtime
    try:
        tags = read_tags(path)
        made = read_song(str(path)) if SONG_TAG in tags else None
    except UserError as exc:
        logger.warning("%s is left out of the library", exc)
        made = None
    if made is None:
        return SongRow(**place, is_song=False), ""
    song, settings, title = made.song, made.settings, tags.get("title", "")
    models = ", ".join(dict.fromkeys(_models(made)))
    row = SongRow(
        **place,
        title=title,
        caption=song.caption,
        language=song.language,
        bpm=song.bpm,
        key=song.key,
        time_signature=song.time_signature,
        seconds=_seconds(path) or song.seconds,
        seed=settings.seed,
        task=settings.edit_request.task if settings.edit else None,
        models=models,
    )
    bpm = f"{song.bpm} bpm" if song.bpm else ""
    words = (name, title, song.caption, song.lyrics, song.key or "", bpm, song.language, row.task or "", models)
    return row, "\n".join((*words, tags.get("artist", ""))).casefold()


def _models(made: TaggedSong) -> list[str]:
    """The names of a song's models, without the places of those that were named by a path."""
    names = made.models.values() if isinstance(made.models, dict) else made.models
    return [re.split(r"[\\/]", name)[-1] for name in names]


def _seconds(path: Path) -> float | None:
    """The length of a file by its header, where that says it."""
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            return round(container.duration / 1e6, 3) if container.duration else None
    except av.FFmpegError:
        return None
