"""Clips -> references for the stages: timbre, or the beginning of the song."""

import dataclasses

from comfy_api.latest import io

from ..acestep_core.audio.waveform import Waveform
from ..acestep_core.errors import UserError
from ..acestep_core.models.reference import TIMBRE_SECONDS, Reference, check_longer, continuation, timbre_reference
from .host import devices, messages
from .host.workflow import song_seconds
from .sound import waveform_of
from .types import ReferenceSocket, VocoderHandle, VocoderSocket

TIMBRE, CONTINUATION = "timbre", "continuation"


def add(before: Reference | None, handle: VocoderHandle, clip: Waveform, use: str, node_id: str) -> Reference:
    """A reference with one clip more."""
    before = before or Reference()
    handle.network.load(handle.activation_bytes)
    report = messages.report_seconds(node_id, TIMBRE_SECONDS if use == TIMBRE else clip.seconds)
    if use == TIMBRE:
        return dataclasses.replace(before, timbre=(*before.timbre, *timbre_reference(handle.vocoder, [clip], report)))
    return dataclasses.replace(before, source=continuation(handle.vocoder, clip, report))


def check_continuation(before: Reference | None, clip: Waveform, songs: list[float]) -> None:
    """Raises UserError, before minutes of sound are encoded, where no song can go on from the clip."""
    if before and before.source:
        raise UserError("continuation: this reference already has a clip to go on from, and a song has one beginning")
    if songs:
        check_longer(max(songs), clip.seconds)


class ReferenceEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepReferenceEncode",
            display_name="Reference Encode",
            category="ACE-Step/song",
            description="Encodes a clip for the stages, for its timbre or as the beginning of the song.",
            search_aliases=["reference audio", "style transfer", "continue", "extend", "audio to audio", "timbre"],
            inputs=[
                VocoderSocket.Input("vocoder", tooltip="Of the same family as the models."),
                io.Audio.Input("audio", tooltip="Any length, rate and channel count."),
                io.Combo.Input(
                    "use",
                    options=[TIMBRE, CONTINUATION],
                    default=TIMBRE,
                    tooltip="timbre: the song has the timbre of the clip. continuation: the song begins with the "
                    "clip and continues it; `seconds` of Song includes the clip.",
                ),
                ReferenceSocket.Input(
                    "reference", optional=True, tooltip="Another reference, to which this clip is added."
                ),
            ],
            outputs=[
                ReferenceSocket.Output("reference", display_name="reference", tooltip="For every stage, and Vocode.")
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, vocoder: VocoderHandle, audio, use, reference=None) -> io.NodeOutput:
        node_id, clip = cls.hidden.unique_id, waveform_of(audio)
        if use == CONTINUATION:
            check_continuation(reference, clip, song_seconds(cls.hidden.prompt, node_id))
        with messages.notes_on(node_id) as notes:
            both = devices.NodeOomFallback().with_fallback(lambda: add(reference, vocoder, clip, use, node_id))
            return io.NodeOutput(both, ui=notes.ui)
