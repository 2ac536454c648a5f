"""Trains a tiny stage transformer, L, M or S, with its condition encoder, by flow matching.

x_t = t·noise + (1−t)·music, the network predicts v = noise − music (model: `[B, T, C]` inside, `[B, C, T]` outside).
Every slot is trained at all t, and more often at its own, so that each can also run alone. Some items have the null
condition (for guidance), some a timbre reference by the same band, some a beginning to continue.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..band import Sketch
from ..models.condition import encode_timbre
from ..system.torchaudio_import import settle_torchaudio
from .attention_backward import LeanForward
from .checkpointing import load_state, save_state, warm_then_cool
from .latents import WORLD, Library
from .vocoder import CONFIG as VOCODER
from .vocoder import SAMPLES_PER_FRAME

settle_torchaudio()

CHANNELS = VOCODER["decoder_input_channels"]
FRAMES_PER_SECOND = VOCODER["sampling_rate"] // SAMPLES_PER_FRAME
TIMBRE_FRAMES = 600  # three pieces of one second
NULL_SHARE, TIMBRE_SHARE, CONTINUE_SHARE = 0.12, 0.3, 0.2
# seconds of a crop → items of a batch, for a slot of one batch unit; drawn with these weights
CROPS = ((6.0, 32, 0.2), (10.0, 20, 0.4), (16.0, 12, 0.3), (30.0, 6, 0.1))
# Halfway through its layers a network predicts which notes sound: harmony is a small part of the loss, and learned late
# otherwise. (Representation alignment, arXiv:2410.06940, with the score in place of a pretrained encoder.)
NOTES, NOTES_WEIGHT = 24, 0.3
EMA = 0.998
SAVE_EVERY_STEPS = 100


@dataclass(frozen=True)
class Slot:
    """Geometry of one stage model, the flow times that it is trained at most, and how it is trained."""

    name: str
    family: str
    stretch: tuple[float, float]
    transformer: dict
    encoder: dict
    steps: int
    learning_rate: float = 2e-3
    batch_scale: float = field(default=1.0)


def _geometry(hidden, inter, layers, heads, kv_heads, patch, encoder_hidden=None) -> dict:
    return dict(
        hidden_size=hidden,
        intermediate_size=inter,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=64,
        in_channels=3 * CHANNELS,
        audio_acoustic_hidden_dim=CHANNELS,
        patch_size=patch,
        rope_theta=10_000.0,
        sliding_window=32,
        encoder_hidden_size=encoder_hidden,
    )


def _encoder(hidden, inter, heads) -> dict:
    return dict(
        hidden_size=hidden,
        intermediate_size=inter,
        text_hidden_dim=128,
        timbre_hidden_dim=CHANNELS,
        num_lyric_encoder_hidden_layers=1,
        num_timbre_encoder_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=1,
        head_dim=64,
        rope_theta=10_000.0,
        sliding_window=64,
    )


SLOTS = {
    "l": Slot("l", "xl", (0.75, 1.0), _geometry(256, 704, 8, 6, 2, 16, 128), _encoder(128, 320, 2), 6_000, 1.5e-3),
    "m": Slot("m", "2b", (0.1, 0.5), _geometry(192, 512, 6, 3, 1, 16), _encoder(192, 384, 3), 4_000),
    "s": Slot("s", "2b", (0.0, 0.3), _geometry(128, 384, 5, 2, 1, 8), _encoder(128, 320, 2), 4_000, 2e-3, 0.8),
}


def new_networks(slot: Slot):
    """Transformer and condition encoder of a slot, freshly initialised; the last layer starts at zero."""
    from diffusers import AceStepTransformer1DModel
    from diffusers.pipelines.ace_step import AceStepConditionEncoder

    torch.manual_seed(sum(map(ord, slot.name)))
    transformer = AceStepTransformer1DModel(**slot.transformer)
    encoder = AceStepConditionEncoder(**slot.encoder)
    encoder.silence_latent = torch.zeros(1, 1, CHANNELS)
    torch.nn.init.zeros_(transformer.proj_out_conv.weight)
    torch.nn.init.normal_(encoder.null_condition_emb, std=0.02)
    return transformer, encoder


def silent(silence: torch.Tensor, frames: int) -> torch.Tensor:
    """Silence [1, C, N] at any length, its last frame repeated, as in a stage model at inference."""
    more = frames - silence.shape[-1]
    return silence[..., :frames] if more <= 0 else torch.cat([silence, silence[..., -1:].expand(-1, -1, more)], -1)


class Networks(torch.nn.Module):
    """The networks that are trained together for one slot."""

    def __init__(self, slot: Slot):
        super().__init__()
        self.timbre_token = slot.family == "xl"
        self.transformer, self.encoder = new_networks(slot)
        self.lean = LeanForward(self.transformer)
        self.notes = torch.nn.Linear(slot.transformer["hidden_size"], NOTES)

    def forward(self, x_t, t, context, text, lyrics, timbre, chosen, dropped):
        """Velocity [B, C, T], and logits [B, N, 24] of each note. `text` [B, L, D], `lyrics` [1, Ll, D]
        of all items, `timbre` [K, C, F] clips and `chosen` [B] which of them is an item's; `dropped` [B] bool: the null
        condition.
        """
        words = torch.ones(lyrics.shape[:2], dtype=torch.bool, device=text.device)
        sung = self.encoder.lyric_encoder(inputs_embeds=lyrics, attention_mask=words).expand(len(text), -1, -1)
        # Most items have silence as their timbre: it is encoded once for all of them.
        colour = encode_timbre(self.encoder.timbre_encoder, timbre, self.timbre_token)[chosen][:, None]
        states = torch.cat([sung, colour, self.encoder.text_projector(text)], 1)
        states = torch.where(dropped[:, None, None], self.encoder.null_condition_emb.to(states.dtype), states)
        velocity, halfway = self.lean(x_t, t, states, context)
        return velocity, self.notes(halfway.float())


def optimisers(networks: Networks, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for everything else."""
    matrices, rest = [], []
    for name, parameter in networks.named_parameters():
        inside = ".layers." in name and parameter.ndim == 2
        (matrices if inside else rest).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=learning_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


