"""What the making of a song takes, from its settings: models, digests, encoded clips, and the file's name and depth.

The command line and the server share it. torch is imported only when models are loaded.
"""

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..audio.formats import choose_format
from ..errors import UserError, wrong_path
from ..lora.find import Lora, adapter_digest, find_adapter
from ..planner.planned_song import PlannedSong
from ..song import AUTO, Song
from ..system.files import existing
from .planning import follow_codes
from .settings import GenerationSettings

if TYPE_CHECKING:
    from ..checkpoints.cascade_models import CascadeModels
    from ..editing.edited_song import EditedSong
    from ..models.reference import Reference
    from .cascade import Cascade

DEFAULT_FORMAT = "flac"
SEEDS_DRAWN_BELOW = 2**32
NAME_LENGTH = 40
SOURCE = "source"  # of the digests of an edit


@dataclass(frozen=True)
class Machine:
    """Where and how models are loaded: arguments of `Cascade.load`."""

    device: str | None = None
    memory_gb: float | None = None
    offload: bool = False
    text_cache: bool = True


@contextlib.contextmanager
def named(place: str | None) -> Iterator[None]:
    """User errors within begin with the name of the file, and the line, that the song is from."""
    try:
        yield
    except UserError as exc:
        raise UserError(f"{place}: {exc}" if place else str(exc)) from exc
    except OSError as exc:
        if not (message := wrong_path(exc)):
            raise
        raise UserError(f"{place}: {message}" if place else message) from exc


def slug(caption: str) -> str:
    """A name for a file, from a caption."""
    words = re.sub(r"[^\w]+", "-", caption.lower()).strip("-_")
    return words[:NAME_LENGTH].strip("-_") or "song"


def check_files(settings: GenerationSettings) -> None:
    """Raises UserError unless the clips and adapters of a song are there."""
    settings.check_source()
    for clip in (*(settings.reference or ()), settings.continue_from, settings.source):
        if clip is not None:
            existing(clip)
    adapters_of(settings)


def adapters_of(settings: GenerationSettings) -> list[Path]:
    """Where the adapters of a song are. Raises UserError."""
    return [find_adapter(Lora.parse(lora).adapter) for lora in settings.lora or ()]


def check_sampling(settings: GenerationSettings) -> None:
    """Raises CheckpointError or UserError unless a song's models are here, and fit its steps and the like."""
    from ..checkpoints.cascade_models import find_cascade

    defaults = find_cascade(**settings.model_names).defaults
    from ..flow.stage_plan import SamplingSettings, plan_for_models

    plan_for_models(defaults, SamplingSettings(**settings.sampling))


def load_cascade(settings: GenerationSettings, **machine) -> "Cascade":
    """The cascade of a song's models, once it is known that they can make it. Raises CheckpointError, UserError.

    `machine`: device, memory_gb, offload and text_cache of `Cascade.load`.
    """
    from ..checkpoints.cascade_models import find_cascade

    found = find_cascade(**settings.model_names)  # an absent model is an error before torch is loaded
    from .cascade import Cascade

    cascade = Cascade.load(found, **settings.precision, **machine)
    check_task(cascade, settings)
    return cascade


def check_task(cascade: "Cascade", settings: GenerationSettings) -> None:
    """Raises CheckpointError or UserError where a cascade cannot make a song of these settings."""
    stages = cascade.plan(**settings.sampling)
    if settings.edit_request is not None and settings.edit_request.task != "retake":
        cascade.check_edit(settings.edit_request, stages)


def digests_of(models: "CascadeModels", settings: GenerationSettings) -> dict[str, str]:
    """Digests of a song's models, adapters and source."""
    from ..checkpoints.digest import files_digest

    adapters = enumerate(adapters_of(settings), start=1)
    digests = models.digests() | {f"lora {number}": adapter_digest(place) for number, place in adapters}
    if settings.source is not None:
        digests[SOURCE] = files_digest([existing(settings.source)])
    return digests


def with_codes(song: Song, settings: GenerationSettings) -> "Song | PlannedSong":
    """The song, with the codes that its settings have."""
    if not settings.codes:
        return song
    strength = 1.0 if settings.codes_strength is None else settings.codes_strength
    return PlannedSong(song, settings.codes, strength, settings.codebook or 0)


def song_to_time(song: Song, settings: GenerationSettings, model_names: Mapping) -> "Song | PlannedSong":
    """The song as models read it that time its lyrics: with the codes that it followed, where they can follow them."""
    if song.seconds == AUTO or (settings.codebook and not follow_codes(model_names, settings.codebook)):
        return song
    return with_codes(song, dataclasses.replace(settings, codes_strength=None))


def prepared(
    cascade: "Cascade", song: Song, settings: GenerationSettings
) -> "tuple[Song | PlannedSong | EditedSong, Reference | None]":
    """The song and the encoded clips, as `Cascade.iterate` and `Cascade.decode` take them. Raises UserError."""
    edit, clips = settings.edit_request, settings.reference or ()
    if edit is None:
        return with_codes(song, settings), cascade.encode_reference(clips, settings.continue_from, song.seconds)
    if edit.task == "retake":
        varied = cascade.retake_reference(edit, clips, settings.continue_from, song.seconds)
        return with_codes(song, settings), varied
    with named(settings.source):
        return cascade.prepare_edit(edit, settings.source, song, clips, cascade.plan(**settings.sampling))


def bit_depth(settings: GenerationSettings, path: str | Path, format: str | None, asked: str | None) -> str | None:
    """The depth of the file to write: that asked for, else of an edit the source's, where the format holds it."""
    from ..audio.files import bit_depth_of

    if asked or not settings.source or settings.edit_request.task == "retake":
        return asked
    return bit_depth_of(settings.source, choose_format(path, format)[0])
