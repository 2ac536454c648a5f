"""Work that goes on by the next smaller memory plan where memory runs out: a song is never lost for it."""

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from ..errors import AceStepError, is_out_of_memory
from ..flow.stages import Step
from .plan import PLANS, STAGE_MEANS, VOCODER_MEANS, Plan, smaller

logger = logging.getLogger(__name__)

T = TypeVar("T")


class OomFallback:
    """Work under a plan, with so many passes in a step. What a smaller plan needs done is `make_room`'s."""

    def __init__(self, passes: int = 1, plan: Plan = PLANS[0]):
        self.passes, self.plan = passes, plan

    def can_use(self, plan: Plan) -> bool:
        """Whether there is a way to hold things so."""
        return True

    def make_room(self, plan: Plan) -> None:
        """Lets go of what the next plan does not hold."""

    def with_fallback(self, work: Callable[[], T], means: Sequence[str] = VOCODER_MEANS) -> T:
        """What `work` gives; by a smaller plan where memory runs out. Raises AceStepError where there is none."""
        while True:
            try:
                return work()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # The error's traceback holds tensors, and is gone by now.
            self._spare(means)

    def steps_with_fallback(self, play: Callable[[], Iterator[Step]]) -> Iterator[Step]:
        """A stage's steps. Where memory runs out it is played again from its beginning by a smaller plan, and what was
        given already is not given again. Raises AceStepError where there is none.
        """
        done = 0
        while True:
            try:
                for step in play():
                    if step.step > done:
                        done = step.step
                        yield step
                return
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            self._spare(STAGE_MEANS)

    def _spare(self, means: Sequence[str]) -> None:
        plan = smaller(self.plan, means, self.passes)
        if plan is None or not self.can_use(plan):
            raise AceStepError(
                f"out of memory, though already so: {self.plan}; make a shorter song, or take smaller models or bf16"
            )
        logger.warning("out of memory, going on so: %s", plan)
        gc.collect()  # what a broken-off pass left may hold itself
        self.make_room(plan)
        self.plan = plan
