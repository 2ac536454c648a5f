"""Where crops are cut out of long songs: on bars, and whole bars long, where the song's beat is known.

A song without a known beat, or with bars longer than a crop, is cut anywhere. A song no longer than a crop is not cut.
Positions and lengths are latent frames.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..song import BEATS

if TYPE_CHECKING:
    from ..song import Song
    from ..spec import LatentSpec


@dataclass(frozen=True)
class Bars:
    """Bars begin at frames `first` + n `length`."""

    length: float
    first: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "first", self.first % self.length)


def bars_of(song: "Song", latents: "LatentSpec", beat: float | None = None, first_beat: float = 0.0) -> Bars | None:
    """The bars of a song, by its measured beat in seconds, else by its bpm. None where neither is known."""
    beat = beat or (60 / song.bpm if song.bpm else None)
    if not beat:
        return None
    rate = latents.frames_per_second
    return Bars(BEATS[song.time_signature] * beat * rate, first_beat * rate)


def cut(frames: int, longest: int, share: float, bars: Bars | None = None) -> tuple[int, int]:
    """First frame and length of a crop; `share`, from 0 to below 1, picks one of the possible crops."""
    if frames <= longest:
        return 0, frames
    if bars is not None and (count := int(longest / bars.length)):
        length = round(count * bars.length)
        places = int((frames - length - bars.first) / bars.length) + 1 if frames - length >= bars.first else 0
        if places:
            return min(round(bars.first + int(share * places) * bars.length), frames - length), length
    return int(share * (frames - longest + 1)), longest
