"""How many takes of a song are made, how many are kept, and when more are made. No torch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from ..planner.planner import Planner

MOST_TAKES, ROUNDS = 1000, 4
DRAFT = 2  # steps that a draft joins into one


@dataclass(frozen=True)
class TakeSettings:
    """`count` takes, of which the best `keep` are kept. Raises UserError.

    `retry_below`: while the best take's total is below it, as many takes are made again, up to ROUNDS times in all.
    `draft`: so many steps are joined into one; 1 makes whole takes. `planner`: another judge, for songs with codes.
    """

    count: int = 1
    keep: int = 1
    retry_below: float | None = None
    draft: int = DRAFT
    planner: "Planner | None" = None

    def __post_init__(self):
        if not 1 <= self.count <= MOST_TAKES:
            raise UserError(f"best of: got {self.count}, expected 1 to {MOST_TAKES} takes")
        if not 1 <= self.keep <= self.count:
            raise UserError(f"keep: got {self.keep}, expected 1 to {self.count}, the number of takes")
        if self.retry_below is not None and not 0 <= self.retry_below <= 1:
            raise UserError(f"retry below: got {self.retry_below:g}, expected a total from 0 to 1, such as 0.7")
        if not 1 <= self.draft <= 100:
            raise UserError(f"draft: got {self.draft}, expected 1 (whole takes) to 100 steps in one")

    @property
    def are_wanted(self) -> bool:
        """Whether a song is chosen among takes at all."""
        return self.count > 1 or self.retry_below is not None

    @property
    def seeds(self) -> int:
        """The most seeds that a song may take."""
        return self.count * (1 if self.retry_below is None else ROUNDS)
