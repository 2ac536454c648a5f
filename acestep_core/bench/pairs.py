"""Ours against diffusers: a step of a transformer, a decode of the vocoder, a whole song of its pipeline.

Each function builds one side, OURS or THEIRS, of the same computation.
"""

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..checkpoints.variants import VARIANTS
from ..generation.cascade import Cascade
from ..models.condition import Condition
from ..models.cuda_graph import with_cuda_graph
from ..models.stage_model import StageModel
from ..models.text_encoder import TextEncoder
from ..models.velocity import prepare
from ..models.vocoder import Vocoder
from ..song import Song
from ..spec import PUBLISHED_LATENTS
from . import published
from .contender import OURS, Run

CONDITION_TOKENS = 320  # lyrics, timbre and text of an ordinary song
T = 0.5  # diffusers rounds 1000 T to bfloat16, which changes nothing at this value
STEPS = {1: (8,), 2: (5, 3), 3: (3, 3, 2)}  # number of stages -> steps of each
SETTLED_AFTER = 3  # forward passes; a GPU may record the last one as a CUDA graph
WHOLE_SECONDS = 60.0  # above it diffusers decodes in tiles; untiled it takes half a gigabyte for each second


@dataclass(frozen=True)
class Drawn:
    """The inputs of a step: latents [1, C, T], condition states [1, CONDITION_TOKENS, D], context [1, T, 2C]."""

    latents: torch.Tensor
    states: torch.Tensor
    rows: torch.Tensor
    t: torch.Tensor

    @classmethod
    def of(cls, transformer, seconds: float, device: torch.device, dtype: torch.dtype) -> "Drawn":
        frames, channels = PUBLISHED_LATENTS.frames(seconds), PUBLISHED_LATENTS.channels
        made = torch.Generator().manual_seed(published.SEED)
        width = transformer.config.encoder_hidden_size or transformer.config.hidden_size
        states = torch.randn(1, CONDITION_TOKENS, width, generator=made).to(device, dtype)
        latents = torch.randn(1, channels, frames, generator=made).to(device)
        rows = torch.randn(1, frames, 2 * channels, generator=made).to(device, dtype)
        return cls(latents, states, rows, torch.full((1,), T, device=device, dtype=dtype))

    def ours(self, transformer) -> Run:
        """A step of ours with it, as one of many."""
        velocity = with_cuda_graph(prepare(transformer, self.condition), sys.maxsize)
        for _ in range(SETTLED_AFTER if self.latents.is_cuda else 0):
            velocity(self.latents, T)
        return lambda: velocity(self.latents, T)

    @property
    def condition(self) -> Condition:
        return Condition(self.states, self.states[:, :1], self.rows.transpose(1, 2))

    def theirs(self, network, latents: torch.Tensor) -> torch.Tensor:
        """The velocity that diffusers' transformer gives of latents."""
        return network(
            hidden_states=latents.transpose(1, 2),
            timestep=self.t,
            timestep_r=self.t,
            encoder_hidden_states=self.states,
            context_latents=self.rows,
            return_dict=False,
        )[0].transpose(1, 2)


def step(width: str, layers: int | None, seconds: float, device: torch.device, dtype: torch.dtype, *, side: str) -> Run:
    """One step, [1, C, T] -> [1, C, T]."""
    transformer = published.transformer(width, layers, device, dtype)
    drawn = Drawn.of(transformer, seconds, device, dtype)
    return drawn.ours(transformer) if side == OURS else lambda: drawn.theirs(transformer, drawn.latents.to(dtype))


