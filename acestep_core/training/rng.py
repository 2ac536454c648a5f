"""Draws that follow from what they are for, whatever was drawn before."""

import hashlib
from contextlib import contextmanager

import torch


def seed_of(*parts: object) -> int:
    """A seed from anything that can be written, such as a training's seed, a step and an item."""
    return int.from_bytes(hashlib.sha256(" ".join(map(str, parts)).encode()).digest()[:8], "big") >> 1


@contextmanager
def seeded(seed: int, device: torch.device):
    """Draws that nobody hands a generator, made from a seed; the rng of others go on as if nothing had been."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
