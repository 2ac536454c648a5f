"""Trains the tiny vocoder: encoder and decoder together, then the decoder alone on the finished latent space.

Crops of the band's songs `[B, 2, N]` → latents `[B, 8, N / 240]` (200 frames a second) → crops. In the first phase a
linear layer also predicts the sounding semitones from the latents, so that pitch is in them long before the decoder can
use it. The second phase adds noise to the latents, because those of a transformer are never exact, and its last part
trains against a discriminator of spectra.
"""

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import UserError
from ..nn.dtypes import product_dtype
from ..system.torchaudio_import import settle_torchaudio
from . import channels_last
from .checkpointing import finished_state, load_state, load_weights, save_state, warm_then_cool
from .discriminator import Discriminator
from .songs import Crop, Shelf
from .spectral import middle_and_side, pitch_image, reconstruction_loss

settle_torchaudio()

# Such a decoder sees no time but that of its frames: what does not change from frame to frame sounds at multiples of
# their rate. So the latents must turn with the waves. At 50 Hz and 24 channels, trained for 4,500 steps on magnitudes,
# they did not (a linear layer finds 0.07 to 0.5 of the wave below 500 Hz in them, 0.83 to 0.99 in these), and every
# song was in the key of the frame rate.
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
BATCH, CROP_FRAMES = 4, 120
STEM_SHARE = 0.3  # of crops that are one instrument alone: the stages of some tasks make them
LEARNING_RATE = 5e-4
KL_WEIGHT, PITCH_WEIGHT = 2e-3, 0.15
LATENT_NOISE = 0.12
ADVERSARIAL_FROM = 0.4  # share of the decoder's own phase after which the discriminator takes part
ADVERSARIAL_WEIGHT, FEATURES_WEIGHT = 0.05, 0.1
SAVE_EVERY_STEPS = 100
REFRESH_EVERY_STEPS = 100  # songs that came, or made room, meanwhile
STEPS, DECODER_STEPS = 4_500, 6_000


def new_vocoder():
    from diffusers import AutoencoderOobleck

    torch.manual_seed(0)
    return AutoencoderOobleck(**CONFIG)


def new_pitch_head():
    """Latents [B, C, T] → how much sounds at each of 60 semitones [B, 60, T]."""
    return torch.nn.Conv1d(CONFIG["decoder_input_channels"], 60, 33, padding=16)


