"""Ours against diffusers: a step of a transformer, a decode of the vocoder, a whole song of its pipeline."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..checkpoints.load import StageModel
from ..checkpoints.variants import VARIANTS
from ..condition import Condition
from ..generate import Cascade
from ..song import Song
from ..spec import PUBLISHED_LATENTS
from ..text import TextEncoder
from ..transformer import prepare
from ..vocoder import Vocoder
from . import published

CONDITION_TOKENS = 320  # lyrics, timbre and text of an ordinary song
T = 0.75
STEPS = 8

Side = Callable[[], torch.Tensor]


@dataclass(frozen=True)
class Drawn:
    """A step of ours, and what another side needs to make the same one: latents [1, C, T] and context [1, T, 2C]."""

    ours: Side
    latents: torch.Tensor
    states: torch.Tensor  # [1, CONDITION_TOKENS, D]
    rows: torch.Tensor
    t: torch.Tensor

    @classmethod
    def of(cls, transformer, seconds: float, device: torch.device, dtype: torch.dtype) -> "Drawn":
        frames, channels = PUBLISHED_LATENTS.frames(seconds), PUBLISHED_LATENTS.channels
        made = torch.Generator().manual_seed(published.SEED)
        width = transformer.config.encoder_hidden_size or transformer.config.hidden_size
        states = torch.randn(1, CONDITION_TOKENS, width, generator=made).to(device, dtype)
        latents = torch.randn(1, channels, frames, generator=made).to(device)
        context = torch.randn(1, 2 * channels, frames, generator=made).to(device, dtype)
        velocity = prepare(transformer, Condition(states, states[:, :1], context))
        t = torch.full((1,), T, device=device, dtype=dtype)
        return cls(lambda: velocity(latents, T), latents, states, context.transpose(1, 2).contiguous(), t)


def steps(transformer, seconds: float, device: torch.device, dtype: torch.dtype) -> tuple[Side, Side]:
    """One step of either side, [1, C, T] -> [1, C, T]."""
    drawn = Drawn.of(transformer, seconds, device, dtype)

    def theirs():
        return transformer(
            hidden_states=drawn.latents.transpose(1, 2).to(dtype),
            timestep=drawn.t,
            timestep_r=drawn.t,
            encoder_hidden_states=drawn.states,
            context_latents=drawn.rows,
            return_dict=False,
        )[0].transpose(1, 2)

    return drawn.ours, theirs


def decodes(
    seconds: float, device: torch.device, dtype: torch.dtype, their_dtype: torch.dtype | None = None
) -> tuple[Side, Side]:
    """One decode of either side, [1, C, T] -> [1, 2, N]."""
    vocoder = Vocoder(published.vae(device, dtype))
    vae = published.vae(device, their_dtype or dtype)
    frames = PUBLISHED_LATENTS.frames(seconds)
    latents = torch.randn(
        1, PUBLISHED_LATENTS.channels, frames, generator=torch.Generator().manual_seed(published.SEED)
    )
    mine, other = latents.to(device, dtype), latents.to(device, vae.dtype)
    return lambda: vocoder.decode(mine).samples, lambda: vae.decode(other).sample.float().cpu()


def songs(
    seconds: float, layers: int, device: torch.device, dtype: torch.dtype, changed: bool = True
) -> tuple[Side, Side]:
    """A whole song of either side, [1, 2, N]: text, condition, eight steps of the 2B width, vocoder.

    `changed`: every song has a caption of its own, else only a seed of its own. The text encoder has as few layers as
    the transformer and the embedded tokenizer, for neither can be had without a download; it is the same for both.
    """
    from diffusers import AceStepPipeline, FlowMatchEulerDiscreteScheduler

    from ..checkpoints import load_text_encoder
    from ..checkpoints.local import TINY_FOLDER

    tokenizer = load_text_encoder(TINY_FOLDER / "text_encoder").tokenizer
    transformer = published.transformer("2B", layers, device, dtype)
    encoder = published.condition_encoder(device, dtype)
    qwen = published.text_encoder(layers, len(tokenizer), device, dtype)
    vae = published.vae(device, dtype)
    silence = torch.zeros(1, PUBLISHED_LATENTS.channels, 1)
    model = StageModel("2B", transformer, encoder, silence, "2b", VARIANTS["turbo"], PUBLISHED_LATENTS.channels)
    cascade = Cascade([model], TextEncoder(qwen, tokenizer), Vocoder(vae))
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0)
    pipeline = AceStepPipeline(vae, qwen, tokenizer, transformer, encoder, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    mine, other = itertools.count(), itertools.count()

    def caption(number: int) -> str:
        return f"calm piano and strings, take {number if changed else 0}"

    def ours() -> torch.Tensor:
        number = next(mine)
        song = Song(caption=caption(number), seconds=seconds)
        return cascade.generate(song, seed=number, steps=STEPS).samples

    def theirs() -> torch.Tensor:
        number = next(other)
        made = pipeline(
            caption(number),
            lyrics="[Instrumental]",
            audio_duration=seconds,
            num_inference_steps=STEPS,
            guidance_scale=1.0,
            generator=torch.Generator().manual_seed(number),
        )
        return made.audios.float().cpu()

    return ours, theirs
