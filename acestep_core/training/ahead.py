"""The batches of steps, where the first one of the next step is made while a GPU still computes the present step."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class Ahead(Generic[Batch]):
    """The batches that `batches_of(step)` makes, each made when it is asked for, or one step earlier by `begin`."""

    def __init__(self, batches_of: Callable[[int], Iterator[Batch]]):
        self._batches_of = batches_of
        self._step, self._begun = -1, (None, iter(()))

    def of(self, step: int) -> Iterator[Batch]:
        """All batches of a step."""
        first, rest = self._begun if step == self._step else self._made(step)
        self._step = -1  # asked for again, after an error, all of them are made anew
        yield first
        yield from rest

    def begin(self, step: int) -> None:
        """Makes the first batch of a step."""
        self._begun = self._made(step)
        self._step = step

    def _made(self, step: int) -> tuple[Batch, Iterator[Batch]]:
        batches = iter(self._batches_of(step))
        return next(batches), batches
