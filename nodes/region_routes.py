"""Answers to the editor of regions, of a file in one of ComfyUI's folders: the peaks of its sound, and its beats."""

import math
import threading
from pathlib import Path

import numpy as np

from ..acestep_core.audio.peaks import peaks_of
from ..acestep_core.checkpoints.locate import state_of
from ..acestep_core.editing.beats import Beats, beats_of_file
from ..acestep_core.editing.source_song import tagged_song
from ..acestep_core.errors import UserError, shown
from ..acestep_core.memory.lru import LruCache
from ..acestep_core.song import check_time_signature
from ..acestep_core.spec import MAX_BPM, MIN_BPM
from .host import locations

REMEMBERED_FILES = 16
FULL_SCALE = 1000  # peaks travel as whole numbers

_lock = threading.Lock()  # one file is read at a time
_peaks, _beats = LruCache(REMEMBERED_FILES), LruCache(REMEMBERED_FILES)


def answer_peaks(query: dict) -> dict:
    """`columns` pairs [lowest, highest], in thousandths of full scale, of a file from `start` to `end` seconds, and the
    seconds of the whole. Raises UserError.
    """
    path = locations.file_of_query(query)
    start, end, columns = _number(query, "start"), _number(query, "end"), int(_number(query, "columns"))
    with _lock:
        peaks = _peaks.get(state_of(path), lambda: peaks_of(path))
    pairs = np.rint(peaks.window(start, end, columns) * FULL_SCALE).astype(int)
    return {"seconds": peaks.seconds, "pairs": pairs.tolist()}


def answer_beats(query: dict) -> dict:
    """The beats of a file; an empty answer where its tempo is not known. Raises UserError."""
    path = locations.file_of_query(query)
    beats = file_beats(path, _number(query, "bpm"), query.get("time_signature"))
    return {"beat": beats.beat, "first": beats.first, "in_bar": beats.in_bar} if beats else {}


def file_beats(path: Path, bpm: float, time_signature: str | None) -> Beats | None:
    """The beats of a file: by what a user says, else by the Song in its tags, else measured, in 4/4. `bpm` 0 and the
    signature "auto" say nothing. Raises UserError.
    """
    song, known = tagged_song(path), known_beats(bpm, time_signature)
    known = known[0] or song.bpm, known[1] or song.time_signature
    with _lock:
        return _beats.get((state_of(path), known), lambda: beats_of_file(path, *known))


def known_beats(bpm: float, time_signature: str | None) -> tuple[float | None, str | None]:
    """Tempo and metre as far as a user's widgets say, None where they do not. Raises UserError."""
    if bpm and not MIN_BPM <= bpm <= MAX_BPM:
        raise UserError(f"bpm: got {bpm:g}, expected {MIN_BPM} to {MAX_BPM}, or 0 to have it found")
    return bpm or None, check_time_signature(time_signature)


def _number(query: dict, name: str) -> float:
    try:
        number = float(query.get(name, ""))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{name}: got {shown(query.get(name))}, expected a number")
    return number
