"""Trains the tiny vocoder: encoder and decoder together, then the decoder alone on the finished latent space.

Clips `[B, 2, N]` → latents `[B, 8, N / 240]` (200 frames a second) → clips. In the first phase a linear
layer also predicts the sounding semitones from the latents, so that pitch is in them long before the decoder can use
it. The second phase adds noise to the latents, because those of a transformer are never exact.
"""

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..system.torchaudio_import import settle_torchaudio
from . import channels_last, clips
from .checkpointing import finished_state, load_state, save_state, warm_then_cool
from .spectral import middle_and_side, pitch_image, reconstruction_loss

settle_torchaudio()

CONFIG = dict(
    encoder_hidden_size=16,
    downsampling_ratios=[10, 6, 2, 2],
    channel_multiples=[2, 4, 6, 8],
    decoder_channels=24,
    decoder_input_channels=8,
    audio_channels=2,
    sampling_rate=48_000,
)
SAMPLES_PER_FRAME = 240
CLIPS, CLIP_SECONDS = 480, 10.0
BATCH, CROP_FRAMES = 4, 120
LEARNING_RATE = 7e-4
KL_WEIGHT, PITCH_WEIGHT = 2e-3, 0.15
LATENT_NOISE = 0.12
SAVE_EVERY_STEPS = 100
STEPS, DECODER_STEPS = 2_500, 3_000


def new_vocoder():
    from diffusers import AutoencoderOobleck

    torch.manual_seed(0)
    return AutoencoderOobleck(**CONFIG)


def new_pitch_head():
    """Latents [B, 8, T] → how much sounds at each of 60 semitones [B, 60, T]."""
    return torch.nn.Conv1d(CONFIG["decoder_input_channels"], 60, 9, padding=4)


class Trainer:
    """One phase of the training; `state.pt` in `folder` holds everything needed to go on."""

    def __init__(self, folder: Path, steps: int, decoder_only: bool, device: str = "cpu", font: Path | None = None):
        self.folder, self.steps, self.decoder_only, self.device = folder, steps, decoder_only, torch.device(device)
        self.vae = new_vocoder().to(device)
        self.pitch_head = new_pitch_head().to(device)
        self.vae.encoder.requires_grad_(not decoder_only)
        trained = (
            self.vae.decoder.parameters() if decoder_only else [*self.vae.parameters(), *self.pitch_head.parameters()]
        )
        self.optimiser = torch.optim.AdamW(trained, lr=LEARNING_RATE, betas=(0.8, 0.98), weight_decay=1e-3)
        self.step = 0
        self._resume()
        played = clips.play_each(folder / "clips", range(CLIPS), CLIP_SECONDS, player=clips.Player(font=font))
        self.clips = [clips.load(path) for path in played]

    @property
    def state_path(self) -> Path:
        return self.folder / ("vocoder_decoder.pt" if self.decoder_only else "vocoder.pt")

    def _resume(self) -> None:
        state = load_state(self.state_path)
        if state:
            self.vae.load_state_dict(state["vae"])
            self.pitch_head.load_state_dict(state["pitch_head"])
            if state["optimiser"]:  # none after a warm start
                self.optimiser.load_state_dict(state["optimiser"])
            self.step = state["step"]
        elif self.decoder_only:
            self.vae.load_state_dict(finished_state(self.folder / "vocoder.pt", "vocoder")["vae"])

    def save(self) -> None:
        save_state(
            self.state_path,
            vae=self.vae.state_dict(),
            pitch_head=self.pitch_head.state_dict(),
            optimiser=self.optimiser.state_dict(),
            step=self.step,
        )

    def batch(self) -> torch.Tensor:
        """[B, 2, N]; from the step's own seed, so a resumed training has the crops of an unbroken one."""
        rng = np.random.default_rng([7, self.decoder_only, self.step])
        count = CROP_FRAMES * SAMPLES_PER_FRAME
        crops = []
        for _ in range(BATCH):
            clip = self.clips[rng.integers(len(self.clips))]
            start = rng.integers(clip.shape[1] - count + 1)
            crop = np.asarray(clip[:, start : start + count], np.float32) / 32767
            crops.append(crop[:: rng.choice([1, -1])] * rng.uniform(0.5, 1.1))
        return torch.from_numpy(np.stack(crops)).to(self.device)

    def loss(self, wave: torch.Tensor) -> dict[str, torch.Tensor]:
        torch.manual_seed(self.step)
        with torch.set_grad_enabled(not self.decoder_only):
            mean, scale = channels_last.encode(self.vae.encoder, wave, torch.bfloat16).chunk(2, 1)
            deviation = F.softplus(scale) + 1e-4
        spread = deviation if not self.decoder_only else LATENT_NOISE * torch.rand(len(wave), 1, 1, device=wave.device)
        made = channels_last.decode(self.vae.decoder, mean + spread * torch.randn_like(mean), torch.bfloat16)
        if self.step % 2:  # left and right in one step, middle and side in the next: width at half the price
            parts = {"spectral": reconstruction_loss(middle_and_side(made), middle_and_side(wave))}
        else:
            parts = {"spectral": reconstruction_loss(made, wave)}
        if not self.decoder_only:
            parts["kl"] = KL_WEIGHT * 0.5 * (mean**2 + deviation**2 - 1 - 2 * deviation.log()).mean()
            parts["pitch"] = PITCH_WEIGHT * F.mse_loss(self.pitch_head(mean), pitch_image(wave, SAMPLES_PER_FRAME))
        return parts

    def run(self):
        """Yields (step, parts of the loss, seconds) after every step."""
        while self.step < self.steps:
            started = time.perf_counter()
            for group in self.optimiser.param_groups:
                group["lr"] = LEARNING_RATE * warm_then_cool(self.step, self.steps)
            parts = self.loss(self.batch())
            self.optimiser.zero_grad(set_to_none=True)
            sum(parts.values()).backward()
            torch.nn.utils.clip_grad_norm_([p for g in self.optimiser.param_groups for p in g["params"]], 1.0)
            self.optimiser.step()
            self.step += 1
            if self.step % SAVE_EVERY_STEPS == 0 or self.step == self.steps:
                self.save()
            yield (
                self.step,
                {name: float(value.detach()) for name, value in parts.items()},
                time.perf_counter() - started,
            )
