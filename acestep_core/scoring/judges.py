"""Judges of takes: each measures one thing of a finished song, and grades it from 0 (unusable) to 1 (as asked).

A judge is a function and a row of JUDGES. It gives nothing where it has nothing to judge by: no tempo was asked for,
or no lyrics were aligned.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from types import MappingProxyType

import numpy as np
import torch

from ..audio.loudness import loudness_lufs
from ..audio.waveform import Waveform, peak
from ..errors import UserError
from ..song import Song
from .lyric_score import LyricScore
from .planner_score import PlannerScore
from .sound import FLUX_HZ, LEVEL_SECONDS, Sound, scale_of

NEARER, HIGHER, LOWER = "nearer to the asked", "higher", "lower"
TEMPO_FITS = 0.5, 0.95  # of the best tempo's fit: not at all, and fully
BEAT_CLEAR = 0.1, 0.8  # correlation after a beat: hardly a beat, and a clear one
BEAT_DOUBLE = 0.6, 1.1  # correlation after half a beat, of that after whole ones: the tempo may be the double one
KEY_RIGHT, KEY_CLEAR = 0.8, 0.3  # the grade of a key that just fits best; by how much a clear one fits better
KEY_UNSURE = 0.2  # by which another key may fit better until the asked one counts as missed
SILENCE_DB, QUIET_DB = -60.0, -45.0  # of full scale; below the song's loudest tenth
FULL_SCALE, FLAT_SAMPLES = 0.999, 3  # so many equal samples at the peak are cut off
STRUCTURE_SECONDS_LEAST = 40.0
SECTION_SECONDS, FAR_SECONDS = 4.0, 8.0


@dataclass(frozen=True, eq=False)
class FinishedSong:
    """A finished song as judges take it: the sound, the song that was asked for, and scores that need models."""

    wave: Waveform
    song: Song | None = None
    lyrics: LyricScore | None = None
    codes: PlannerScore | None = None
    sound: Sound = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "sound", Sound(self.wave))


@dataclass(frozen=True)
class Measured:
    """What a judge found: a value in its unit, the grade 0..1, and a remark for people."""

    value: float | str
    grade: float
    remark: str


@dataclass(frozen=True)
class Judge:
    """One row: what is measured, its unit, which values are better, and how much it counts."""

    unit: str
    better: str
    weight: float
    measure: Callable[[FinishedSong], Measured | None]


def judged(made: FinishedSong) -> dict[str, Measured]:
    """What every judge found that has something to judge by."""
    found = {name: judge.measure(made) for name, judge in JUDGES.items()}
    return {name: one for name, one in found.items() if one is not None}


def total(found: Mapping[str, Measured]) -> float:
    """The mean grade, weighted by judge, rounded to four digits."""
    whole = sum(JUDGES[name].weight for name in found)
    return round(sum(JUDGES[name].weight * one.grade for name, one in found.items()) / whole, 4) if found else 0.0


# ---- music -----------------------------------------------------------------------------------------------------------


def _tempo(made: FinishedSong) -> Measured | None:
    asked = made.song and made.song.bpm
    if not asked:
        return None
    beat = made.sound.beat(asked)
    if beat is None:
        return Measured("none", 0.0, f"no beat, {asked} bpm asked")
    grade = _between(beat.fit, *TEMPO_FITS)
    grade *= (1 + _between(beat.strength, *BEAT_CLEAR)) / 2 * (1 - _between(beat.early, *BEAT_DOUBLE) / 2)
    return Measured(round(beat.bpm, 1), grade, f"{beat.bpm:.0f} bpm, {asked} asked")


def _key(made: FinishedSong) -> Measured | None:
    asked = made.song and made.song.key
    if not asked:
        return None
    fits = made.sound.keys
    if not fits:
        return Measured("none", 0.0, f"no notes, {asked} asked")
    best = max(fits, key=fits.get)
    own = max(fit for key, fit in fits.items() if scale_of(key) == scale_of(asked))
    lead = own - max(fit for key, fit in fits.items() if scale_of(key) != scale_of(asked))
    right = KEY_RIGHT + (1 - KEY_RIGHT) * _between(lead, 0, KEY_CLEAR)
    return Measured(best, right if lead >= 0 else KEY_RIGHT * _between(lead, -KEY_UNSURE, 0), f"{best}, {asked} asked")


def _structure(made: FinishedSong) -> Measured | None:
    """The share of parts of 4 s that come back at least 8 s away, in their sound."""
    if made.wave.seconds < STRUCTURE_SECONDS_LEAST:
        return None
    mel = made.sound.mel.numpy()
    size = round(SECTION_SECONDS * FLUX_HZ)
    count = mel.shape[1] // size
    parts = mel[:, : count * size].reshape(len(mel), count, size).mean(2).T
    parts = parts - parts.mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):  # a part without a change is like no other
        alike = np.corrcoef(parts)
    far = np.abs(np.subtract.outer(np.arange(count), np.arange(count))) * SECTION_SECONDS >= FAR_SECONDS
    returns = float((np.where(far, alike, -1).max(1) > 0.7).mean())
    return Measured(round(100 * returns), returns, f"{100 * returns:.0f} % of it comes back")


# ---- sound -----------------------------------------------------------------------------------------------------------


def _level(made: FinishedSong) -> Measured | None:
    try:
        lufs = loudness_lufs(made.wave)[0]
    except UserError:  # too short, or of too many channels
        return None
    if math.isinf(lufs):
        return Measured("silence", 0.0, "silence")
    grade = min(_between(lufs, -40, -24), _between(-lufs, 2, 6))
    return Measured(round(lufs, 1), grade, f"{lufs:.1f} LUFS")


def _between(value: float, none: float, full: float) -> float:
    """0 at `none` and below, 1 at `full` and above, a line between."""
    return min(max((value - none) / (full - none), 0.0), 1.0)


def _clipping(made: FinishedSong) -> Measured:
    samples = made.wave.samples[0].float().cpu()
    highest = peak(samples)
    at_peak = _beyond(samples, max(highest * (1 - 1e-5), 1e-4))
    length = FLAT_SAMPLES if samples.shape[-1] >= FLAT_SAMPLES else 1
    starts = samples.shape[-1] - length + 1
    runs = reduce(torch.logical_and, (at_peak[:, i : i + starts] for i in range(length)))
    cut = max(_share(runs), _share(_beyond(samples, FULL_SCALE)) if highest > 1 else 0.0)
    return Measured(round(1000 * cut, 3), 1 - _between(cut, 0, 1e-3), f"{1000 * cut:.2g} of 1,000 samples are cut off")


def _beyond(samples: torch.Tensor, level: float) -> torch.Tensor:
    return (samples >= level) | (samples <= -level)


def _share(given: torch.Tensor) -> float:
    return int(given.count_nonzero()) / given.numel()


def _silence(made: FinishedSong) -> Measured:
    levels = made.sound.levels
    quiet = float((levels < max(SILENCE_DB, np.quantile(levels, 0.9) + QUIET_DB)).mean())
    return Measured(round(100 * quiet, 1), 1 - _between(quiet, 0.03, 0.4), f"{100 * quiet:.0f} % silence")


def _ending(made: FinishedSong) -> Measured:
    """The last 0.2 s against the song: a song that is cut off is as loud there as anywhere."""
    levels = made.sound.levels
    last = float(levels[-max(1, round(0.2 / LEVEL_SECONDS)) :].max() - np.median(levels))
    ends = "ends" if last < -10 else "is cut off"
    return Measured(round(last, 1), _between(-last, 0, 20), f"{ends} at {last:.0f} dB")


# ---- by models -------------------------------------------------------------------------------------------------------


def _lyrics(made: FinishedSong) -> Measured | None:
    if made.lyrics is None:
        return None
    score = made.lyrics.score
    return Measured(score, score, f"words found {score:.2f}, {100 * made.lyrics.coverage:.0f} % of them")


def _codes(made: FinishedSong) -> Measured | None:
    if made.codes is None:
        return None
    score = made.codes.total
    return Measured(round(score, 4), score, f"the planner finds the caption and words again {score:.2f}")


JUDGES: Mapping[str, Judge] = MappingProxyType(
    {
        "tempo": Judge("bpm", NEARER, 1.0, _tempo),
        "key": Judge("", NEARER, 1.0, _key),
        "lyrics": Judge("", HIGHER, 2.0, _lyrics),
        "codes": Judge("", HIGHER, 1.0, _codes),
        "structure": Judge("%", HIGHER, 0.5, _structure),
        "level": Judge("LUFS", NEARER, 0.5, _level),
        "clipping": Judge("‰", LOWER, 0.5, _clipping),
        "silence": Judge("%", LOWER, 1.0, _silence),
        "ending": Judge("dB", LOWER, 0.25, _ending),
    }
)
