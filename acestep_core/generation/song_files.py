"""The files of a finished song: its sound with tags, and beside it the times of its lyrics and its latents.

The command line, the server and workers of a cluster write by this module alone. torch comes with the song.
"""

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..audio.formats import choose_format
from ..audio.song_tags import SCORES_TAG, TIMED_TAG, song_tags
from ..audio.tags import read_tags
from ..checkpoints.weights import read_header, read_metadata
from ..editing.kept_latents import keep_latents, latents_path
from ..errors import UserError
from ..system.files import check_destination, numbered, write_beside, write_whole
from .making import DEFAULT_FORMAT, bit_depth
from .settings import GenerationSettings

if TYPE_CHECKING:
    import torch

    from ..audio.waveform import Waveform
    from ..editing.edited_song import EditedSong
    from ..models.reference import Reference
    from ..planner.planned_song import PlannedSong
    from ..song import Song

logger = logging.getLogger(__name__)

LRC_ENDING = ".lrc"


@dataclass(frozen=True)
class SongFile:
    """The form of a song's files. `lrc`: times of its lyrics; `lrc_words`: those of words too."""

    format: str | None = DEFAULT_FORMAT  # None: that of the file's name
    bit_depth: str | None = None
    title: str | None = None
    artist: str | None = None
    keep_latents: bool = False
    lrc: bool = False
    lrc_words: bool = False


@dataclass(frozen=True, eq=False)
class MadeSong:
    """A song that was made: its sound, the song with its codes, and the settings and models that made it.

    `latents` [1, C, T] are those of the sound, None where there are no such; `reference` has the clips that it was
    made with; `scores` are there of a song that was chosen among takes, with the reason `why`; `timed` is LRC where it
    was asked for. `tagged`: the settings that its tags keep, where it was made of copies of their files.
    """

    wave: "Waveform"
    song: "Song | EditedSong | PlannedSong"
    settings: GenerationSettings
    models: Mapping[str, str]
    latents: "torch.Tensor | None" = None
    reference: "Reference | None" = None
    digests: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, object] | None = None
    why: str | None = None
    timed: str | None = None
    tagged: GenerationSettings | None = None

    @property
    def words(self) -> "Song":
        return getattr(self.song, "song", self.song)

    def facts(self) -> dict:
        """What JSON tells of it."""
        shown = {"seed": self.settings.seed, "seconds": self.wave.seconds, "rate_hz": self.wave.sample_rate_hz}
        shown |= {"scores": self.scores} if self.scores else {}
        shown |= {"models": dict(self.models), "digests": dict(self.digests)}
        return {**shown, "song": asdict(self.words), "settings": (self.tagged or self.settings).given()}


def write_song(made: MadeSong, file: SongFile, path: Path, *, replace: bool = True) -> Path:
    """Writes a song's files, each whole, and returns the path of its sound.

    Without `replace` files of that name stay, and a name that is free for all is taken. Raises UserError, AceStepError.
    """
    from .. import audio

    path = path if replace else _free(path, lrc=bool(made.timed), latents=file.keep_latents)
    wave, format, depth = _written(made, file, path)
    written = audio.write(path, wave, format, depth, _tags(made, file), replace=replace)
    if file.keep_latents:
        _keep_latents(made, written)
    if made.timed:
        write_whole(written.with_suffix(LRC_ENDING), f"{made.timed}\n".encode())
    return written


def files_beside(sound: Path, *, lrc: bool = False, latents: bool = False) -> list[Path]:
    """The files that are written beside a song's sound: the times of its lyrics, and its latents."""
    return [sound.with_suffix(LRC_ENDING)] * lrc + [latents_path(sound)] * latents


def check_replaceable(sound: Path, *, lrc: bool = False, latents: bool = False) -> None:
    """Raises UserError where a file beside a song's sound is there that was not written with the sound of now.

    Files that were written with it may be replaced when it is. Times that somebody corrected are a user's own.
    """
    for file in files_beside(sound, lrc=lrc, latents=latents):
        is_ours = _are_times_of if file.suffix == LRC_ENDING else _are_latents_of
        if os.path.lexists(file) and not is_ours(file, sound):
            raise UserError(f"{file}: was not written with {sound}, and would be lost; rename it, or the output")


