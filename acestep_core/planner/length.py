"""The length of a song by a rule over its lyrics, where it is "auto" and no planner chooses it.

A sung line takes as long as its syllables, and at least two bars; a section without words, four bars. Sections begin at
tags such as [Verse] and at empty lines.
"""

import math
import re
import unicodedata
from itertools import pairwise

from ..song import Song
from ..spec import DEFAULT_SECONDS, MAX_SECONDS, MIN_SECONDS

SYLLABLES_PER_SECOND = 3.0
DEFAULT_BPM = 100
BARS_A_LINE, BARS_A_TAG, BARS_AROUND = 2, 4, 4  # the last: before the first line and after the last
TEXT_LENGTH_MAX = 100_000  # of lyrics that are counted: far more than fits the longest song
_TAG = re.compile(r"\[[^\[\]\n]*\]")  # no [ inside: a row of them would take quadratic time
_VOWELS = re.compile(r"[aeiouyàáâãäåæèéêëìíîïòóôõöøùúûüýœаеёиоуыэюяієїαεηιουω]+")
_WORD = re.compile(r"[^\W\d_]+")


def auto_seconds(song: Song) -> float:
    """Whole seconds for a song, from the least to the most that there may be."""
    lines = [line.strip() for line in song.lyrics[:TEXT_LENGTH_MAX].splitlines()]
    sung = [text for line in lines if (text := _TAG.sub(" ", line).strip())]
    tags = sum(bool(_TAG.search(line)) for line in lines)
    bar = 60 / (song.bpm or DEFAULT_BPM) * int(song.time_signature or 4)
    if not sung:
        seconds = tags * 2 * BARS_A_TAG * bar if tags > 1 else DEFAULT_SECONDS
    else:
        seconds = sum(max(BARS_A_LINE * bar, syllables(line) / SYLLABLES_PER_SECOND) for line in sung)
        seconds += _silent_sections(lines) * BARS_A_TAG * bar + BARS_AROUND * bar
    return float(math.ceil(min(max(seconds, MIN_SECONDS), MAX_SECONDS)))


def _silent_sections(lines: list[str]) -> int:
    """Tags that no sung line follows before the next tag."""
    marks = ["tag" if _TAG.fullmatch(line) else "sung" for line in lines if line]
    return sum(mark == following == "tag" for mark, following in pairwise([*marks, "tag"]))


def syllables(text: str) -> int:
    """Syllables of a text, roughly: groups of vowels, and characters of scripts that write syllables."""
    count = 0
    for word in _WORD.findall(unicodedata.normalize("NFC", text.lower())):
        wide = sum(unicodedata.east_asian_width(letter) == "W" for letter in word)
        count += wide or max(1, len(_VOWELS.findall(word)))
    return count
