"""The song to be made, and its text as the text encoder encodes it."""

import dataclasses

from comfy_api.latest import io

from ..acestep_core.checkpoints.locate import LocalModel
from ..acestep_core.checkpoints.registry import TEXT
from ..acestep_core.editing.edited_song import EditedSong, prompts_of
from ..acestep_core.errors import UserError
from ..acestep_core.memory.plan import STAGE_MEANS
from ..acestep_core.models.text_encoder import TextStates
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
from .edits import with_edit
from .host import devices, locations, messages
from .types import Encoder, EncoderHandle, SongSocket, Text

AUTO = "auto"
EMBEDDED_TEXT = "tiny-text"
NOTES = ("C", "C#", "Db", "D", "D#", "Eb", "E", "F", "F#", "Gb", "G", "G#", "Ab", "A", "A#", "Bb", "B")
KEYS = tuple(f"{note} {mode}" for mode in ("major", "minor") for note in NOTES)
SIGNATURES = ("2/4", "3/4", "4/4", "6/8")


def states_of(handle: EncoderHandle, song: Song | EditedSong) -> TextStates:
    """A song's text states: from memory, from the disk, or by the text encoder, which is loaded only then."""
    prompts = prompts_of(song)

    def read() -> TextStates:
        states = [_states_of(handle, pair) for pair in prompts]
        return states[0] if len(states) == 1 else dataclasses.replace(states[0], other=states[1])

    return with_edit(handle.texts.get(prompts, read), song)


def _states_of(handle: EncoderHandle, prompts: tuple[str, str]) -> TextStates:
    def encode() -> TextStates:
        handle.network.load(handle.activation_bytes)
        return handle.encoder.encode_prompts(*prompts).to("cpu")

    cache = handle.cache
    return devices.NodeOomFallback().with_fallback(
        lambda: cache.get(prompts, encode) if cache else encode(), STAGE_MEANS
    )


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
                    f"{INSTRUMENTAL}: nobody sings. The embedded tiny models do not sing.",
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