def _are_times_of(file: Path, sound: Path) -> bool:
    """Whether a file holds the times in the tags of a sound, and nothing else."""
    try:
        timed = read_tags(sound).get(TIMED_TAG, "")
        return bool(timed) and file.read_bytes().strip() == timed.encode().strip()
    except (UserError, OSError):
        return False


def _are_latents_of(file: Path, sound: Path) -> bool:
    """Whether a file has the header that `keep_latents` writes, and a sound to belong to."""
    try:
        return sound.is_file() and set(read_header(file)) == {"latents"} and set(read_metadata(file)) == {"sound"}
    except (UserError, OSError):
        return False


def _free(path: Path, **kinds: bool) -> Path:
    """The first of song.flac, song_2.flac, ... of which neither the sound nor a file beside it is there."""
    return next(name for name in numbered(path) if not any(map(os.path.lexists, [name, *files_beside(name, **kinds)])))


def encode_song(made: MadeSong, file: SongFile) -> bytes:
    """The bytes of the file that `write_song` writes, for a stream. Raises UserError."""
    from .. import audio

    place = f"song.{file.format}"
    wave, format, depth = _written(made, file, place)
    return audio.encoded(wave, *choose_format(place, format, depth), _tags(made, file))


@dataclass(frozen=True)
class PackedSong:
    """A song's files in memory, what JSON tells of it, and the seconds that its making took."""

    sound: bytes
    lrc: bytes | None
    latents: bytes | None
    facts: Mapping[str, object]
    took: float = 0.0


def pack_song(made: MadeSong, file: SongFile, name: str, took: float = 0.0) -> PackedSong:
    """The files that `write_song` writes, to be written elsewhere. `name`: that of the file. Raises UserError."""
    with tempfile.TemporaryDirectory() as folder:
        sound = write_song(made, file, Path(folder, name))
        others = (sound.with_suffix(LRC_ENDING), latents_path(sound))
        lrc, latents = (path.read_bytes() if path.is_file() else None for path in others)
        return PackedSong(sound.read_bytes(), lrc, latents, made.facts(), took)


def unpack_song(packed: PackedSong, path: Path, *, replace: bool = True) -> Path:
    """Writes a packed song's files, each whole, as `write_song` does, and returns the path of its sound."""
    path = check_destination(path)
    if replace:
        write_whole(path, packed.sound)
    else:
        free = _free(path, lrc=packed.lrc is not None, latents=packed.latents is not None)
        path = write_beside(free, packed.sound)
    if packed.latents is not None:
        write_whole(latents_path(path), packed.latents)
    if packed.lrc is not None:
        write_whole(path.with_suffix(LRC_ENDING), packed.lrc)
    return path


def _written(made: MadeSong, file: SongFile, place: "Path | str") -> "tuple[Waveform, str, str | None]":
    """(the sound at its level, and at a rate that the format holds, the format, the depth)"""
    from .. import audio

    loudness, wave = made.settings.loudness, made.wave
    wave = wave if loudness is None else audio.normalise_loudness(wave, loudness)
    format = choose_format(place, file.format, file.bit_depth)[0]
    return audio.fit(wave, format), format, bit_depth(made.settings, place, format, file.bit_depth)


def _tags(made: MadeSong, file: SongFile) -> dict[str, str]:
    settings = made.tagged or made.settings
    tags = song_tags(made.words, settings.given(), made.models, file.title, file.artist, made.digests)
    tags |= {TIMED_TAG: made.timed} if made.timed else {}
    return tags | ({SCORES_TAG: json.dumps(made.scores)} if made.scores else {})


def _keep_latents(made: MadeSong, path: Path) -> None:
    from .. import audio

    if made.latents is None:
        logger.warning("%s: its latents are not kept, as its sound does not begin with a whole frame of them", path)
        return
    keep_latents(path, made.latents, audio.read(path))
