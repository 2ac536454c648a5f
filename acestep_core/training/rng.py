"""Random numbers that depend on their purpose alone, whatever was drawn before."""

import hashlib
from contextlib import contextmanager

import torch


def seed_of(*parts: object) -> int:
    """A seed from anything with a text form, such as a training's seed, a step and an item."""
    return int.from_bytes(hashlib.sha256(" ".join(map(str, parts)).encode()).digest()[:8], "big") >> 1


@contextmanager
def seeded(seed: int, device: torch.device):
    """torch's global generators with a seed, for code that takes no generator; their state is restored afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
