"""Latents -> sound."""

import torch
from comfy_api.latest import io

from ..acestep_core.audio.waveform import Waveform
from ..acestep_core.generation.cascade import finished
from .host import devices, messages
from .latents import of_latent
from .sound import to_audio
from .types import ReferenceSocket, VocoderHandle, VocoderSocket

TO_FINISH = "let a last stage finish it (end 0), or take the stage's x0"


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
            description="Makes stereo sound of finished latents, with peaks at -1 dBFS.",
            search_aliases=["vae decode audio", "decode", "latent to audio"],
            inputs=[
                VocoderSocket.Input("vocoder", tooltip="Of the family that made the latents."),
                io.Latent.Input("latent", tooltip="The latent of the last stage, or the x0 of any stage."),
                ReferenceSocket.Input(
                    "reference",
                    optional=True,
                    tooltip="For a continuation: the clip's own samples replace the decoded ones at the beginning.",
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
            if latents.t:
                messages.note((f"the latent is at t = {latents.t:.4g}, half made: {TO_FINISH}",), cls.hidden.unique_id)
            wave = finished(decode(vocoder, latents.samples, cls.hidden.unique_id), latents.seconds, reference)
        return io.NodeOutput(to_audio(wave, latents.seeds, latents.models), ui=notes.ui)
