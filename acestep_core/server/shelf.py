"""Puts finished songs into the library, and tells of them as JSON has it."""

from dataclasses import asdict

from ..audio.formats import FORMATS
from ..generation.making import slug
from ..generation.song_files import MadeSong, SongFile, write_song
from .datasets import Datasets
from .jobs import Made
from .requests import RequestReader


class LibraryShelf:
    """The library of a server. No file of it is replaced."""

    def __init__(self, requests: RequestReader):
        self._requests, self._library = requests, requests.library

    @property
    def datasets(self) -> Datasets:
        return self._requests.training.datasets

    def put(self, made: MadeSong, file: SongFile, facts: dict) -> Made:
        """Writes a song's files and takes it into the index. Raises UserError, AceStepError."""
        path = self._library.folder / song_name(made, file)
        row = self._library.add(write_song(made, file, path, replace=False))
        shown = {**shown_song(made, file, facts), "settings": self._requests.shown_settings(made.settings)}
        return Made({"id": row.id, "file": row.path, **shown})


def song_name(made: MadeSong, file: SongFile) -> str:
    """The name of a song's file, where it is free."""
    return f"{slug(made.words.caption)}-{made.settings.seed}.{file.format}"


def shown_song(made: MadeSong, file: SongFile, facts: dict) -> dict:
    """A finished song as clients see it, without what only its library knows."""
    rate_hz = FORMATS[file.format].nearest_rate_hz(made.wave.sample_rate_hz)
    shown = {"seconds": round(made.wave.seconds, 3), "rate_hz": rate_hz, "seed": made.settings.seed, **facts}
    shown |= {"scores": made.scores, "why": made.why} if made.scores else {}
    return {**shown, "lrc": bool(made.timed), "song": asdict(made.words)}
