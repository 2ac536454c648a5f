"""Training within a given time: which phases run for how long, and trainings that end when their time is over."""

import time
from collections.abc import Callable, Iterator, Sequence

# Of the time, to each phase: what profits most of it. Phases that are finished leave theirs to the others.
SHARES = {
    "songs": 0.05,
    "vocoder": 0.19,
    "text": 0.03,
    "latents": 0.04,
    "clips": 0.06,
    "codes": 0.03,
    "planner": 0.05,
    "l": 0.28,
    "m": 0.08,
    "s": 0.04,
    "decoder": 0.15,
}


def plan(seconds: float, phases: Sequence[str], finished: Sequence[str] = ()) -> dict[str, float]:
    """Seconds for each of the phases that take time; those that are finished get none."""
    open_ones = [phase for phase in phases if phase in SHARES and phase not in finished]
    whole = sum(SHARES[phase] for phase in open_ones)
    return {phase: seconds * SHARES[phase] / whole for phase in open_ones}


def within(trainer, seconds: float, clock: Callable[[], float] = time.perf_counter) -> Iterator[tuple]:
    """A trainer's steps for so many seconds. How many that will be is reckoned anew after each step and told to the
    trainer, so that its learning rate has cooled down when the time is over; then it saves.
    """
    first, started = trainer.step, clock()
    trainer.steps = max(trainer.steps, first + 2)
    for step in trainer.run():
        spent = clock() - started
        each = spent / (trainer.step - first)
        trainer.steps = trainer.step + int(max(0.0, seconds - spent) / max(each, 1e-6))
        yield step
    trainer.save()


def until(steps: Iterator, seconds: float, clock: Callable[[], float] = time.perf_counter) -> Iterator:
    """Steps of anything that can stop after each, for so many seconds, at least one."""
    started = clock()
    for step in steps:
        yield step
        if clock() - started >= seconds:
            break
    if hasattr(steps, "close"):
        steps.close()
