"""Ours against diffusers: a step of a transformer, a step of training, a pass of the vocoder. Songs: see songs.py.

Each function builds one side, OURS or THEIRS, of the same computation.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ..audio.waveform import Waveform
from ..models.condition import Condition
from ..models.cuda_graph import with_cuda_graph
from ..models.velocity import prepare
from ..models.vocoder import Vocoder
from ..spec import PUBLISHED_LATENTS
from . import published
from .contender import OURS, Run

CONDITION_TOKENS = 320  # lyrics, timbre and text of an ordinary song
T = 0.5  # diffusers rounds 1000 T to bfloat16, which changes nothing at this value
SETTLED_AFTER = 3  # forward passes; a GPU may record the last one as a CUDA graph


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


@torch.inference_mode(False)
def learn_together(
    width: str, layers: int | None, crops: int, seconds: float, device: torch.device, dtype: torch.dtype, *, side: str
) -> Run:
    """The gradients of a LoRA on several crops whose texts differ in length -> their losses [crops].

    Ours is one forward pass; THEIRS, by this library too, one for each crop.
    """
    from ..training.lora import adapted
    from ..training.objective import BatchVelocity, flow_loss
    from ..training.settings import LoraSettings

    network = adapted(published.transformer(width, layers, device, dtype), LoraSettings())
    drawn = Drawn.of(network, seconds, device, dtype)
    noise = torch.randn(crops, *drawn.latents.shape[1:], generator=torch.Generator().manual_seed(published.SEED))
    music, noise = 0.5 * noise.flip(0).to(device), noise.to(device)
    whole, t = drawn.condition, torch.linspace(0.2, 0.8, crops, device=device)
    conditions = [replace(whole, states=whole.states[:, : CONDITION_TOKENS - 40 * i]) for i in range(crops)]
    size = crops if side == OURS else 1

    def losses(at: int) -> torch.Tensor:
        part = slice(at, at + size)
        loss = flow_loss(BatchVelocity(network, conditions[part], dtype), music[part], noise[part], t[part])
        (loss.sum() / crops).backward()
        return loss.detach()

    def run() -> torch.Tensor:
        network.zero_grad()
        with torch.inference_mode(False), torch.enable_grad():
            return torch.cat([losses(at) for at in range(0, crops, size)])

    return run


@torch.inference_mode(False)
def learn_step(
    width: str,
    layers: int | None,
    rank: int,
    crops: int,
    seconds: float,
    device: torch.device,
    dtype: torch.dtype,
    *,
    side: str,
) -> Run:
    """A step of training a LoRA on several crops in one pass, by AdamW -> its loss [1]. Ours is recorded on a GPU."""
    from ..training.lora import adapted
    from ..training.optimisers import make_optimiser
    from ..training.settings import LoraSettings

    settings = LoraSettings(rank=rank)
    network = adapted(published.transformer(width, layers, device, dtype), settings)
    drawn = Drawn.of(network, seconds, device, dtype)
    optimiser = make_optimiser(settings, [part for part in network.parameters() if part.requires_grad])
    add = (_ours_recorded if side == OURS else _theirs_together)(network, drawn, crops, dtype)

    def run() -> torch.Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            loss = add()
        optimiser.step()
        optimiser.zero_grad(set_to_none=side != OURS)
        return loss.reshape(1)

    return run


def _ours_recorded(network, drawn: Drawn, crops: int, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    """A function that adds the gradients of `crops` crops -> the loss; it is recorded where it can be."""
    from ..training.crops import Crops
    from ..training.objective import padded_pass
    from ..training.recorded_passes import RecordedPasses, graphs_for

    music, noise, t = _several(drawn, crops)
    states, context = (part.repeat(crops, 1, 1) for part in (drawn.states, drawn.condition.context))
    mask = torch.zeros(crops, 1, 1, CONDITION_TOKENS, device=music.device, dtype=dtype)
    batch = Crops(music, noise, t, states, mask, context)

    def prepare(batch: Crops) -> Callable[[], torch.Tensor]:
        return padded_pass(network, batch, dtype, crops)

    graphs = graphs_for(music.device, network)
    if graphs is None:
        return prepare(batch)
    passes = RecordedPasses(network, prepare, lambda _: 0.0, graphs)
    for _ in range(SETTLED_AFTER):
        passes.add(batch)
    network.zero_grad()
    return lambda: passes.add(batch)


def _theirs_together(network, drawn: Drawn, crops: int, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    """The same by diffusers' own forward pass."""
    from ..training.objective import flow_loss

    music, noise, t = _several(drawn, crops)
    several = Drawn(music, drawn.states.repeat(crops, 1, 1), drawn.rows.repeat(crops, 1, 1), t.to(dtype))

    def add() -> torch.Tensor:
        loss = flow_loss(lambda x, _: several.theirs(network, x.to(dtype)), music, noise, t).sum() / crops
        loss.backward()
        return loss.detach()

    return add


def _several(drawn: Drawn, crops: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Music and noise [crops, C, T], and their flow times."""
    made = torch.Generator().manual_seed(published.SEED)
    noise = torch.randn(crops, *drawn.latents.shape[1:], generator=made).to(drawn.latents.device)
    return 0.5 * noise.flip(0), noise, torch.full((crops,), T, device=noise.device)


def decode(seconds: float, device: torch.device, dtype: torch.dtype, their_dtype: torch.dtype, *, side: str) -> Run:
    """One decode, [1, C, T] -> [1, 2, N]."""
    vae = published.vae(device, dtype if side == OURS else their_dtype)
    shape = (1, PUBLISHED_LATENTS.channels, PUBLISHED_LATENTS.frames(seconds))
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(published.SEED)).to(device, vae.dtype)
    if side != OURS:
        return lambda: vae.decode(latents).sample.float().cpu()
    vocoder = Vocoder(vae)
    return lambda: vocoder.decode(latents).samples


def encode(seconds: float, device: torch.device, dtype: torch.dtype, *, side: str) -> Run:
    """The vocoder's encoder, [1, 2, N] -> [1, C, T]: what an edit does first with its source."""
    vae, wave = published.vae(device, dtype), published.music(seconds)
    if side != OURS:
        return lambda: vae.encode(wave.to(device, dtype)).latent_dist.mode()
    vocoder = Vocoder(vae)
    return lambda: vocoder.encode(Waveform(wave, PUBLISHED_LATENTS.sample_rate_hz))
