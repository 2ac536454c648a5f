"""Retries work under the next smaller memory plan when memory runs out, so that no song is lost for it."""

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
    """Runs work under a memory plan and retries it under the next smaller one when memory runs out.

    `passes` is the number of forward passes of a step that run together. Subclasses free memory in `make_room`.
    """

    def __init__(self, passes: int = 1, plan: Plan = PLANS[0]):
        self.passes, self.plan = passes, plan

    def can_use(self, plan: Plan) -> bool:
        """Whether models can be held as this plan says."""
        return True

    def make_room(self, plan: Plan) -> None:
        """Releases the models that the next plan does not hold."""

    def with_fallback(self, work: Callable[[], T], means: Sequence[str] = VOCODER_MEANS) -> T:
        """The result of `work`, under a smaller plan where memory runs out. Raises AceStepError where none is left."""
        while True:
            try:
                return work()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # The error's traceback holds tensors, and is gone by now.
            self._fall_back(means)

    def steps_with_fallback(self, play: Callable[[], Iterator[Step]]) -> Iterator[Step]:
        """The steps of a stage. Where memory runs out, the stage starts again under a smaller plan, and steps that were
        yielded before are not yielded again. Raises AceStepError where no plan is left.
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
            self._fall_back(STAGE_MEANS)

    def _fall_back(self, means: Sequence[str]) -> None:
        plan = smaller(self.plan, means, self.passes)
        if plan is None or not self.can_use(plan):
            raise AceStepError(
                f"out of memory even with {self.plan}; make a shorter song, or take smaller models or bf16"
            )
        logger.warning("out of memory; retrying with %s", plan)
        gc.collect()  # tensors of the broken-off pass may sit in reference cycles
        self.make_room(plan)
        self.plan = plan
