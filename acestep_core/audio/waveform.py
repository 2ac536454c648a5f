"""Waveforms and their rate, converted to other rates and channel counts.

Samples are float32 [B, channels, N] in -1..1 and never travel without their rate.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ..errors import UserError


@dataclass(frozen=True)
class Waveform:
    """Samples [B, channels, N], float32, and their rate."""

    samples: torch.Tensor
    sample_rate_hz: int

    def __post_init__(self):
        if self.samples.ndim != 3:
            raise UserError(f"waveform: got shape {list(self.samples.shape)}, expected [batch, channels, samples]")
        if self.sample_rate_hz < 1:
            raise UserError(f"waveform: got a sample rate of {self.sample_rate_hz} Hz, expected 1 or more")

    @property
    def seconds(self) -> float:
        return self.samples.shape[-1] / self.sample_rate_hz

    def __len__(self) -> int:
        return self.samples.shape[0]

    def __getitem__(self, item: int) -> "Waveform":
        """One item of a batch, as a batch of one."""
        return Waveform(self.samples[range(len(self))[item]][None], self.sample_rate_hz)

    def skip(self, seconds: float) -> "Waveform":
        return Waveform(self.samples[..., round(seconds * self.sample_rate_hz) :], self.sample_rate_hz)

    def crop(self, seconds: float) -> "Waveform":
        return Waveform(self.samples[..., : round(seconds * self.sample_rate_hz)], self.sample_rate_hz)


def convert(wave: Waveform, rate_hz: int, channels: int) -> Waveform:
    """The same sound at another rate and channel count; ceil(N * new / old) samples."""
    if wave.samples.shape[1] < channels:  # resampled once, then copied to all channels
        resampled = _resample(wave.samples, wave.sample_rate_hz, rate_hz)
        return Waveform(remix(resampled, channels).contiguous(), rate_hz)
    return Waveform(_resample(remix(wave.samples, channels), wave.sample_rate_hz, rate_hz), rate_hz)


def is_finite(samples: torch.Tensor) -> bool:
    """Whether all samples, one at least, are numbers. Takes no memory, as `isfinite` does."""
    return all(bool(bound.isfinite()) for bound in samples.aminmax())


def peak(samples: torch.Tensor) -> float:
    """The largest absolute sample, NaN where one is no number. Takes no memory, as `abs` does."""
    low, high = samples.aminmax()
    return float(torch.maximum(-low, high))


def remix(samples: torch.Tensor, channels: int) -> torch.Tensor:
    """Samples [B, channels, N] in another number of channels."""
    given = samples.shape[1]
    if given == channels:
        return samples
    if given == 1:
        return samples.expand(-1, channels, -1)
    if channels == 1:
        return samples.mean(dim=1, keepdim=True)
    if channels == 2:  # surround: left and right stay, every other channel goes to both at -3 dB
        return (samples[:, :2] + samples[:, 2:].sum(dim=1, keepdim=True) * 0.5**0.5) / (1 + (given - 2) * 0.5**0.5)
    raise UserError(f"channels: got {given} to be made {channels}, expected to make one or two of them")


def _resample(samples: torch.Tensor, from_hz: int, to_hz: int) -> torch.Tensor:
    if from_hz == to_hz:
        return samples
    import soxr  # on every machine, so that a clip gives the same song everywhere

    length = math.ceil(samples.shape[-1] * to_hz / from_hz)
    plain = samples.detach().cpu()
    plain = plain.float() if plain.dtype in (torch.float16, torch.bfloat16) else plain
    rows = plain.reshape(-1, samples.shape[-1]).numpy().T  # soxr takes [N, rows]
    made = torch.from_numpy(np.ascontiguousarray(soxr.resample(rows, from_hz, to_hz).T)).to(samples)
    made = functional.pad(made[:, :length], (0, max(0, length - made.shape[-1])))
    return made.reshape(*samples.shape[:-1], length)
