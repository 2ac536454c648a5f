"""What was made of a source, put together with it: length, level, and the source's own samples outside the regions.

Crossfades lie inside the regions, so that outside nothing changes. Where the source ends, as before an extension, it is
continued by its mirror image for the length of the crossfade.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from ..errors import UserError
from .loudness import limit
from .waveform import Waveform, convert

LEAST_LEVEL = 1e-4  # RMS below which a level is not compared: a pause says nothing of the rest
LEVELS_APART_MOST = 2.0  # a vocoder's own error of level is smaller; more is a difference of the music
SOURCE, SILENCE, NEW = "source", "silence", "new"  # what there is outside the regions


@dataclass(frozen=True, eq=False)
class Splice:
    """How a result is put together. Positions are samples; those of regions count from the source's first one.

    `source` [1, 2, N] at the result's rate. `begin` and `end` of the result, in the source's samples. `skip`: samples
    of the made sound before the result begins. `gain` brings what was made to the source's level. `regions`: where new
    music was made. `outside`: what the result has elsewhere; NEW: the made sound is the whole result, and with
    `matches` it gets the source's level. `mixes`: the source is added.
    """

    source: Waveform
    begin: int
    end: int
    skip: int = 0
    gain: float = 1.0
    regions: tuple[tuple[int, int], ...] = ()
    fade: int = 0
    outside: str = NEW
    matches: bool = False
    mixes: bool = False

    def __call__(self, made: Waveform) -> Waveform:
        """The result [B, 2, N] of the made sound [B, channels, N]. Raises UserError for another rate."""
        if made.sample_rate_hz != self.source.sample_rate_hz:
            raise UserError(
                f"splice: got sound at {made.sample_rate_hz} Hz and a source at {self.source.sample_rate_hz} Hz; "
                "decode it with the vocoder that encoded the source"
            )
        made = convert(made, made.sample_rate_hz, self.source.samples.shape[1])
        samples = made.samples[..., self.skip : self.skip + self.end - self.begin]
        samples = functional.pad(samples, (0, self.end - self.begin - samples.shape[-1]))
        levelled = samples * self._gains(samples)
        if self.outside != NEW:  # what is not used must not move the limiter
            levelled = levelled * (self.shares() > 0)
        new = limit(Waveform(levelled, made.sample_rate_hz), 0.0)
        return self._mixed(Waveform(self._spliced(new.samples), made.sample_rate_hz))

    def _gains(self, samples: torch.Tensor) -> torch.Tensor:
        """The gain of each item [B, 1, 1]: by what was kept of the source, or by all of it."""
        source = self._placed()
        if self.outside == SOURCE:
            compared = self.shares() == 0
        elif self.matches:
            compared = torch.ones(source.shape[-1], dtype=torch.bool)
        else:
            return torch.full((len(samples), 1, 1), self.gain)
        pairs = [(_rms(source[0][:, compared]), _rms(item[:, compared])) for item in samples]
        most = LEVELS_APART_MOST if self.outside == SOURCE else float("inf")
        return torch.tensor([_gain(*pair, self.gain, most) for pair in pairs])[:, None, None]

    def _placed(self) -> torch.Tensor:
        """The source [1, 2, N] at its place in the result; outside of it its mirror image, as far as fades reach."""
        before, after = max(0, -self.begin), max(0, self.end - self.source.samples.shape[-1])
        inside = self.source.samples[..., max(0, self.begin) : self.end]
        most = inside.shape[-1] - 1
        mirrored = functional.pad(inside, (min(self.fade, before, most), min(self.fade, after, most)), mode="reflect")
        return functional.pad(mirrored, (before - min(self.fade, before, most), after - min(self.fade, after, most)))

    def shares(self, ramps_outside: bool = False) -> torch.Tensor:
        """The share of new music in each sample [N] of the result: 0 outside the regions, ramps within them.

        `ramps_outside`: as in the original, whose crossfades change the source; for comparison with it.
        """
        shares, length = torch.zeros(self.end - self.begin), self.end - self.begin
        for first, last in ((first - self.begin, last - self.begin) for first, last in self.regions):
            fade = min(self.fade, (last - first) // 2)
            before, after = (min(self.fade, first), min(self.fade, length - last)) if ramps_outside else (-fade, -fade)
            shares[first:last] = 1.0
            if first > 0:
                start, end = sorted((first - before, first))
                shares[start:end] = torch.linspace(0, 1, end - start + 2)[1:-1]
            if last < length:
                start, end = sorted((last, last + after))
                shares[start:end] = torch.linspace(1, 0, end - start + 2)[1:-1]
        return shares

    def _spliced(self, samples: torch.Tensor) -> torch.Tensor:
        if self.outside == NEW:
            return samples
        shares = self.shares()
        around = self._placed() if self.outside == SOURCE else torch.zeros_like(samples[:1])
        return torch.where(shares == 0, around, shares * samples + (1 - shares) * around)

    def _mixed(self, wave: Waveform) -> Waveform:
        if not self.mixes:
            return wave
        return limit(Waveform(wave.samples + self._placed(), wave.sample_rate_hz), 0.0)


def _rms(samples: torch.Tensor) -> float:
    return float(samples.double().square().mean().sqrt()) if samples.numel() else 0.0


def _gain(source: float, made: float, fallback: float, most: float) -> float:
    """What brings a made level to the source's; within `most` of the fallback, where a level cannot be compared."""
    if min(source, made) < LEAST_LEVEL:
        return fallback
    return min(max(source / made, fallback / most), fallback * most)


def merged(regions: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Regions in order, those that touch or overlap joined."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(regions):
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return tuple(joined)
