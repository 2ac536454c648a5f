"""Tables of flow times, as tuples of floats from noise (t = 1) to music (t = 0).

A table of n steps has n + 1 times, the last one its end. Times are even in u, t = s u / (1 + (s - 1) u): a
shift s above 1 spends more of the steps near the noise.
"""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

from ..errors import UserError, shown
from ..spec import MAX_STEPS, TURBO_STEPS, TURBO_TAUGHT_SHIFTS

SAME_TIME = 1e-4  # two times nearer than this are one: boundaries are typed with four digits


def shifted(u: float, shift: float) -> float:
    return shift * u / (1 + (shift - 1) * u)


def unshifted(t: float, shift: float) -> float:
    return t / (shift - (shift - 1) * t)


def times(steps: int, shift: float = 1.0, start: float = 1.0, end: float = 0.0) -> tuple[float, ...]:
    """`steps` + 1 times from `start` down to `end`, even in u. Raises UserError."""
    if steps < 1:
        raise UserError(f"steps: got {steps}, expected at least 1")
    check_stretch(shift, start, end)
    first, last = unshifted(start, shift), unshifted(end, shift)
    inner = (shifted(first + (last - first) * i / steps, shift) for i in range(1, steps))
    return (start, *inner, end)


def check_kinds(steps: object, boundaries: object) -> None:
    """Checks the kinds of `steps` (whole numbers) and `boundaries` (flow times); None passes. Raises UserError."""
    counts = steps if isinstance(steps, list | tuple) else [steps]
    if steps is not None and not all(isinstance(count, int) and not isinstance(count, bool) for count in counts):
        raise UserError(f"steps: got {shown(steps)}, expected a whole number, or one for each stage")
    if steps is not None and sum(counts) > MAX_STEPS:
        raise UserError(f"steps: got {shown(steps)}, expected at most {MAX_STEPS} in all")
    several = isinstance(boundaries, list | tuple) and len(boundaries) < MAX_STEPS
    if boundaries is not None and not (several and all(_is_time(time) for time in boundaries)):
        raise UserError(f"boundaries: got {shown(boundaries)}, expected flow times from 1 to 0 such as (0.8333, 0.5)")


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def check_stretch(shift: float, start: float, end: float) -> None:
    """Checks a shift, and that t falls from `start` to `end`. Raises UserError."""
    if not 0 < shift < math.inf:
        raise UserError(f"shift: got {shift}, expected more than 0, such as 3 for turbo models and 1 for base models")
    if not 1 >= start > end >= 0:
        raise UserError(f"times: got start {start:g} and end {end:g}, expected 1 >= start > end >= 0")


def share_time(share: float, shift: float, start: float = 1.0) -> float:
    """The flow time at which a `share` of a run's steps is done, which begins at `start` and ends at 0.

    Of n steps even in u, those that end no later (`steps_until`) are int(n * share), as the original counts them.
    """
    return shifted(unshifted(start, shift) * (1 - share), shift)


def steps_until(table: Sequence[float], t: float) -> int:
    """The number of a table's steps that end at `t` or before it, up to rounding."""
    return sum(end >= t - SAME_TIME for end in table[1:])


def steps_within(table: Sequence[float], share: float, shift: float, start: float = 1.0) -> int:
    """The number of a table's steps that lie in the first `share` of a run, which begins at `start` and ends at 0.

    Of n steps even in u these are round(n * share). A step belongs to it by its own times, so that a stage need not
    know the steps of the others.
    """
    whole = unshifted(start, shift)
    done = [1 - unshifted(t, shift) / whole for t in table]
    # As many steps as a run of steps of this one's width has in that share, and this one's number among them.
    widths = ((b, max(b - a, SAME_TIME**2)) for a, b in pairwise(done))  # two times may be one
    counts = [(round(round(share / width, 6)), round(end / width)) for end, width in widths]
    return sum(number <= most for most, number in counts)


def start_time(tables: Sequence[Sequence[float]], closeness: float) -> float:
    """The flow time of a run's stages at which a run begins with music noised to t = 1 - `closeness`.

    The nearest time at which a model is evaluated, be it of a stage behind these; of two that are as near, the larger.
    """
    if not 0 <= closeness <= 1:
        raise UserError(f"closeness: got {closeness:g}, expected 0 (from noise alone) to 1 (close to the source)")
    known = [t for table in tables for t in table if t > 0]
    return min(known, key=lambda t: (round(abs(t - (1 - closeness)), 6), -t)) if closeness > 0 else tables[0][0]


def _turbo_times() -> tuple[float, ...]:
    # Two shifts can give one time up to rounding; the first one counts.
    taught = {round(t, 9): t for shift in reversed(TURBO_TAUGHT_SHIFTS) for t in times(TURBO_STEPS, shift)[:-1]}
    return tuple(sorted(taught.values(), reverse=True))


TURBO_TIMES = _turbo_times()  # the 20 times on which turbo models were distilled


def check(table: Sequence[float]) -> tuple[float, ...]:
    """The table as floats. Raises UserError unless it falls from at most 1 to at least 0; only its last may be 0."""
    table = tuple(float(t) for t in table)
    if len(table) < 2 or not 1 >= table[0] > table[-1] >= 0 or any(a < b or a == 0 for a, b in pairwise(table)):
        shown = ", ".join(f"{t:g}" for t in table)
        raise UserError(f"times: got {shown}, expected two or more that fall from at most 1, 0 being the last if any")
    return table


def turbo_nearest(custom: Sequence[float], valid: Sequence[float] = TURBO_TIMES) -> tuple[float, ...]:
    """Custom times as a table for a turbo model: each one replaced by the nearest valid time, then the final 0.

    A final 0 in `custom` is the end. Raises UserError for no times and for more times than valid ones exist.
    """
    custom = tuple(custom[:-1] if custom and custom[-1] == 0 else custom)
    if not 0 < len(custom) <= len(valid):
        raise UserError(f"times: got {len(custom)}, expected 1 to {len(valid)} for a turbo model")
    return check((*(min(valid, key=lambda known: abs(known - t)) for t in custom), 0.0))


def snap(table: Sequence[float], valid: Sequence[float]) -> tuple[float, ...]:
    """The table with times that equal a valid time, or 0, up to rounding replaced by that valid time.

    Only the nearest time of the table is replaced, so a fine table keeps its times apart and only its last becomes 0.
    """
    meant = {}
    for known in (*valid, 0.0):
        nearest = min(table, key=lambda t: abs(known - t))
        if abs(known - nearest) <= SAME_TIME:
            meant[nearest] = known
    return tuple(meant.get(t, t) for t in table)


def untrained_times(table: Sequence[float], valid: Sequence[float]) -> tuple[float, ...]:
    """The times of a table at which the model is evaluated (all but the last) and that are not valid ones."""
    return tuple(t for t in table[:-1] if all(abs(known - t) > SAME_TIME for known in valid))


def split(table: Sequence[float], counts: Sequence[int]) -> tuple[tuple[float, float, tuple[float, ...]], ...]:
    """One table cut into stages of `counts` steps: (start, end, times) of each; neighbours share a time to the bit."""
    if any(count < 1 for count in counts) or sum(counts) != len(table) - 1:
        raise UserError(
            f"steps: got {'+'.join(map(str, counts))} for a table of {len(table) - 1} steps, "
            "expected at least 1 each and that many in all"
        )
    cuts = tuple(accumulate(counts, initial=0))
    return tuple((table[a], table[b], tuple(table[a : b + 1])) for a, b in pairwise(cuts))
