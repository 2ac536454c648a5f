"""The time of half-made music, written behind its last frame.

Core's nodes that batch, choose, save or load latents keep the samples [B, C, T] alone, so an item's flow time travels
in the samples: a few frames at the end of each item hold the time, the song's seconds, the seed, and a hash of them
and of the music. Finished and empty latents have no such frames.
"""

import hashlib
import math
import struct
from dataclasses import dataclass

import numpy as np
import torch

_MAGIC = b"ACESTEP1"
_RECORD = struct.Struct("<8sddq")
_HASH_BYTES = 16
_NUMBERS = (
    _RECORD.size + _HASH_BYTES
) // 2  # 16 bits in each, as n / 2**16: exact in float32, and no louder than music
_SCALE = 2.0**16


@dataclass(frozen=True)
class ItemStamp:
    """Time, length in seconds and seed of an item of half-made music; None where unknown."""

    t: float
    seconds: float | None
    seed: int | None


def frames_of(channels: int) -> int:
    """How many frames a stamp takes."""
    return math.ceil(_NUMBERS / channels)


def stamped(item: torch.Tensor, stamp: ItemStamp) -> torch.Tensor:
    """An item [C, T] float32 with its stamp behind it, [C, T + frames]."""
    seconds, seed = stamp.seconds or math.nan, -1 if stamp.seed is None else stamp.seed
    record = _RECORD.pack(_MAGIC, stamp.t, seconds, seed)
    numbers = np.frombuffer(record + _hash(item, record), "<u2") / _SCALE
    channels, frames = item.shape[0], frames_of(item.shape[0])
    tail = torch.zeros(channels * frames)
    tail[:_NUMBERS] = torch.from_numpy(numbers.astype(np.float32))
    return torch.cat([item, tail.reshape(channels, frames)], dim=1)


def read_stamp(item: torch.Tensor) -> ItemStamp | None:
    """The stamp behind an item [C, T + frames] float32; None where there is none, or where the item was changed."""
    frames = frames_of(item.shape[0])
    numbers = item[:, -frames:].reshape(-1)[:_NUMBERS].numpy() * _SCALE
    if len(numbers) < _NUMBERS or not np.all((numbers >= 0) & (numbers < _SCALE)):
        return None
    data = numbers.astype("<u2").tobytes()
    record = data[: _RECORD.size]
    magic, t, seconds, seed = _RECORD.unpack(record)
    if magic != _MAGIC or data[_RECORD.size :] != _hash(item[:, :-frames], record):
        return None
    return ItemStamp(t, None if math.isnan(seconds) else seconds, None if seed < 0 else seed)


def _hash(item: torch.Tensor, record: bytes) -> bytes:
    return hashlib.blake2b(item.contiguous().numpy().tobytes() + record, digest_size=_HASH_BYTES).digest()
