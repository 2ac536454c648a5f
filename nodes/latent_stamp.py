"""The time of half-made music, written behind its last frame.

Core's nodes that batch, choose, save or load latents keep the samples [B, C, T] alone, so an item's flow time travels
in the samples: a few frames at the end of each item hold the time, the song's seconds, the seed, of an edit the state
of its run, and a hash of them and of the music. Finished and empty latents have no such frames.
"""

import hashlib
import math
import struct
from dataclasses import dataclass

import numpy as np
import torch

from ..acestep_core.flow.song_run import RunState

# Magic -> its record: of a song, and of an edit, whose stages take the state of its run from it.
_SONG, _EDIT = b"ACESTEP1", b"ACESTEP2"
_RECORDS = {_SONG: struct.Struct("<8sddq"), _EDIT: struct.Struct("<8sddqddq")}
_HASH_BYTES = 16
_SCALE = 2.0**16  # 16 bits in each number, as n / 2**16: exact in float32, and no louder than music


@dataclass(frozen=True)
class ItemStamp:
    """Time, length in seconds and seed of an item of half-made music, and of an edit the state of its run; None where
    unknown.
    """

    t: float
    seconds: float | None
    seed: int | None
    run: RunState | None = None

    @property
    def magic(self) -> bytes:
        return _EDIT if self.run else _SONG

    def frames(self, channels: int) -> int:
        """How many frames it takes."""
        return _frames(self.magic, channels)


def _numbers(magic: bytes) -> int:
    return (_RECORDS[magic].size + _HASH_BYTES) // 2


def _frames(magic: bytes, channels: int) -> int:
    return math.ceil(_numbers(magic) / channels)


def stamped(item: torch.Tensor, stamp: ItemStamp) -> torch.Tensor:
    """An item [C, T] float32 with its stamp behind it, [C, T + frames]."""
    seconds, seed = stamp.seconds or math.nan, -1 if stamp.seed is None else stamp.seed
    run = (stamp.run.shift, _or_nan(stamp.run.start), stamp.run.draws) if stamp.run else ()
    record = _RECORDS[stamp.magic].pack(stamp.magic, stamp.t, seconds, seed, *run)
    numbers = np.frombuffer(record + _hash(item, record), "<u2") / _SCALE
    channels, frames = item.shape[0], stamp.frames(item.shape[0])
    tail = torch.zeros(channels * frames)
    tail[: len(numbers)] = torch.from_numpy(numbers.astype(np.float32))
    return torch.cat([item, tail.reshape(channels, frames)], dim=1)


def read_stamp(item: torch.Tensor) -> ItemStamp | None:
    """The stamp behind an item [C, T + frames] float32; None where there is none, or where the item was changed."""
    return next(filter(None, (_read(item, magic) for magic in _RECORDS)), None)


def _read(item: torch.Tensor, expected: bytes) -> ItemStamp | None:
    count, frames, size = _numbers(expected), _frames(expected, item.shape[0]), _RECORDS[expected].size
    numbers = item[:, -frames:].reshape(-1)[:count].numpy() * _SCALE
    if len(numbers) < count or not np.all((numbers >= 0) & (numbers < _SCALE)):
        return None
    data = numbers.astype("<u2").tobytes()
    magic, t, seconds, seed, *run = _RECORDS[expected].unpack(data[:size])
    if magic != expected or data[size:] != _hash(item[:, :-frames], data[:size]):
        return None
    state = RunState(run[0], _or_none(run[1]), run[2]) if run else None
    return ItemStamp(t, _or_none(seconds), None if seed < 0 else seed, state)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _hash(item: torch.Tensor, record: bytes) -> bytes:
    return hashlib.blake2b(item.contiguous().numpy().tobytes() + record, digest_size=_HASH_BYTES).digest()
