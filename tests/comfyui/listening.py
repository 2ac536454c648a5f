"""Saved songs, as tests hear them."""

import io
from dataclasses import dataclass

import numpy as np
import soundfile


@dataclass(frozen=True)
class Sound:
    """Samples [N, channels] and their rate."""

    samples: np.ndarray
    rate_hz: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate_hz

    @property
    def rms(self) -> float:
        return float(np.sqrt(np.mean(self.samples**2)))

    def is_silent_in_parts(self, part_seconds: float = 2.0) -> bool:
        """Whether some part of it has no sound at all."""
        size = int(part_seconds * self.rate_hz)
        parts = np.split(self.samples, range(size, len(self.samples) - size + 1, size))
        return any(np.abs(part).max() < 1e-3 for part in parts)


def hear(content: bytes) -> Sound:
    """The bytes of an audio file of any format -> Sound."""
    samples, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    return Sound(samples, rate_hz)


def likeness(one: Sound, other: Sound, seconds: float) -> float:
    """Correlation of the first seconds of two sounds, at the rate of the first: 1 where they are the same."""
    t = np.arange(int(seconds * one.rate_hz)) / one.rate_hz
    a, b = (np.interp(t, np.arange(len(s.samples)) / s.rate_hz, s.samples.mean(1)) for s in (one, other))
    return float(np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)))
