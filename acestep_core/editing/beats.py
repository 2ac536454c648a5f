"""Where the beats of a sound lie, for marks and for edges that snap to them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..song import BEATS
from .regions import BarTimes

if TYPE_CHECKING:
    from ..audio.beat_and_key import BeatAndKey
    from ..audio.waveform import Waveform

EARLY_SHARE = 0.15  # of a beat, by which a sound may begin behind its first beat: cut so, or measured so


@dataclass(frozen=True)
class Beats:
    """Where beats lie: at `first` + n `beat` seconds; `in_bar` of them are one bar."""

    beat: float
    first: float = 0.0
    in_bar: int = BEATS[None]

    @property
    def bpm(self) -> float:
        return 60 / self.beat

    @property
    def bars(self) -> BarTimes:
        return BarTimes(self.in_bar * self.beat, self.first)


def beats_of(wave: "Waveform", bpm: float | None = None, time_signature: str | None = None) -> Beats | None:
    """The beats of one item [1, channels, N], whose tempo and metre may be known. None where no tempo is given and none
    can be measured: the onsets follow no beat, or librosa is not installed.
    """
    from ..audio.beat_and_key import BeatAndKey, is_available, measure

    measured = measure(wave, bpm) if is_available() else BeatAndKey()
    beat = 60 / bpm if bpm else measured.beat
    return Beats(beat, first_beat(measured), BEATS[time_signature]) if beat else None


def first_beat(measured: "BeatAndKey") -> float:
    """Seconds of the first beat; less than 0 where it lies a little before the sound."""
    is_early = measured.beat and measured.beat - measured.first_beat < EARLY_SHARE * measured.beat
    return measured.first_beat - measured.beat if is_early else measured.first_beat


def beats_of_file(path: "str | Path", bpm: float | None = None, time_signature: str | None = None) -> Beats | None:
    """The same of a file, whose sound is read only if it can be measured. Raises UserError."""
    from ..audio.beat_and_key import LONGEST_SECONDS, is_available
    from ..audio.files import read

    if is_available():
        return beats_of(read(path, LONGEST_SECONDS), bpm, time_signature)
    return Beats(60 / bpm, 0.0, BEATS[time_signature]) if bpm else None
