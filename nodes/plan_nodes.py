"""Nodes that ask a planner about a song: fill it in, write it from a line, put it in better words."""

from comfy_api.latest import io

from ..acestep_core.errors import UserError
from ..acestep_core.models.reference import Reference
from ..acestep_core.song import AUTO as OPEN
from ..acestep_core.song import LANGUAGE_NAMES, Song, check_language
from ..acestep_core.spec import MAX_BPM, MAX_SECONDS, MIN_BPM, MIN_SECONDS
from .host import messages
from .planner_widgets import (
    CATEGORY,
    FREE,
    TEXT_TOOLTIP,
    asked,
    length_input,
    outputs,
    planner_input,
    sampling_inputs,
    song_to_plan,
    text_of,
)
from .plans import PlanOfGraph, reference_of
from .song import AUTO, KEYS, SIGNATURES
from .types import PlannerHandle, ReferenceSocket, SongSocket, VocoderHandle, VocoderSocket

# ---- plan ------------------------------------------------------------------------------------------------------------


def with_codes(plan, strength: float, handle: PlannerHandle, seed: int, vocoder: VocoderHandle | None, clips) -> tuple:
    """(song, reference) of a plan, with its codes where it has some. Raises UserError."""
    if not plan.codes:
        return plan.song, clips
    song = PlanOfGraph(plan.song, plan.codes, strength, plan.codebook, handle.planner.name, seed)
    return song, reference_of(song, vocoder.vocoder.latents, clips)


def check_room_for_codes(vocoder: VocoderHandle | None, clips: Reference | None) -> None:
    """Raises UserError, before a planner writes codes that nothing could follow."""
    if vocoder is None:
        raise UserError(
            "vocoder: is not connected; codes need the one of the models that follow them. Connect it, or switch "
            "`codes` off"
        )
    if clips is not None and clips.source is not None:
        raise UserError(
            "reference: has a source, a clip to continue or to edit, which leaves no place for codes; connect one of "
            "timbre alone, or switch `codes` off"
        )


class PlanSong(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepPlanSong",
            display_name="Plan Song",
            category=CATEGORY,
            description="Fills in what a song leaves open (auto), and writes audio codes, which the stages follow.",
            search_aliases=["5hz lm", "thinking", "chain of thought", "audio codes", "auto bpm", "language model"],
            inputs=[
                planner_input(),
                SongSocket.Input("song", tooltip="What it has is kept; what is on auto is filled in."),
                VocoderSocket.Input("vocoder", optional=True, tooltip="With codes: that of the models."),
                ReferenceSocket.Input("reference", optional=True, tooltip="Clips whose timbre the song takes."),
                length_input(),
                *sampling_inputs(),
                io.Boolean.Input(
                    "codes",
                    default=True,
                    tooltip="On: five audio codes for each second; the models need an audio tokenizer. Off: the song "
                    "is only filled in.",
                ),
                io.Float.Input(
                    "codes_strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.0001,
                    tooltip="The share of the steps that follow the codes.",
                ),
                io.Float.Input(
                    "guidance",
                    default=2.0,
                    min=1.0,
                    max=30.0,
                    step=0.1,
                    round=0.0001,
                    advanced=True,
                    tooltip="How closely the codes follow caption and lyrics. 1 is off, and faster.",
                ),
                io.String.Input(
                    "negative",
                    default="",
                    multiline=True,
                    advanced=True,
                    tooltip="What the codes shall be unlike; needs guidance above 1.",
                ),
            ],
            outputs=[
                SongSocket.Output("song", display_name="song", tooltip="For Text Encode, Empty Latent and Save Audio."),
                ReferenceSocket.Output(
                    "reference",
                    display_name="reference",
                    tooltip="The codes, for every stage; without codes what came in.",
                ),
                io.String.Output("text", display_name="text", tooltip=TEXT_TOOLTIP),
            ],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, planner, song, vocoder=None, reference=None, **settings) -> io.NodeOutput:
        node_id = cls.hidden.unique_id
        with messages.notes_on(node_id) as notes:
            made = planned(planner, song, vocoder, reference, node_id, **settings)
            return io.NodeOutput(*made, ui=notes.ui)


