"""Takes of one song, ranked by their judges, and in words why the best is the best."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from .judges import JUDGES, Measured, total

NEARLY = 0.02  # totals that differ by less are as good as the same
CLEAR = 0.05  # grades that differ by less do not count as a reason
WEAK = 0.5


@dataclass(frozen=True)
class Take:
    """One take of a song: its seed, where it is known, and what the judges found. `total` 0..1 is the mean grade."""

    seed: int | None
    found: Mapping[str, Measured]
    total: float = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "total", total(self.found))

    @property
    def weakest(self) -> str | None:
        """The judge with the lowest grade, if that is a low one."""
        name = min(self.found, key=lambda one: self.found[one].grade, default=None)
        return name if name and self.found[name].grade < WEAK else None

    def line(self) -> str:
        """The take in one line: seed, total, and every remark."""
        remarks = "; ".join(one.remark for one in self.found.values())
        return f"{_seed(self)}{self.total:.2f}  {remarks}"

    def scores(self) -> dict[str, object]:
        """For tags and JSON: values, grades and the total."""
        return {"total": self.total, **{name: asdict(one) for name, one in self.found.items()}}


def ranked(takes: Sequence[Take]) -> list[Take]:
    """The best first; of equals the one that was made first."""
    return sorted(takes, key=lambda take: -take.total)


def reasons(takes: Sequence[Take]) -> str:
    """In words why the first of ranked takes is before the others."""
    best, rest = takes[0], takes[1:]
    if not rest:
        return f"the only take, {best.total:.2f}"
    nearly = [take for take in rest if best.total - take.total < NEARLY]
    better = {name: _lead(best, rest, name) for name in best.found}
    leads = sorted((name for name, lead in better.items() if lead > CLEAR), key=lambda name: -better[name])
    why = f"better than the others in {', '.join(leads[:3])}" if leads else "as good as the others in each part"
    close = f"; {len(nearly)} nearly as good" if nearly else ""
    weak = f"; its weakness is {best.weakest}" if best.weakest else ""
    return f"{_seed(best)}{best.total:.2f} of 1: {why}{close}{weak}"


def _seed(take: Take) -> str:
    return "" if take.seed is None else f"seed {take.seed}: "


def _lead(best: Take, rest: Sequence[Take], name: str) -> float:
    """By how much a take's grade is above the mean of the others, weighted by the judge."""
    others = [take.found[name].grade for take in rest if name in take.found]
    return JUDGES[name].weight * (best.found[name].grade - sum(others) / len(others)) if others else 0.0
