"""Edits in the graph: music, words and an Edit -> what Text Encode, the stages and Vocode take.

Of an edit three things travel together: its song, whose text has the instruction; its reference, which has the source;
and an empty latent of the result's length. Stages compare the first two.
"""

import hashlib
from dataclasses import dataclass
from functools import partial

import torch

from ..acestep_core.audio.waveform import Waveform
from ..acestep_core.checkpoints.checkpoint import read_checkpoint
from ..acestep_core.editing.bars import bars_of
from ..acestep_core.editing.edit import Edit
from ..acestep_core.editing.edited_song import EditedSong
from ..acestep_core.editing.known_tasks import Remedy, check_models, check_tokens
from ..acestep_core.editing.music import SourceMusic, check_length, encode_source
from ..acestep_core.editing.prepare import prepare
from ..acestep_core.editing.regions import Region, is_in_bars, parse_region, split_regions
from ..acestep_core.editing.source_song import result_song
from ..acestep_core.errors import UserError
from ..acestep_core.models.reference import Reference
from ..acestep_core.models.text_encoder import TextStates
from ..acestep_core.planner.planned_song import PlannedSong
from ..acestep_core.song import Song
from .host import devices, messages
from .latents import Latents, of_latent, to_latent
from .types import ModelHandle, VocoderHandle

IN_GRAPH = Remedy(
    "choose {name} in the node that loads the model (it downloads it, as `acestep-cascade models download {name}` "
    "does)",
    "switch codes off in Cover",
)
NO_WORDS = Song("")


@dataclass(frozen=True, eq=False)
class EditReference(Reference):
    """A reference whose source is edited. Equal only to itself."""

    edit: Edit | None = None


@dataclass(frozen=True, eq=False)
class EditedText(TextStates):
    """The text of a song that an edit makes. Equal only to itself."""

    edit: Edit | None = None


@dataclass(frozen=True)
class Sources:
    """What an edit is made of: `music`, its own `latents` where they are known, the song to make of it, and the words
    of the source, where a morph needs them.
    """

    vocoder: VocoderHandle
    music: Waveform
    latents: torch.Tensor | None = None
    song: Song = NO_WORDS
    source_song: Song | None = None
    reference: Reference | None = None


@dataclass(frozen=True)
class Prepared:
    """An edit as the next nodes take it. `latent` is a LATENT."""

    song: EditedSong
    reference: EditReference
    latent: dict


def prepare_edit(edit: Edit, given: Sources, batch_size: int, node_id: str) -> Prepared:
    """Raises UserError for an edit that cannot be made of this music, before it is encoded."""
    if given.reference is not None and given.reference.source is not None:
        raise UserError(f"{edit.task}: the reference has a source of its own already; connect one of timbre alone")
    for song in (given.song, given.source_song):
        check_plain(song, edit.task)
    check_length(given.music.seconds)
    edit.check_source(given.music.seconds)
    result_song(edit, given.song, given.source_song)
    music, spec = _encoded(given, node_id), given.vocoder.vocoder.latents
    source, seconds = prepare(edit, music, spec), edit.seconds(music.waveform.seconds)
    song = EditedSong(result_song(edit, given.song, given.source_song, seconds), edit, seconds, given.source_song)
    timbre = given.reference or Reference()
    reference = EditReference(timbre.timbre, source, timbre.variation, edit)
    empty = torch.zeros(batch_size, spec.channels, source.frames)
    return Prepared(song, reference, to_latent(Latents(empty, seconds=seconds)))


def own_latents(latent: dict | None) -> torch.Tensor | None:
    """The latents [1, C, T] of a song that is edited. Raises UserError for a batch, and for half-made or empty ones."""
    latents = latent and of_latent(latent)
    if not latents:
        return None
    if not latents.finished or len(latents.samples) != 1:
        raise UserError("latent: expected the finished latent of one song, as the last stage gave it to Vocode")
    return latents.samples


def _encoded(given: Sources, node_id: str) -> SourceMusic:
    """The music encoded; that of the last edits is remembered, for another strength needs no encoder."""
    digest = hashlib.blake2b(given.music.samples.contiguous().numpy(), digest_size=16)
    digest.update(b"" if given.latents is None else given.latents.contiguous().numpy())
    key = digest.digest(), given.music.samples.shape, given.music.sample_rate_hz
    return given.vocoder.musics.get(
        key, lambda: devices.NodeOomFallback().with_fallback(partial(_encode, given, node_id))
    )


def _encode(given: Sources, node_id: str) -> SourceMusic:
    given.vocoder.network.load(given.vocoder.activation_bytes)
    tell = messages.report_seconds(node_id, given.music.seconds)
    return encode_source(given.vocoder.vocoder, given.music, given.latents, tell)


def check_plain(song: object, name: str) -> None:
    """Raises UserError for the song of an edit, and for one that follows audio codes."""
    if isinstance(song, EditedSong):
        raise UserError(f"{name}: got the song of another edit, expected that of a Song node")
    if isinstance(song, PlannedSong):
        raise UserError(f"{name}: got a song with audio codes, which cannot be edited; switch `codes` off in Plan Song")


# ---- regions ---------------------------------------------------------------------------------------------------------


def regions_of(text: str, drawn: tuple[Region, ...] | None, music: Waveform, song: Song, node_id: str):
    """Regions that are typed, and those of an Audio Region node. Raises UserError; bars need a tempo."""
    texts, bars = split_regions(text), None
    if any(map(is_in_bars, texts)):
        check_plain(song, "regions")
        bars, found = bars_of(lambda: music, song, "audio")
        messages.keep([found], node_id)
    return (*(parse_region(one, bars) for one in texts), *(drawn or ()))


# ---- what stages check -----------------------------------------------------------------------------------------------


def edit_of(value: object) -> Edit | None:
    """The edit of a reference or of a text; None of any other one."""
    return value.edit if isinstance(value, EditReference | EditedText) else None


def with_edit(states: TextStates, song: Song | EditedSong) -> TextStates:
    """Text states that know their edit, where the song has one."""
    if not isinstance(song, EditedSong):
        return states
    return EditedText(states.text, states.lyrics, states.other, song.edit)


def check_edit(handle: ModelHandle, text: TextStates, reference: Reference | None, frames: int) -> None:
    """Raises UserError where a stage's text, reference and latent are of several edits, and CheckpointError where its
    model does not know the task.
    """
    edit, own = edit_of(reference), edit_of(text)
    if edit != own:
        named = (edit or own).task
        raise UserError(
            f"{named}: the text and the reference are not of one edit; connect `song` of the editing node to Text "
            "Encode, and its `reference` to every stage and to Vocode"
        )
    if edit is None:
        return
    if frames != reference.source.frames:
        raise UserError(
            f"{edit.task}: got a latent of {frames} frames, expected {reference.source.frames}; connect `latent` of "
            "the editing node to the first stage"
        )
    check_models(edit, [(handle.model.name, handle.model.family, handle.model.defaults)], IN_GRAPH)
    if handle.place is not None:
        check_tokens(edit, handle.model.name, read_checkpoint(handle.place), IN_GRAPH)


def tags_of_edit(song: EditedSong) -> tuple[Song, dict]:
    """The Song for the tags of a file, and the settings that its edit adds to them."""
    return song.song, {"edit": song.edit.given()}
