"""The song to be made, and its text as the text encoder encodes it."""

import dataclasses

from comfy_api.latest import io

from ..acestep_core.checkpoints.locate import LocalModel
from ..acestep_core.checkpoints.registry import TEXT
from ..acestep_core.editing.edited_song import EditedSong, prompts_of
from ..acestep_core.errors import UserError
from ..acestep_core.memory.plan import STAGE_MEANS
from ..acestep_core.models.text_encoder import TextStates
from ..acestep_core.planner.planned_song import PlannedSong
from ..acestep_core.scoring.lint import notes
from ..acestep_core.song import INSTRUMENTAL, LANGUAGE_NAMES, Song, check_language
from ..acestep_core.spec import (
    DEFAULT_SECONDS,
    LYRIC_TOKENS_MAX,
    MAX_BPM,
    MAX_SECONDS,
    MIN_BPM,
    MIN_SECONDS,
    TEXT_TOKENS_MAX,
)
from . import model_choice
from .edits import check_plain, tags_of_edit, with_edit
from .host import devices, locations, messages
from .plans import tags_of_plan, with_plan
from .types import Encoder, EncoderHandle, SongSocket, Text

AUTO = "auto"
EMBEDDED_TEXT = "tiny-text"
NOTES = ("C", "C#", "Db", "D", "D#", "Eb", "E", "F", "F#", "Gb", "G", "G#", "Ab", "A", "A#", "Bb", "B")
KEYS = tuple(f"{note} {mode}" for mode in ("major", "minor") for note in NOTES)
SIGNATURES = ("2/4", "3/4", "4/4", "6/8")


def states_of(handle: EncoderHandle, song: Song | EditedSong | PlannedSong) -> TextStates:
    """A song's text states: from memory, from the disk, or by the text encoder, which is loaded only then."""
    prompts = prompts_of(song)

    def read() -> TextStates:
        states = [_states_of(handle, pair) for pair in prompts]
        return states[0] if len(states) == 1 else dataclasses.replace(states[0], other=states[1])

    return with_plan(with_edit(handle.texts.get(prompts, read), song), song)


def _states_of(handle: EncoderHandle, prompts: tuple[str, str]) -> TextStates:
    def encode() -> TextStates:
        handle.network.load(handle.activation_bytes)
        return handle.encoder.encode_prompts(*prompts).to("cpu")

    cache = handle.cache
    return devices.NodeOomFallback().with_fallback(
        lambda: cache.get(prompts, encode) if cache else encode(), STAGE_MEANS
    )


def tags_of_song(song: Song | EditedSong | PlannedSong | None) -> tuple[Song | None, dict]:
    """The Song for the tags of a file, and the settings that its edit or its plan adds to them."""
    if isinstance(song, EditedSong):
        return tags_of_edit(song)
    return tags_of_plan(song) if isinstance(song, PlannedSong) else (song, {})


def song_of(caption: str, lyrics: str, bpm: int, key: str, time_signature: str, language: str, seconds: float) -> Song:
    """From the widgets of a Song node. Raises UserError."""
    return Song(caption, lyrics, bpm or None, key, time_signature, language, seconds)


def answer_tokens(query: dict) -> dict:
    """How many tokens the texts of a Song node have, and how many the models read. Raises UserError."""
    from ..acestep_core.checkpoints.tokens import count_tokens

    given = {"caption": "", "lyrics": "", "bpm": 0, "key": AUTO, "time_signature": AUTO, "language": AUTO}
    given |= {"seconds": DEFAULT_SECONDS}
    song = song_of(**given | {name: query[name] for name in given if query.get(name) is not None})
    encoder = _encoder_of(query.get("text_encoder"), query.get("model"))
    caption, lyrics = count_tokens(song, model_choice.reference_to(encoder), locations.models_shelf().all_folders)
    return {
        "caption": {"tokens": caption, "most": TEXT_TOKENS_MAX},
        "lyrics": {"tokens": lyrics, "most": LYRIC_TOKENS_MAX},
        "text_encoder": encoder.name,
    }


def _encoder_of(choice: object, model: object) -> LocalModel:
    """The text encoder of a loader's choice, for "auto" that of its stage model, the embedded one for no choice."""
    shelf = locations.models_shelf()
    if choice == AUTO and isinstance(model, str):
        found = model_choice.cascade_of((model,) * 3, AUTO, AUTO).text
        listed = (shelf.find(name, TEXT) for name in shelf.here(TEXT))
        return next((one for one in listed if one.path == found.path), found)  # by its name in the list
    return shelf.find(EMBEDDED_TEXT if choice in (None, AUTO) else model_choice.plain(str(choice)), TEXT)


class SongNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepSong",
            display_name="Song",
            category="ACE-Step/song",
            description="The song to be made: caption, lyrics, length and, if you like, tempo, key and metre.",
            search_aliases=["prompt", "caption", "lyrics", "music prompt", "bpm", "key"],
            inputs=[
                io.String.Input(
                    "caption",
                    multiline=True,
                    dynamic_prompts=True,
                    default="Upbeat electronic dance with synth bass, drums and a saw lead",
                    tooltip="Genre, mood, instruments, and what must not be in it (no drums).",
                ),
                io.String.Input(
                    "lyrics",
                    multiline=True,
                    default=INSTRUMENTAL,
                    tooltip="Words to sing, with [Verse], [Chorus] and the like on lines of their own. "
                    f"{INSTRUMENTAL}: nobody sings. The embedded tiny models hum more than they sing.",
                ),
                io.Float.Input(
                    "seconds",
                    default=DEFAULT_SECONDS,
                    min=MIN_SECONDS,
                    max=MAX_SECONDS,
                    step=0.1,
                    tooltip=f"Length of the whole song, {MIN_SECONDS:g} to {MAX_SECONDS:g} seconds.",
                ),
                io.Int.Input(
                    "bpm",
                    default=0,
                    min=0,
                    max=MAX_BPM,
                    tooltip=f"Beats a minute, {MIN_BPM} to {MAX_BPM}. 0 (auto): the model's choice.",
                ),
                io.Combo.Input("key", options=[AUTO, *KEYS], default=AUTO, tooltip="auto: the model's choice."),
                io.Combo.Input(
                    "time_signature", options=[AUTO, *SIGNATURES], default=AUTO, tooltip="auto: the model's choice."
                ),
                io.Combo.Input(
                    "language",
                    options=[AUTO, *sorted(LANGUAGE_NAMES.values())],
                    default=AUTO,
                    tooltip="Of the lyrics. auto: the model finds out by itself. A code such as en is taken as well.",
                ),
            ],
            outputs=[SongSocket.Output("song", display_name="song", tooltip="For Text Encode and Empty Latent.")],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, language):
        # A value through a link is None here and is checked when the node runs, as caption and bpm are: an error from
        # here is shown on every input that this signature names.
        try:
            check_language(language)  # here, since saved workflows hold codes, which are not in the list
        except UserError as exc:
            return str(exc)
        return True

    @classmethod
    def execute(cls, caption, lyrics, seconds, bpm, key, time_signature, language) -> io.NodeOutput:
        if not caption.strip():
            raise UserError("caption: is empty; describe the song, such as calm lo-fi beat")
        song = song_of(caption, lyrics, bpm, key, time_signature, language, seconds)
        with messages.notes_on(cls.hidden.unique_id) as shown:
            messages.keep(notes(song), cls.hidden.unique_id)
            return io.NodeOutput(song, ui=shown.ui)


AS_IT_IS = "as it is"


def edited(song: Song, **values) -> Song:
    """The song with the values that are given in place of its own: all but "", 0 and "as it is". Raises UserError."""
    check_plain(song, "Edit Song")
    given = {name: value for name, value in values.items() if value not in (0, "", AS_IT_IS)}
    return dataclasses.replace(song, **given)


class EditSong(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        kept = f"{AS_IT_IS}: the song's own."
        return io.Schema(
            node_id="AceStepEditSong",
            display_name="Edit Song",
            category="ACE-Step/song",
            description="Puts your own values in the place of a song's, such as of one that a planner wrote.",
            search_aliases=["change song", "override", "edit lyrics", "edit caption", "set bpm"],
            inputs=[
                SongSocket.Input("song", tooltip="From Song, Write Song, Rewrite Song, Understand Audio."),
                io.String.Input(
                    "caption", multiline=True, dynamic_prompts=True, default="", tooltip="Empty: the song's own."
                ),
                io.String.Input("lyrics", multiline=True, default="", tooltip="Empty: the song's own."),
                io.Float.Input(
                    "seconds", default=0.0, min=0.0, max=MAX_SECONDS, step=0.1, tooltip="Length. 0: the song's own."
                ),
                io.Int.Input("bpm", default=0, min=0, max=MAX_BPM, tooltip="Beats a minute. 0: the song's own."),
                io.Combo.Input("key", options=[AS_IT_IS, AUTO, *KEYS], default=AS_IT_IS, tooltip=kept),
                io.Combo.Input("time_signature", options=[AS_IT_IS, AUTO, *SIGNATURES], default=AS_IT_IS, tooltip=kept),
                io.Combo.Input(
                    "language",
                    options=[AS_IT_IS, AUTO, *sorted(LANGUAGE_NAMES.values())],
                    default=AS_IT_IS,
                    tooltip=kept,
                ),
            ],
            outputs=[SongSocket.Output("song", display_name="song", tooltip="The song with your values.")],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, song, **values) -> io.NodeOutput:
        with messages.notes_on(cls.hidden.unique_id) as shown:
            made = edited(song, **values)
            messages.keep(notes(made), cls.hidden.unique_id)
            return io.NodeOutput(made, ui=shown.ui)


class TextEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepTextEncode",
            display_name="Text Encode",
            category="ACE-Step/song",
            description="Encodes a song's caption and lyrics for the stages.",
            search_aliases=["prompt", "conditioning", "clip text encode"],
            inputs=[
                Encoder.Input("text_encoder", tooltip="Of the same family as the models."),
                SongSocket.Input("song", tooltip="The song to be made; of an edit, that of the editing node."),
            ],
            outputs=[Text.Output("text", display_name="text", tooltip="For every stage.")],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, text_encoder: EncoderHandle, song: Song) -> io.NodeOutput:
        with messages.notes_on(cls.hidden.unique_id) as notes:
            return io.NodeOutput(states_of(text_encoder, song), ui=notes.ui)
