"""A sound that is heard while it is being made, as a wav file of 16 bits that grows."""

import struct
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_FULL_SCALE = 2**15 - 1


class LiveSound:
    """A sound [channels, samples] that is being made. Whoever listens gets all of it, from the beginning on."""

    def __init__(self, rate_hz: int, channels: int, samples: int):
        self._parts = [wav_header(rate_hz, channels, samples)]
        self._left, self._made, self._is_open = samples, 0, True
        self._changed = threading.Condition()

    def add(self, piece: "torch.Tensor", start: int) -> None:
        """A piece [channels, n] whose first sample is the sound's number `start`; what was given before is skipped, as
        when a sound is made anew after memory ran out.
        """
        fresh = piece[:, max(0, self._made - start) :][:, : self._left]
        self._made, self._left = self._made + fresh.shape[1], self._left - fresh.shape[1]
        if fresh.shape[1]:
            values = (fresh.float().clamp(-1, 1) * _FULL_SCALE).round().cpu().numpy()
            with self._changed:
                self._parts.append(values.T.astype("<i2").tobytes())
                self._changed.notify_all()

    def close(self) -> None:
        """Nothing more comes, be the sound whole or not."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def parts(self) -> Iterator[bytes]:
        """The bytes of the file so far and all that come; waits for them until the sound is closed."""
        number = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda at=number: at < len(self._parts) or not self._is_open)
                if number >= len(self._parts):
                    return
            yield self._parts[number]
            number += 1


def wav_header(rate_hz: int, channels: int, samples: int) -> bytes:
    """The beginning of a wav file of 16 bits, before its samples."""
    size, frame = 2 * channels * samples, 2 * channels
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate_hz, rate_hz * frame, frame, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size)
