"""Clips of the band as int16 files in a work folder, so that no clip is played twice. `[2, N]` at 48 kHz each."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..band import WHOLE, Sketch, play
from ..band.genres import World
from ..system.files import whole_file

# Seeds from here on are never trained on: `bench tiny` measures on them.
FIRST_HELD_OUT_SEED = 1_000_000


def clip_path(folder: Path, seed: int, seconds: float) -> Path:
    return folder / f"{seed}_{seconds:g}s.npy"


@dataclass(frozen=True)
class Player:
    """The world that clips are drawn from, and the soundfont that plays every second one, or None: synthesis alone."""

    world: World = WHOLE
    font: Path | None = None


def play_into(folder: Path, seed: int, seconds: float, player: Player = Player()) -> Path:
    path = clip_path(folder, seed, seconds)
    if not path.exists():
        sketch = Sketch.draw(seed, seconds, world=player.world)
        sound = (play(sketch, player.font if seed % 2 else None) * 32767).astype(np.int16)
        with whole_file(path) as part, part.open("wb") as file:
            np.save(file, sound)
    return path


def play_each(
    folder: Path, seeds: Sequence[int], seconds: float, workers: int = 2, player: Player = Player()
) -> Iterator[Path]:
    """The clips of these seeds in order, each as soon as it is there, several played at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    if all(clip_path(folder, seed, seconds).exists() for seed in seeds):
        yield from (clip_path(folder, seed, seconds) for seed in seeds)
        return
    with ProcessPoolExecutor(workers) as pool:
        count = len(seeds)
        yield from pool.map(play_into, [folder] * count, seeds, [seconds] * count, [player] * count, chunksize=4)


def load(path: Path) -> np.ndarray:
    """[2, N] int16, memory-mapped."""
    return np.load(path, mmap_mode="r")
