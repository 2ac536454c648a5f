"""Regions of a source: (start, end) in seconds, read from text in seconds or bars. No torch.

An end of None is the end of the source. Bars count from 1, and the last one is included.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UserError, shown
from ..song import BEATS
from ..spec import MAX_SECONDS, REGION_SECONDS_LEAST

Region = tuple[float, float | None]
REGIONS_MOST = 100
ROUNDING_SECONDS = 0.05  # by which a region may end behind its source
_TIME = r"(?:(\d{1,3}):)?(\d{1,5}(?:\.\d{1,6})?)"
# No two \s* meet without a letter between them: a text of nothing but spaces would take minutes.
_SECONDS = re.compile(rf"\s*{_TIME}\s*-(?:\s*(?:{_TIME}|end))?(?:\s*(?:s|seconds))?\s*", re.ASCII)
_BARS = re.compile(r"\s*bars?\s*(\d{1,5})(?:\s*-\s*(\d{1,5}))?\s*", re.ASCII | re.IGNORECASE)
_EXPECTED = "expected seconds such as 10-20, 1:05-1:20 or 40-end, or bars such as bars 8-12"


@dataclass(frozen=True)
class BarTimes:
    """Where bars lie: the first one begins at `first` seconds, which may be a little before the sound; each is `length`
    seconds long.
    """

    length: float
    first: float = 0.0

    @staticmethod
    def of(bpm: float, time_signature: str | None, first: float = 0.0) -> "BarTimes":
        return BarTimes(BEATS[time_signature] * 60 / bpm, first)

    def region(self, first: int, last: int) -> Region:
        """Bars `first` to `last`, from 1, the last included, in seconds."""
        return max(0.0, self.first + (first - 1) * self.length), self.first + last * self.length


def is_in_bars(text: str) -> bool:
    """Whether a region's text counts bars."""
    return _BARS.fullmatch(text) is not None


def split_regions(text: str) -> tuple[str, ...]:
    """The texts of single regions in one text, which commas, semicolons or line ends separate."""
    return tuple(part for part in map(str.strip, re.split(r"[,;\n]", text)) if part)


def parse_regions(text: str, bars: BarTimes | None = None) -> tuple[Region, ...]:
    """The regions of a text such as "10-20, 31.5-40", in its order; none of an empty one. Raises UserError."""
    return check_regions([parse_region(part, bars) for part in split_regions(text)])


def parse_region(text: str, bars: BarTimes | None = None) -> Region:
    """ "10-20", "1:05-1:20", "40-end" or "bars 8-12" in seconds. Raises UserError; bars need `bars`."""
    if found := _BARS.fullmatch(text):
        return _of_bars(int(found[1]), int(found[2] or found[1]), text, bars)
    found = _SECONDS.fullmatch(text)
    if not found:
        raise UserError(f"region: got {shown(text)}, {_EXPECTED}")
    return _time(found[1], found[2]), _time(found[3], found[4]) if found[4] else None


def _of_bars(first: int, last: int, text: str, bars: BarTimes | None) -> Region:
    if not 1 <= first <= last:
        raise UserError(f"region: got {shown(text)}, expected bars from 1 on that do not fall, such as bars 8-12")
    if bars is None:
        raise UserError(f"region: got {shown(text)}, but the source's tempo is not known; give its bpm, such as 120")
    return bars.region(first, last)


def _time(minutes: str | None, seconds: str) -> float:
    return 60 * int(minutes or 0) + float(seconds)


def check_regions(regions: object) -> tuple[Region, ...]:
    """Regions as tuples of floats. Raises UserError for what is no list of (start, end) in seconds."""
    if not isinstance(regions, Sequence) or isinstance(regions, str) or len(regions) > REGIONS_MOST:
        raise UserError(f"regions: got {shown(regions)}, expected at most {REGIONS_MOST} pairs of seconds")
    return tuple(map(_checked, regions))


def _checked(region: object) -> Region:
    pair = isinstance(region, Sequence) and not isinstance(region, str) and len(region) == 2
    if not pair or not _is_second(region[0]) or not (region[1] is None or _is_second(region[1])):
        raise UserError(f"region: got {shown(region)}, expected (start, end) in seconds from 0 to {MAX_SECONDS:g}")
    start, end = float(region[0]), None if region[1] is None else float(region[1])
    if end is not None and end - start < REGION_SECONDS_LEAST:
        raise UserError(
            f"region: got {start:g} to {end:g} s, expected an end at least {REGION_SECONDS_LEAST:g} s behind the start"
        )
    return start, end


def check_within(regions: Sequence[Region], seconds: float) -> None:
    """Raises UserError for regions that a source of so many seconds does not have."""
    for start, end in regions:
        if start >= seconds or (end is not None and end > seconds + ROUNDING_SECONDS):
            until = "" if end is None else f"{end:g}"
            raise UserError(
                f"region: got {start:g}-{until} s, but the source ends at {seconds:.2f} s; name a part of it, or "
                "let extend make music behind it"
            )


def _is_second(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 2 * MAX_SECONDS
