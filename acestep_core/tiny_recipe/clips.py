"""Clips: short songs of the band, of which nothing but the latents of the mix is kept. Each has a caption, a tempo and
a key of its own, and costs a tenth of a whole song: of many of them a stage learns what the words mean, of whole songs
how music goes on.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..band.mix import RATE_HZ, mixed, stems
from .latents import MIX, Encoder, entry_path, write_entry, write_latents
from .songs import FIRST_CLIP_SEED, SAMPLED_SHARE, UNPLAYABLE, Facts, facts_of

logger = logging.getLogger(__name__)


def encode_clips(encode: Encoder, folder: Path, count: int, font: Path | None = None) -> Iterator[tuple[int, Facts]]:
    """Yields (clips that are there, the newest) until there are `count`; resumable. A clip that cannot be played is
    logged and passed over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for done, seed in enumerate(range(FIRST_CLIP_SEED, FIRST_CLIP_SEED + count), start=1):
        if entry_path(folder, seed).exists():
            continue
        try:
            facts, sound = play_clip(seed, font)
        except UNPLAYABLE as exc:
            logger.warning("clip %d cannot be played (%s: %s): passed over", seed, type(exc).__name__, exc)
            continue
        write_latents(folder, seed, MIX, encode(sound))
        write_entry(folder, facts)
        yield done, facts


def play_clip(seed: int, font: Path | None) -> tuple[Facts, np.ndarray]:
    """What is known of a clip, and its sound [2, N] int16."""
    rng = np.random.default_rng([seed, 21])
    facts = facts_of(seed, bool(font and rng.random() < SAMPLED_SHARE), with_stems=False)
    sound = mixed(stems(facts.sketch, font if facts.sampled else None), round(facts.seconds * RATE_HZ))
    return facts, np.clip(sound * 32767, -32768, 32767).astype(np.int16)