@torch.inference_mode(False)
def learn(
    width: str, layers: int | None, seconds: float, device: torch.device, dtype: torch.dtype, *, side: str
) -> Run:
    """One step of training a LoRA on one crop, by AdamW -> its loss [1]."""
    from ..training.lora import adapted
    from ..training.objective import TrainableVelocity, flow_loss
    from ..training.settings import LoraSettings

    network = adapted(published.transformer(width, layers, device, dtype), LoraSettings())
    drawn = Drawn.of(network, seconds, device, dtype)
    noise, t = torch.randn_like(drawn.latents), torch.full((1,), T, device=device)
    optimiser = torch.optim.AdamW([part for part in network.parameters() if part.requires_grad], lr=1e-4)

    def velocity(latents: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        if side == OURS:
            return TrainableVelocity(network, drawn.condition, dtype)(latents, t)
        return drawn.theirs(network, latents.to(dtype))

    def run() -> torch.Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            loss = flow_loss(velocity, drawn.latents, noise, t)
            loss.mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss.detach()

    return run


def decode(seconds: float, device: torch.device, dtype: torch.dtype, their_dtype: torch.dtype, *, side: str) -> Run:
    """One decode, [1, C, T] -> [1, 2, N]."""
    vae = published.vae(device, dtype if side == OURS else their_dtype)
    shape = (1, PUBLISHED_LATENTS.channels, PUBLISHED_LATENTS.frames(seconds))
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(published.SEED)).to(device, vae.dtype)
    if side != OURS:
        return lambda: vae.decode(latents).sample.float().cpu()
    vocoder = Vocoder(vae)
    return lambda: vocoder.decode(latents).samples


def song(
    widths: tuple[str, ...],
    seconds: float,
    layers: int | None,
    device: torch.device,
    dtype: torch.dtype,
    changed: bool = True,
    *,
    side: str,
) -> Run:
    """A whole song, [1, 2, N]: text, condition, eight steps, vocoder. Their side always runs the 2B alone.

    `changed`: each song has a new caption; otherwise it has only a new seed. The embedded tokenizer takes the place
    of the published one, which cannot be had without a download; it is the same for both.
    """
    from ..checkpoints.load import load_text_encoder
    from ..checkpoints.locate import TINY_FOLDER

    tokenizer = load_text_encoder(TINY_FOLDER / "text_encoder").tokenizer
    networks = (
        published.text_encoder(layers, len(tokenizer), device, dtype),
        published.condition_encoder(device, dtype),
        published.vae(device, dtype),
    )
    numbers = itertools.count()

    def request() -> tuple[str, int]:
        number = next(numbers)
        return f"calm piano and strings, take {number if changed else 0}", number

    if side == OURS:
        transformers = [(width, published.transformer(width, layers, device, dtype)) for width in widths]
        return _our_song(transformers, tokenizer, *networks, seconds, request)
    return _their_song(published.transformer("2B", layers, device, dtype), tokenizer, *networks, seconds, request)


Request = Callable[[], tuple[str, int]]  # the next song's caption and seed


def _our_song(transformers: Sequence[tuple], tokenizer, qwen, encoder, vae, seconds: float, request: Request) -> Run:
    silence = torch.zeros(1, PUBLISHED_LATENTS.channels, 1)
    models = [
        StageModel(width, network, encoder, silence, width.lower(), VARIANTS["turbo"], PUBLISHED_LATENTS.channels)
        for width, network in transformers
    ]
    cascade = Cascade(models, TextEncoder(qwen, tokenizer), Vocoder(vae))

    def run() -> torch.Tensor:
        caption, seed = request()
        return cascade.generate(Song(caption, seconds=seconds), seed=seed, steps=STEPS[len(models)]).samples

    return run


def _their_song(transformer, tokenizer, qwen, encoder, vae, seconds: float, request: Request) -> Run:
    pipeline = _pipeline(vae, qwen, tokenizer, transformer, encoder)
    if seconds > WHOLE_SECONDS:
        vae.enable_tiling()

    def run() -> torch.Tensor:
        caption, seed = request()
        made = pipeline(
            caption,
            lyrics="[Instrumental]",
            audio_duration=seconds,
            num_inference_steps=sum(STEPS[1]),
            guidance_scale=1.0,
            generator=torch.Generator().manual_seed(seed),
        )
        return made.audios.float().cpu()

    return run


def _pipeline(vae, qwen, tokenizer, transformer, encoder):
    from diffusers import AceStepPipeline, FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0)
    pipeline = AceStepPipeline(vae, qwen, tokenizer, transformer, encoder, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