def planned(
    handle: PlannerHandle,
    song,
    vocoder: VocoderHandle | None,
    clips: Reference | None,
    node_id: str,
    *,
    choose_length: bool,
    codes: bool,
    codes_strength: float,
    negative: str,
    seed: int,
    **sampling,
) -> tuple:
    """(song, reference, text) of the node Plan Song. Raises UserError."""
    from ..acestep_core.planner.requests import PlanSong as Request

    if codes:
        check_room_for_codes(vocoder, clips)
    request = Request(song_to_plan(song, "Plan Song", choose_length), codes, negative)
    plan = asked(handle, request, node_id, seed, **sampling)
    return (*with_codes(plan, codes_strength, handle, seed, vocoder, clips), text_of(plan))


# ---- write and rewrite -----------------------------------------------------------------------------------------------


class WriteSong(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        auto = "auto: the planner's choice."
        return io.Schema(
            node_id="AceStepWriteSong",
            display_name="Write Song",
            category=CATEGORY,
            description="Writes a song from one line: caption, lyrics, tempo, key, metre, length and language.",
            search_aliases=["lyrics", "simple mode", "inspiration", "songwriter", "prompt writer", "language model"],
            inputs=[
                planner_input(),
                io.String.Input(
                    "line",
                    default="a slow song about the sea",
                    dynamic_prompts=True,
                    tooltip="What the song is about, in a few words.",
                ),
                io.Boolean.Input("instrumental", default=False, tooltip="On: without words."),
                io.Float.Input(
                    "seconds", default=0.0, min=0.0, max=MAX_SECONDS, step=0.1, tooltip=f"Length in seconds. {FREE}"
                ),
                io.Int.Input("bpm", default=0, min=0, max=MAX_BPM, tooltip=f"Tempo, {MIN_BPM} to {MAX_BPM}. {FREE}"),
                io.Combo.Input("key", options=[AUTO, *KEYS], default=AUTO, tooltip=auto),
                io.Combo.Input("time_signature", options=[AUTO, *SIGNATURES], default=AUTO, tooltip=auto),
                io.Combo.Input(
                    "language",
                    options=[AUTO, *sorted(LANGUAGE_NAMES.values())],
                    default=AUTO,
                    tooltip=f"Of the lyrics. {auto}",
                ),
                *sampling_inputs(),
            ],
            outputs=outputs("For Text Encode and Empty Latent; or for Plan Song, which writes codes for it."),
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, language):
        try:
            check_language(language)
        except UserError as exc:
            return str(exc)
        return True

    @classmethod
    def execute(cls, planner, line, instrumental, **settings) -> io.NodeOutput:
        node_id = cls.hidden.unique_id
        with messages.notes_on(node_id) as notes:
            plan = written(planner, line, instrumental, node_id, **settings)
            return io.NodeOutput(plan.song, text_of(plan), ui=notes.ui)


def written(handle: PlannerHandle, line, instrumental, node_id, *, seconds, bpm, key, time_signature, language, **how):
    """The SongPlan of the node Write Song. Raises UserError."""
    from ..acestep_core.planner.requests import WriteSong as Request

    if not line.strip():
        raise UserError("line: is empty, expected a few words about the song")
    if 0 < seconds < MIN_SECONDS:
        raise UserError(f"seconds: got {seconds:g}, expected 0 (auto), or {MIN_SECONDS:g} to {MAX_SECONDS:g}")
    given = Song("", "", bpm or None, key, time_signature, language, seconds or OPEN)
    return asked(handle, Request(line, instrumental, given), node_id, **how)


class RewriteSong(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepRewriteSong",
            display_name="Rewrite Song",
            category=CATEGORY,
            description="Writes a song's caption and lyrics in better words. Tempo, key and the like are kept.",
            search_aliases=["format", "enhance prompt", "better caption", "rewrite lyrics", "language model"],
            inputs=[
                planner_input(),
                SongSocket.Input("song", tooltip="The song in your words; what is on auto is filled in."),
                length_input(),
                *sampling_inputs(),
            ],
            outputs=outputs("For Text Encode and Empty Latent; or for Plan Song."),
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, planner, song, choose_length, **settings) -> io.NodeOutput:
        from ..acestep_core.planner.requests import RewriteSong as Request

        node_id = cls.hidden.unique_id
        with messages.notes_on(node_id) as notes:
            request = Request(song_to_plan(song, "Rewrite Song", choose_length))
            plan = asked(planner, request, node_id, **settings)
            return io.NodeOutput(plan.song, text_of(plan), ui=notes.ui)
