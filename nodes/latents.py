"""ComfyUI's LATENT with the time it is at: an empty one to begin with, or music as it is.

Beside `samples` [B, C, T] our stages leave a stamp: the flow time, the seconds asked for, and of each item its seed and
a hash. Other nodes copy keys that they do not know and change the samples. Items that they choose, repeat or put in
another order are still what the stamp says; of changed ones it says nothing: such a latent is finished music.
"""

import hashlib
from dataclasses import asdict, dataclass

import torch
from comfy_api.latest import io

from ..acestep_core.audio.waveform import Waveform
from ..acestep_core.errors import UserError
from .host import devices, messages
from .sound import waveform_of
from .types import SongSocket, VocoderHandle, VocoderSocket

STAMP = "acestep"


@dataclass(frozen=True)
class Latents:
    """Latents [B, C, T] float32 at flow time `t`; None where they are finished, or empty: all zero."""

    samples: torch.Tensor
    t: float | None = None
    seconds: float | None = None
    seeds: tuple[int, ...] = ()
    models: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return self.t is None and not bool(self.samples.any())

    @property
    def finished(self) -> bool:
        return self.t is None and not self.empty


@dataclass(frozen=True)
class _Stamp:
    t: float | None
    seconds: float | None
    seeds: tuple[int, ...]
    models: tuple[str, ...]
    hashes: tuple[str, ...]  # one an item


def to_latent(latents: Latents) -> dict:
    """ComfyUI's LATENT."""
    samples = latents.samples.detach().float().cpu()
    stamp = _Stamp(latents.t, latents.seconds, latents.seeds, latents.models, tuple(map(_hash, samples)))
    return {"samples": samples, "type": "audio", STAMP: asdict(stamp)}


def of_latent(latent: dict) -> Latents:
    """What a LATENT holds. Raises UserError for latents of pictures, and for half made music that was changed."""
    samples = latent["samples"]
    if samples.ndim != 3:
        raise UserError(
            f"latent: got shape {list(samples.shape)}, expected [batch, channels, frames] of music; "
            "make one with ACE-Step's Empty Latent"
        )
    samples, stamp = samples.float().cpu(), latent.get(STAMP)
    if not stamp:
        return Latents(samples)
    places = {one: place for place, one in enumerate(stamp["hashes"])}
    items = [places.get(_hash(item)) for item in samples]
    if None in items:
        if stamp["t"]:
            raise UserError(
                f"latent: got half made music (t = {stamp['t']:.4g}) that another node changed, and no stage can go on "
                "from it; connect the stages to each other, and change finished music: the last stage's latent, or x0"
            )
        return Latents(samples)
    seeds = tuple(stamp["seeds"][item] for item in items) if stamp["seeds"] else ()
    return Latents(samples, stamp["t"], stamp["seconds"], seeds, stamp["models"])


def _hash(item: torch.Tensor) -> str:
    return hashlib.blake2b(item.contiguous().numpy().tobytes(), digest_size=16).hexdigest()


class EmptyLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepEmptyLatent",
            display_name="Empty Latent",
            category="ACE-Step/latent",
            description="Latents of a song's length for a stage to begin with; the stage's seed fills them with noise.",
            search_aliases=["empty latent audio", "batch", "length"],
            inputs=[
                VocoderSocket.Input("vocoder", tooltip="Tells how many frames and channels a second of music has."),
                SongSocket.Input("song", tooltip="Tells the length."),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="How many songs at once; song i is made from seed + i. 1 is one song.",
                ),
            ],
            outputs=[io.Latent.Output("latent", display_name="latent", tooltip="For the first stage.")],
        )

    @classmethod
    def execute(cls, vocoder: VocoderHandle, song, batch_size) -> io.NodeOutput:
        if batch_size < 1:
            raise UserError(f"batch_size: got {batch_size}, expected at least 1")
        spec = vocoder.vocoder.latents
        empty = torch.zeros(batch_size, spec.channels, spec.frames(song.seconds))
        return io.NodeOutput(to_latent(Latents(empty, seconds=song.seconds)))


def encode(handle: VocoderHandle, wave: Waveform, node_id: str) -> torch.Tensor:
    """Latents [1, C, T] of a waveform."""
    handle.network.load(handle.activation_bytes)
    return handle.vocoder.encode(wave, tell=messages.report_seconds(node_id, wave.seconds))


class EncodeAudio(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepEncodeAudio",
            display_name="Encode Audio",
            category="ACE-Step/latent",
            description="Any music as finished latents, for a stage to make anew from a time on.",
            search_aliases=["vae encode audio", "refine", "audio to audio", "img2img"],
            inputs=[
                VocoderSocket.Input("vocoder", tooltip="Of the same family as the models."),
                io.Audio.Input("audio", tooltip="Any length, rate and channel count."),
            ],
            outputs=[io.Latent.Output("latent", display_name="latent", tooltip="Finished music (t = 0), for a stage.")],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, vocoder: VocoderHandle, audio) -> io.NodeOutput:
        wave = waveform_of(audio)
        with messages.notes_on(cls.hidden.unique_id) as notes:
            samples = devices.NodeOomFallback().with_fallback(lambda: encode(vocoder, wave, cls.hidden.unique_id))
        return io.NodeOutput(to_latent(Latents(samples, seconds=wave.seconds)), ui=notes.ui)
