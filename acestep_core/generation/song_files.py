"""The files of a finished song: its sound with tags, and beside it the times of its lyrics and its latents.

The command line, the server and workers of a cluster write by this module alone. torch comes with the song.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..audio.formats import choose_format
from ..audio.song_tags import SCORES_TAG, TIMED_TAG, song_tags
from ..system.files import write_whole
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
    was asked for.
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

    @property
    def words(self) -> "Song":
        return getattr(self.song, "song", self.song)


def write_song(made: MadeSong, file: SongFile, path: Path, *, replace: bool = True) -> Path:
    """Writes a song's files, each whole, and returns the path of its sound.

    Without `replace` a file of that name stays, and a free name is taken. Raises UserError, AceStepError.
    """
    from .. import audio

    wave, format, depth = _written(made, file, path)
    written = audio.write(path, wave, format, depth, _tags(made, file), replace=replace)
    if file.keep_latents:
        _keep_latents(made, written)
    if made.timed:
        write_whole(written.with_suffix(LRC_ENDING), f"{made.timed}\n".encode())
    return written


def encode_song(made: MadeSong, file: SongFile) -> bytes:
    """The bytes of the file that `write_song` writes, for a stream. Raises UserError."""
    from .. import audio

    place = f"song.{file.format}"
    wave, format, depth = _written(made, file, place)
    return audio.encoded(wave, *choose_format(place, format, depth), _tags(made, file))


def _written(made: MadeSong, file: SongFile, place: "Path | str") -> "tuple[Waveform, str, str | None]":
    """(the sound at its level, and at a rate that the format holds, the format, the depth)"""
    from .. import audio

    loudness, wave = made.settings.loudness, made.wave
    wave = wave if loudness is None else audio.normalise_loudness(wave, loudness)
    format = choose_format(place, file.format, file.bit_depth)[0]
    return audio.fit(wave, format), format, bit_depth(made.settings, place, format, file.bit_depth)


def _tags(made: MadeSong, file: SongFile) -> dict[str, str]:
    tags = song_tags(made.words, made.settings.given(), made.models, file.title, file.artist, made.digests)
    tags |= {TIMED_TAG: made.timed} if made.timed else {}
    return tags | ({SCORES_TAG: json.dumps(made.scores)} if made.scores else {})


def _keep_latents(made: MadeSong, path: Path) -> None:
    from .. import audio
    from ..editing.kept_latents import keep_latents

    if made.latents is None:
        logger.warning("%s: its latents are not kept, as its sound does not begin with a whole frame of them", path)
        return
    keep_latents(path, made.latents, audio.read(path))