class Trainer:
    """One phase of the training; a file in `folder` holds everything needed to go on."""

    def __init__(self, folder: Path, steps: int, decoder_only: bool, device: str = "cpu"):
        self.folder, self.steps, self.decoder_only, self.device = folder, steps, decoder_only, torch.device(device)
        self.vae = new_vocoder().to(device)
        self.pitch_head = new_pitch_head().to(device)
        self.judge = Discriminator().to(device) if decoder_only else None
        self.vae.encoder.requires_grad_(not decoder_only)
        trained = (
            self.vae.decoder.parameters() if decoder_only else [*self.vae.parameters(), *self.pitch_head.parameters()]
        )
        self.optimisers = [torch.optim.AdamW(trained, lr=LEARNING_RATE, betas=(0.8, 0.98), weight_decay=1e-3)]
        if self.judge:
            self.optimisers.append(torch.optim.AdamW(self.judge.parameters(), lr=LEARNING_RATE, betas=(0.5, 0.9)))
        self.step = self.warm_from = 0
        self._resume()
        self.shelf = Shelf(folder / "songs")
        self.seeds: list[int] = []

    @property
    def state_path(self) -> Path:
        return self.folder / ("vocoder_decoder.pt" if self.decoder_only else "vocoder.pt")

    def _parts(self) -> dict[str, torch.nn.Module]:
        parts = {"vae": self.vae, "pitch_head": self.pitch_head}
        return parts | ({"judge": self.judge} if self.judge else {})

    def _resume(self) -> None:
        state = load_state(self.state_path)
        if state:
            for name, part in self._parts().items():
                load_weights(part, state[name], self.state_path)
            for optimiser, saved in zip(self.optimisers, state["optimisers"] or ()):  # none after a warm start
                optimiser.load_state_dict(saved)
            self.step = state["step"]
            self.warm_from = state["warm_from"] if state["optimisers"] else self.step
        elif self.decoder_only:
            path = self.folder / "vocoder.pt"
            load_weights(self.vae, finished_state(path, "vocoder")["vae"], path)

    def save(self) -> None:
        save_state(
            self.state_path,
            **{name: part.state_dict() for name, part in self._parts().items()},
            optimisers=[optimiser.state_dict() for optimiser in self.optimisers],
            step=self.step,
            warm_from=self.warm_from,
        )

    def batch(self) -> torch.Tensor:
        """[B, 2, N]; from the step's own seed, so a resumed training has the crops of an unbroken one."""
        if not self.seeds or self.step % REFRESH_EVERY_STEPS == 0:
            self._refresh()
        rng = np.random.default_rng([7, self.decoder_only, self.step])
        crops = [self._crop(rng) * rng.uniform(0.5, 1.1) for _ in range(BATCH)]
        return torch.from_numpy(np.stack(crops)).to(self.device)

    def _refresh(self) -> None:
        self.seeds = self.shelf.seeds
        if not self.seeds:
            raise UserError(f"{self.shelf.folder} is empty: the phase songs comes first; run it with --only songs")

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        """[2, N] of a mix, or of a stem where it sounds; left and right may change places."""
        seconds = CROP_FRAMES * SAMPLES_PER_FRAME / CONFIG["sampling_rate"]
        song = self.shelf.facts(self.seeds[rng.integers(len(self.seeds))])
        name, spans = "mix", [(0.0, song.seconds)]
        if song.stems and song.playing and rng.random() < STEM_SHARE:
            name = sorted(song.playing)[rng.integers(len(song.playing))]
            spans = song.playing[name]
        first, last = spans[rng.integers(len(spans))]
        start = max(0.0, rng.uniform(first, max(first, last - seconds)))
        crop = self.shelf.sound(Crop(song, start, seconds), name)
        return np.ascontiguousarray(crop[:: rng.choice([1, -1])], np.float32) / 32767

    def losses(self, wave: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The decoded crops [B, 2, N], and the parts of the loss, the discriminator's left out."""
        torch.manual_seed(self.step)
        dtype = product_dtype(wave.device)
        with torch.set_grad_enabled(not self.decoder_only):
            mean, scale = channels_last.encode(self.vae.encoder, wave, dtype).chunk(2, 1)
            deviation = F.softplus(scale) + 1e-4
        spread = deviation if not self.decoder_only else LATENT_NOISE * torch.rand(len(wave), 1, 1, device=wave.device)
        made = channels_last.decode(self.vae.decoder, mean + spread * torch.randn_like(mean), dtype)
        if self.step % 2:  # left and right in one step, middle and side in the next: width at half the price
            parts = {"spectral": reconstruction_loss(middle_and_side(made), middle_and_side(wave))}
        else:
            parts = {"spectral": reconstruction_loss(made, wave)}
        if not self.decoder_only:
            parts["kl"] = KL_WEIGHT * 0.5 * (mean**2 + deviation**2 - 1 - 2 * deviation.log()).mean()
            parts["pitch"] = PITCH_WEIGHT * F.mse_loss(self.pitch_head(mean), pitch_image(wave, SAMPLES_PER_FRAME))
        return made, parts

    def run(self):
        """Yields (step, parts of the loss, seconds) after every step."""
        while self.step < self.steps:
            started = time.perf_counter()
            rate = LEARNING_RATE * warm_then_cool(self.step, self.steps, warm_from=self.warm_from)
            for group in (group for optimiser in self.optimisers for group in optimiser.param_groups):
                group["lr"] = rate
            wave = self.batch()
            made, parts = self.losses(wave)
            if self.judge and self.step >= ADVERSARIAL_FROM * self.steps:
                parts |= self._adversarial(made, wave)
            self._descend(self.optimisers[0], sum(parts.values()))
            self.step += 1
            if self.step % SAVE_EVERY_STEPS == 0 or self.step == self.steps:
                self.save()
            figures = {name: float(value.detach()) for name, value in parts.items()}
            yield self.step, figures, time.perf_counter() - started

    def _adversarial(self, made: torch.Tensor, wave: torch.Tensor) -> dict[str, torch.Tensor]:
        """One step of the discriminator, then what it teaches the decoder."""
        self._descend(self.optimisers[1], self.judge.own_loss(made, wave))
        self.judge.requires_grad_(False)
        verdict, features = self.judge.decoder_losses(made, wave)
        self.judge.requires_grad_(True)
        return {"verdict": ADVERSARIAL_WEIGHT * verdict, "features": FEATURES_WEIGHT * features}

    def _descend(self, optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], 1.0)
        optimiser.step()
