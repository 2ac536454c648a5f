"""ComfyUI's LATENT with its flow time, and the nodes that make one: Empty Latent and Encode Audio.

Half-made music carries its time behind its samples (latent_stamp.py). Beside the `samples` [B, C, T] lies a stamp of
all items: the song's seconds, each item's seed and hash, and the models. Other nodes copy keys that they do not know
and change the samples: an item that no longer has its hash counts as finished music.
"""

import hashlib
from dataclasses import asdict, dataclass

import torch
from comfy_api.latest import io

from ..acestep_core.audio.waveform import Waveform
from ..acestep_core.editing.edited_song import EditedSong
from ..acestep_core.errors import UserError
from ..acestep_core.flow.song_run import RunState
from .host import devices, messages
from .latent_stamp import ItemStamp, read_stamp, stamped
from .sound import waveform_of
from .types import SongSocket, VocoderHandle, VocoderSocket

STAMP = "acestep"


@dataclass(frozen=True)
class Latents:
    """Latents [B, C, T] float32 at flow time `t`; None where they are finished, or empty: all zero. `run`: how far the
    run of an edit is.
    """

    samples: torch.Tensor
    t: float | None = None
    seconds: float | None = None
    seeds: tuple[int, ...] = ()
    models: tuple[str, ...] = ()
    run: RunState | None = None

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
    run: RunState | None = None


def to_latent(latents: Latents) -> dict:
    """ComfyUI's LATENT."""
    samples = latents.samples.detach().float().cpu()
    if latents.t:
        seeds = latents.seeds or (None,) * len(samples)
        stamps = [ItemStamp(latents.t, latents.seconds, seed, latents.run) for seed in seeds]
        samples = torch.stack([stamped(item, stamp) for item, stamp in zip(samples, stamps, strict=True)])
    hashes = tuple(map(_hash, samples))
    stamp = _Stamp(latents.t, latents.seconds, latents.seeds, latents.models, hashes, latents.run)
    return {"samples": samples, "type": "audio", STAMP: asdict(stamp)}


def of_latent(latent: dict) -> Latents:
    """The Latents of a LATENT. Raises UserError for latents of pictures, and for half-made music that was changed."""
    samples = latent["samples"]
    if samples.ndim != 3:
        raise UserError(
            f"latent: got shape {list(samples.shape)}, expected [batch, channels, frames] of music; "
            "make one with ACE-Step's Empty Latent"
        )
    samples, stamp = samples.float().cpu(), latent.get(STAMP)
    times = [read_stamp(item) for item in samples]
    if any(times):
        return _half_made(samples, times, tuple((stamp or {}).get("models", ())))
    return _finished(samples, stamp) if stamp else Latents(samples)


def _half_made(samples: torch.Tensor, stamps: list[ItemStamp | None], models: tuple[str, ...]) -> Latents:
    """Items of one time, whichever stages they come from. Raises UserError for items of several times."""
    times = {stamp and stamp.t for stamp in stamps}
    if len(times) > 1:
        shown = ", ".join("finished" if t is None else f"t = {t:.4g}" for t in sorted(times, key=lambda t: t or 0))
        raise UserError(f"latent: got a batch of several times ({shown}), expected one; batch latents of one stage")
    runs = {stamp.run for stamp in stamps}
    if len(runs) > 1:
        raise UserError("latent: got a batch of several edits, or of edits and songs, expected those of one node")
    seconds, seeds = {stamp.seconds for stamp in stamps}, tuple(stamp.seed for stamp in stamps)
    music, longest = samples[..., : -stamps[0].frames(samples.shape[1])], max(seconds, key=lambda s: s or 0)
    return Latents(music, times.pop(), longest, () if None in seeds else seeds, models, runs.pop())


def _finished(samples: torch.Tensor, stamp: dict) -> Latents:
    places = {one: place for place, one in enumerate(stamp["hashes"])}
    items = [places.get(_hash(item)) for item in samples]
    if stamp["t"]:
        raise UserError(
            f"latent: got half-made music (t = {stamp['t']:.4g}) that another node changed, and no stage can go on "
            "from it; connect the stages to each other, and change finished music: the last stage's latent, or x0"
        )
    if None in items:
        return Latents(samples)
    seeds = tuple(stamp["seeds"][item] for item in items) if stamp["seeds"] else ()
    run = stamp.get("run") and RunState(**stamp["run"])
    return Latents(samples, stamp["t"], stamp["seconds"], seeds, stamp["models"], run)


def _hash(item: torch.Tensor) -> str:
    return hashlib.blake2b(item.contiguous().numpy().tobytes(), digest_size=16).hexdigest()


def check_is_no_edit(song: object) -> None:
    """Raises UserError for the song of an edit, whose latent has a length of its own."""
    if isinstance(song, EditedSong):
        raise UserError(
            f"song: got that of an edit ({song.edit.task}); connect `latent` of the editing node to the first stage, "
            "in place of Empty Latent"
        )


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
                VocoderSocket.Input("vocoder", tooltip="It sets the channels and the frames a second of the latents."),
                SongSocket.Input("song", tooltip="It sets the length."),
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
        check_is_no_edit(song)
        spec = vocoder.vocoder.latents
        empty = torch.zeros(batch_size, spec.channels, spec.frames(song.seconds))
        return io.NodeOutput(to_latent(Latents(empty, seconds=song.seconds)))


def encode(handle: VocoderHandle, wave: Waveform, node_id: str) -> torch.Tensor:
    """Latents [1, C, T] of a waveform."""
    handle.network.load(handle.activation_bytes)
    return handle.vocoder.encode(wave, report=messages.report_seconds(node_id, wave.seconds))


class EncodeAudio(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepEncodeAudio",
            display_name="Encode Audio",
            category="ACE-Step/latent",
            description="Encodes any music to finished latents, which a stage can refine from a chosen flow time.",
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
