"""Where the bars of a source lie: by its tempo, and from its first measured beat."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..song import Song
from .beats import first_beat
from .regions import BarTimes

if TYPE_CHECKING:
    from ..audio.waveform import Waveform


def bar_times(path: "str | Path", song: Song) -> tuple[BarTimes, str]:
    """The bars of a file, and a note that says how they were found. `song`: what is known of its tempo and metre.

    Raises UserError where the tempo is not known and cannot be measured.
    """
    from ..audio.beat_and_key import LONGEST_SECONDS
    from ..audio.files import read

    return bars_of(lambda: read(path, LONGEST_SECONDS), song, str(path))


def bars_of(read: "Callable[[], Waveform]", song: Song, name: str) -> tuple[BarTimes, str]:
    """The same of a waveform, which `read` gives where it is measured; `name` stands in errors."""
    from ..audio.beat_and_key import is_available, measure

    measured = measure(read(), song.bpm) if is_available() else None
    bpm = song.bpm or (measured and measured.beat and 60 / measured.beat)
    if not bpm:
        hint = "its onsets follow no beat" if measured else "librosa, which measures it, is not installed"
        raise UserError(f"{name}: its tempo is not known, and {hint}; give its bpm, such as 120, or give seconds")
    first = first_beat(measured) if measured and measured.beat else 0.0
    origin = f"from the beat at {first:.2f} s" if first > 0 else "from its beginning"
    return BarTimes.of(bpm, song.time_signature, first), f"bars are counted at {bpm:.4g} bpm, {origin}"