class Trainer:
    """One slot's training; `<slot>.pt` in `folder` holds everything needed to resume it."""

    def __init__(self, slot: Slot, folder: Path, library: Library, text_model, silence, steps=None, device="cpu"):
        self.slot, self.library, self.text_model, self.device = slot, library, text_model.to(device), device
        self.silence = silence.to(device)  # [1, C, N]
        self.path, self.steps = folder / f"{slot.name}.pt", steps or slot.steps
        self.networks = Networks(slot).to(device)
        self.average = Networks(slot).to(device).requires_grad_(False)
        self.average.load_state_dict(self.networks.state_dict())
        self.optimisers = optimisers(self.networks, slot.learning_rate)
        self.step = 0
        self._resume()

    def _resume(self) -> None:
        state = load_state(self.path)
        if state:
            self.networks.load_state_dict(state["networks"])
            self.average.load_state_dict(state["average"])
            for optimiser, saved in zip(self.optimisers, state["optimisers"] or ()):  # none after a warm start
                optimiser.load_state_dict(saved)
            self.step = state["step"]

    def save(self) -> None:
        save_state(
            self.path,
            networks=self.networks.state_dict(),
            average=self.average.state_dict(),
            optimisers=[optimiser.state_dict() for optimiser in self.optimisers],
            step=self.step,
        )

    def batch(self) -> dict[str, torch.Tensor]:
        """The tensors of one step, all random numbers from the step's own seed."""
        rng = np.random.default_rng([8, ord(self.slot.name[0]), self.step])
        seconds, size, _ = CROPS[rng.choice(len(CROPS), p=[weight for _, _, weight in CROPS])]
        size = max(4, round(size * self.slot.batch_scale))
        seeds, ids = self.library.draw(rng, size, seconds)
        frames = int(seconds * FRAMES_PER_SECOND)
        starts = [self._start(rng, seed, frames) for seed in seeds]
        music = [self.library.latents[seed][:, start : start + frames] for seed, start in zip(seeds, starts)]
        notes = [self._notes(seed, start, frames) for seed, start in zip(seeds, starts)]
        pieces, chosen = [silent(self.silence, TIMBRE_FRAMES)[0].cpu()], []
        for seed in seeds:
            clip = self._timbre(rng, seed)
            chosen.append(0 if clip is None else len(pieces))
            pieces += [] if clip is None else [clip]
        window = torch.stack([self._window(rng, frames) for _ in seeds])
        low, high = self.slot.stretch
        everywhere, own = rng.random(size), rng.uniform(low, high, size)
        t = np.where(rng.random(size) < 0.4, everywhere, own)
        return {
            "music": torch.stack(music).float().to(self.device),
            "notes": torch.stack(notes).to(self.device),
            "timbre": torch.stack(pieces).to(self.device),
            "chosen": torch.tensor(chosen, device=self.device),
            "window": window.to(self.device),
            "t": torch.tensor(t, dtype=torch.float32, device=self.device),
            "dropped": torch.tensor(rng.random(size) < NULL_SHARE, device=self.device),
            "ids": ids.to(self.device),
        }

    def _start(self, rng, seed: int, frames: int) -> int:
        """First frame of a crop: that of the song, or of a round of its four chords."""
        sketch = Sketch.draw(seed, world=WORLD)
        round_frames = 4 * sketch.beats_per_bar * sketch.seconds_per_beat * FRAMES_PER_SECOND
        rounds = int((self.library.latents[seed].shape[1] - frames) // round_frames)
        return round(rng.integers(0, rounds + 1) * round_frames) if rounds > 0 and rng.random() < 0.5 else 0

    def _notes(self, seed: int, start: int, frames: int) -> torch.Tensor:
        """[N, 24], 1 where a note sounds in the middle of the network's token."""
        patch = self.slot.transformer["patch_size"]
        middles = start + patch // 2 + patch * torch.arange(-(-frames // patch))
        sounding = self.library.notes(seed)
        return sounding[:, middles.clamp(max=sounding.shape[1] - 1)].T.float()

    def _timbre(self, rng, seed: int) -> torch.Tensor | None:
        if rng.random() >= TIMBRE_SHARE:
            return None
        latents, piece = self.library.latents[seed], TIMBRE_FRAMES // 3
        starts = rng.integers(0, latents.shape[1] - piece, 3)
        return torch.cat([latents[:, start : start + piece] for start in starts], 1).float()

    def _window(self, rng, frames: int) -> torch.Tensor:
        """[1, T], 1 for frames of new music: all frames, or those after a beginning that is kept."""
        window = torch.ones(1, frames)
        if rng.random() < CONTINUE_SHARE:
            window[:, : int(frames * rng.uniform(0.2, 0.7))] = 0
        return window

    def loss(self) -> dict[str, torch.Tensor]:
        batch = self.batch()
        torch.manual_seed(self.step)
        music, t, window = batch["music"], batch["t"], batch["window"]
        noise = torch.randn(music.shape).to(self.device)
        x_t = t[:, None, None] * noise + (1 - t[:, None, None]) * music
        source = torch.where(window.bool(), silent(self.silence, music.shape[-1]), music)
        context = torch.cat([source, window.expand_as(music)], 1)
        with torch.no_grad():
            text = self.text_model(input_ids=batch["ids"], use_cache=False).last_hidden_state
            lyrics = self.text_model.get_input_embeddings()(self.library.lyrics.to(self.device))[None]
        made, notes = self.networks(x_t, t, context, text, lyrics, batch["timbre"], batch["chosen"], batch["dropped"])
        note_loss = F.binary_cross_entropy_with_logits(notes, batch["notes"])
        return {"flow": F.mse_loss(made, noise - music), "notes": NOTES_WEIGHT * note_loss}

    def run(self):
        """Yields (step, parts of the loss, seconds) after every step."""
        while self.step < self.steps:
            started = time.perf_counter()
            share = warm_then_cool(self.step, self.steps, warm=150, cool=0.4)
            for optimiser in self.optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = self.slot.learning_rate * share
            parts = self.loss()
            self.networks.zero_grad(set_to_none=True)
            sum(parts.values()).backward()
            torch.nn.utils.clip_grad_norm_(self.networks.parameters(), 1.0)
            for optimiser in self.optimisers:
                optimiser.step()
            self._follow()
            self.step += 1
            if self.step % SAVE_EVERY_STEPS == 0 or self.step == self.steps:
                self.save()
            yield self.step, {k: float(v.detach()) for k, v in parts.items()}, time.perf_counter() - started

    def _follow(self) -> None:
        """Updates the moving average of the weights, which is shipped; its first steps fade quickly."""
        keep = min(EMA, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.networks.parameters()):
                mean.lerp_(now, 1 - keep)
