"""The family's own audio tokenizer: latents → codes at 5 a second → hints, coarse latents for covers to follow.

It is of the published form: attention over the frames of a code, finite scalar quantisation (arXiv:2309.15505), and a
detokenizer. It learns to say the latents again and, more than that, which notes sound: a cover keeps the notes and
changes who plays them.
"""

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..system.torchaudio_import import settle_torchaudio
from .checkpointing import load_state, load_weights, save_state, warm_then_cool
from .latents import FRAMES_PER_SECOND, MIX, NOTES, TWIN, Library
from .vocoder import CONFIG as VOCODER

settle_torchaudio()

CODES_PER_SECOND = 5
WINDOW = round(FRAMES_PER_SECOND / CODES_PER_SECOND)  # frames of a code
LEVELS = [8, 5, 5, 5]  # 1,000 codes
LAYERS = 1
STEPS, BATCH, CROP_CODES, LEARNING_RATE = 2_500, 16, 50, 2e-3
ALL_NOTES, NOTES_WEIGHT = 24, 2.0
SAVE_EVERY_STEPS = REFRESH_EVERY_STEPS = 100


def new_networks(encoder: dict):
    """Tokenizer and detokenizer beside a condition encoder of this geometry."""
    from diffusers.pipelines.ace_step import AceStepAudioTokenDetokenizer, AceStepAudioTokenizer

    torch.manual_seed(3)
    shared = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim")
    sizes = {key: encoder[key] for key in (*shared, "rope_theta", "sliding_window")}
    sizes |= dict(
        audio_acoustic_hidden_dim=VOCODER["decoder_input_channels"],
        pool_window_size=WINDOW,
        num_attention_pooler_hidden_layers=LAYERS,
    )
    return (
        AceStepAudioTokenizer(**sizes, fsq_dim=encoder["hidden_size"], fsq_input_levels=LEVELS),
        AceStepAudioTokenDetokenizer(**sizes),
    )


class Networks(torch.nn.Module):
    """Tokenizer, detokenizer, and a layer that reads the notes from the tokens."""

    def __init__(self, encoder: dict):
        super().__init__()
        self.tokenizer, self.detokenizer = new_networks(encoder)
        self.notes = torch.nn.Linear(encoder["hidden_size"], ALL_NOTES)

    def forward(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents [B, C, M * WINDOW] → hints of the same shape, logits of the notes [B, M, 24]."""
        windows = latents.transpose(1, 2).unflatten(1, (-1, WINDOW))
        pooled = self.tokenizer.attention_pooler(self.tokenizer.audio_acoustic_proj(windows))
        tokens = quantised(self.tokenizer.quantizer, pooled)
        return self.detokenizer(tokens).transpose(1, 2), self.notes(tokens)

    @torch.no_grad()
    def hints(self, latents: torch.Tensor, silence: torch.Tensor) -> torch.Tensor:
        """Latents [B, C, T] of any length → hints [B, C, T], as a stage model makes them."""
        tokens, _ = self.tokenizer.tokenize(latents.transpose(1, 2), silence.transpose(1, 2))
        return self.detokenizer(tokens).transpose(1, 2)[..., : latents.shape[-1]]


def quantised(quantizer, pooled: torch.Tensor) -> torch.Tensor:
    """diffusers' quantiser with gradients: rounding counts as nothing on the way back."""
    levels = torch.tensor(quantizer.levels, dtype=torch.float32, device=pooled.device)
    limit, step = 1 + 1 / (levels - 1), 2 / (levels - 1)
    soft = torch.tanh(quantizer.project_in(pooled) / limit) * limit
    hard = step * torch.floor((soft.clamp(-1, 1) + 1) / step + 0.5) - 1
    return quantizer.project_out(soft + (hard - soft).detach())


class Trainer:
    """Trains the tokenizer; `codes.pt` in `folder` holds everything needed to go on."""

    def __init__(self, folder: Path, library: Library, encoder: dict, steps: int = STEPS, device: str = "cpu"):
        self.path, self.library, self.steps, self.device = folder / "codes.pt", library, steps, device
        self.networks = Networks(encoder).to(device)
        self.optimiser = torch.optim.AdamW(self.networks.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
        self.step = 0
        if state := load_state(self.path):
            load_weights(self.networks, state["networks"], self.path)
            if state["optimiser"]:  # none after a warm start
                self.optimiser.load_state_dict(state["optimiser"])
            self.step = state["step"]

    def save(self) -> None:
        trained = self.networks.state_dict(), self.optimiser.state_dict()
        save_state(self.path, networks=trained[0], optimiser=trained[1], step=self.step)

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents [B, C, T], and [B, M, 24]: how much of each code's time each note sounds."""
        rng = np.random.default_rng([12, self.step])
        drawn = [self._crop(rng) for _ in range(BATCH)]
        latents, notes = (torch.from_numpy(np.stack(parts)).float().to(self.device) for parts in zip(*drawn))
        return latents, notes.unflatten(2, (-1, WINDOW)).mean(3).transpose(1, 2)

    def _crop(self, rng) -> tuple[np.ndarray, np.ndarray]:
        entry = self.library.songs[rng.integers(len(self.library.songs))]
        name = TWIN if entry.twin and rng.random() < 0.5 else MIX
        frames = min(CROP_CODES * WINDOW, entry.frames)
        first = int(rng.integers(0, entry.frames - frames + 1))
        latents, notes = (entry.read(one, first, frames) for one in (name, NOTES))
        missing = CROP_CODES * WINDOW
        return tuple(np.pad(x, ((0, 0), (0, missing - x.shape[1])), mode="edge") for x in (latents, notes))

    def loss(self) -> dict[str, torch.Tensor]:
        latents, notes = self.batch()
        hints, heard = self.networks(latents)
        return {
            "hints": F.mse_loss(hints, latents),
            "notes": NOTES_WEIGHT * F.binary_cross_entropy_with_logits(heard, notes),
        }

    def run(self):
        """Yields (step, parts of the loss, seconds) after every step."""
        while self.step < self.steps:
            started = time.perf_counter()
            if self.step % REFRESH_EVERY_STEPS == 0:
                self.library.refresh()
            for group in self.optimiser.param_groups:
                group["lr"] = LEARNING_RATE * warm_then_cool(self.step, self.steps, cool=0.5)
            parts = self.loss()
            self.optimiser.zero_grad(set_to_none=True)
            sum(parts.values()).backward()
            torch.nn.utils.clip_grad_norm_(self.networks.parameters(), 1.0)
            self.optimiser.step()
            self.step += 1
            if self.step % SAVE_EVERY_STEPS == 0 or self.step == self.steps:
                self.save()
            yield self.step, {name: float(part.detach()) for name, part in parts.items()}, time.perf_counter() - started
