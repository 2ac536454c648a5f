"""Latents -> sound."""

from collections.abc import Iterator

import torch
from comfy_api.latest import io

from ..acestep_core.audio.waveform import Waveform
from ..acestep_core.generation.cascade import finished
from ..acestep_core.models.reference import Reference
from .edits import edit_of
from .host import devices, messages
from .latents import Latents, of_latent
from .sound import to_audio
from .types import ReferenceSocket, VocoderHandle, VocoderSocket

TO_FINISH = "let a last stage finish it (end 0), or take the stage's x0"


def warnings(latents: Latents, reference: Reference | None) -> Iterator[str]:
    """What is wrong with latents that can be decoded all the same."""
    if latents.t:
        yield f"the latent is at t = {latents.t:.4g}, half made: {TO_FINISH}"
    if latents.run and edit_of(reference) is None:
        yield (
            "the latent is of an edit: connect the reference of the editing node here too, else the source is decoded "
            "anew, and length and level are not its own"
        )


def decode(handle: VocoderHandle, latents: torch.Tensor, node_id: str) -> Waveform:
    """Latents [B, C, T] -> waveform [B, channels, N], by a smaller plan where memory runs out."""
    room = devices.NodeOomFallback()
    return room.with_fallback(lambda: _decode(handle, latents, node_id, room.plan.small_tiles))


def _decode(handle: VocoderHandle, latents: torch.Tensor, node_id: str, small_tiles: bool) -> Waveform:
    vocoder = handle.vocoder.small_tiled() if small_tiles else handle.vocoder
    handle.network.load(handle.activation_bytes)
    return vocoder.decode(latents, messages.report_seconds(node_id, vocoder.latents.seconds(latents.shape[-1])))


class Vocode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepVocode",
            display_name="Vocode",
            category="ACE-Step/audio",
            description="Makes stereo sound of finished latents, with peaks at -1 dBFS, and puts edits together.",
            search_aliases=["vae decode audio", "decode", "latent to audio"],
            inputs=[
                VocoderSocket.Input("vocoder", tooltip="Of the family that made the latents."),
                io.Latent.Input("latent", tooltip="The latent of the last stage, or the x0 of any stage."),
                ReferenceSocket.Input(
                    "reference",
                    optional=True,
                    tooltip="For a continuation: the clip's own samples replace the decoded ones at the beginning. For "
                    "an edit: length and level are those of the source, and its own samples stay outside the regions.",
                ),
            ],
            outputs=[io.Audio.Output("audio", display_name="audio", tooltip="For any node that takes sound.")],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, vocoder: VocoderHandle, latent, reference=None) -> io.NodeOutput:
        latents = of_latent(latent)
        with messages.notes_on(cls.hidden.unique_id) as notes:
            messages.note(warnings(latents, reference), cls.hidden.unique_id)
            wave = finished(decode(vocoder, latents.samples, cls.hidden.unique_id), latents.seconds, reference)
        return io.NodeOutput(to_audio(wave, latents.seeds, latents.models), ui=notes.ui)
