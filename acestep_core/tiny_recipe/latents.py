"""The transformers' training data, prepared once: latents of the band's clips, `[C, T]` half precision, and prompts.

Text is kept by its length in tokens: a batch only holds prompts of one length, because transformers attend to padding
and nothing that is generated will ever have any.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ..band import WHOLE, Sketch, pitch_classes, song_of
from ..errors import UserError
from ..prompt import lyrics_prompt, text_prompt
from ..system.files import whole_file
from . import channels_last, clips

# (first seed, number of clips, seconds): most are short, some long, so that long songs are no surprise.
SETS = ((100_000, 1_500, 16.0), (200_000, 80, 32.0))
VARIANTS = 4  # captions of one clip
# One text of lyrics serves all clips, and a batch has prompts of one length, of which one style of captions has enough.
WORLD = replace(WHOLE, sung=False, captions=("plain",))


def encode_clips(vae, scale: float, folder: Path, workers: int = 2, font: Path | None = None):
    """Yields the number of clips encoded so far; resumable, since every clip is a file of its own."""
    (folder / "latents").mkdir(parents=True, exist_ok=True)
    done = 0
    for first, count, seconds in SETS:
        missing = [seed for seed in range(first, first + count) if not latent_path(folder, seed).exists()]
        done += count - len(missing)
        for seed, path in zip(
            missing, clips.play_each(folder / "clips", missing, seconds, workers, clips.Player(WORLD, font))
        ):
            _encode_one(vae, scale, path, latent_path(folder, seed))
            path.unlink()
            done += 1
            yield done
        if not missing:
            yield done


def seconds_of(seed: int) -> float:
    return next(length for first, count, length in SETS if first <= seed < first + count)


def latent_path(folder: Path, seed: int) -> Path:
    return folder / "latents" / f"{seed}.npy"


def _encode_one(vae, scale: float, clip: Path, target: Path) -> None:
    wave = torch.from_numpy(np.asarray(clips.load(clip), np.float32) / 32767)[None]
    with torch.no_grad():
        mean = channels_last.encode(vae.encoder, wave.to(vae.device), torch.bfloat16).chunk(2, 1)[0]
    with whole_file(target) as part, part.open("wb") as file:
        np.save(file, (scale * mean[0]).cpu().numpy().astype(np.float16))


@dataclass
class Library:
    """All latents and all prompts in memory."""

    latents: dict[int, torch.Tensor]  # seed → [C, T] float16
    prompts: dict[int, list[tuple[int, torch.Tensor]]]  # tokens → (seed, ids [L])
    lyrics: torch.Tensor  # ids [Ll]
    _notes: dict[int, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, tokenizer) -> "Library":
        seeds = [seed for first, count, _ in SETS for seed in range(first, first + count)]
        seeds = [seed for seed in seeds if latent_path(folder, seed).exists()]
        if not seeds:
            raise UserError(f"{folder / 'latents'} is empty: the phase latents comes first; run it with --only latents")
        latents = {seed: torch.from_numpy(np.load(latent_path(folder, seed))) for seed in seeds}
        prompts: dict[int, list] = {}
        for seed in seeds:
            for variant in range(VARIANTS):
                song = song_of(Sketch.draw(seed, seconds_of(seed), world=WORLD), variant, world=WORLD)
                ids = torch.tensor(tokenizer(text_prompt(song)).input_ids)
                prompts.setdefault(len(ids), []).append((seed, ids))
                lyrics = torch.tensor(tokenizer(lyrics_prompt(song)).input_ids)
        return cls(latents, prompts, lyrics)

    def notes(self, seed: int) -> torch.Tensor:
        """Which notes sound in a clip, [24, T], one column a frame of its latents."""
        if seed not in self._notes:
            sketch = Sketch.draw(seed, seconds_of(seed), world=WORLD)
            sounding = pitch_classes(sketch, self.latents[seed].shape[1] / sketch.seconds)
            self._notes[seed] = torch.from_numpy(sounding.astype(np.uint8))
        return self._notes[seed]

    def draw(self, rng: np.random.Generator, batch: int, seconds: float) -> tuple[list[int], torch.Tensor]:
        """Seeds and prompt ids [B, L] of one length, from clips at least so long."""
        lengths = sorted(self.prompts)
        weights = np.array([len(self.prompts[length]) for length in lengths], float)
        for _ in range(1_000):
            pool = self.prompts[lengths[rng.choice(len(lengths), p=weights / weights.sum())]]
            if seconds > SETS[0][2]:
                pool = [item for item in pool if item[0] >= SETS[1][0]]
            if len(pool) >= min(batch, 4):
                picked = [pool[i] for i in rng.integers(len(pool), size=batch)]
                return [seed for seed, _ in picked], torch.stack([ids for _, ids in picked])
        raise UserError(
            f"latents: got {len(self.latents)} clips, too few of {seconds:g} s or more; finish the phase latents"
        )
