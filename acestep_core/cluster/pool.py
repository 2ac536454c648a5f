"""Gives tasks to workers, and makes again elsewhere what a lost worker had. It knows nothing of how workers run."""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import AceStepError, UserError
from .bundles import Bundle
from .worker import About, Said

logger = logging.getLogger(__name__)

ATTEMPTS = 3  # at one task: one that ends its workers, as by taking all memory, would end all of them
RESTARTS = 5  # of one worker


class WorkerLost(AceStepError):
    """A worker is gone, with what it was making."""


class Task(Protocol):
    """What a worker makes. `bundles`: name of a file in it -> the file with all that belongs to it."""

    bundles: Mapping[str, Bundle]


class Worker(Protocol):
    """A WorkerProcess from afar; each call raises WorkerLost where it is gone."""

    def about(self) -> About: ...
    def lacks(self, keys: list[str]) -> list[str]: ...
    def attach(self, key: str, files: Mapping[str, bytes]) -> None: ...
    def begin(self, task: object, names: Mapping[str, tuple[str, str]]) -> None: ...
    def next(self) -> Said: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Failure:
    """A task that could not be made, and why."""

    error: AceStepError


class Slot:
    """A place for a worker, which is started when it is needed, and again after it was lost. `say` is called with a
    line on each worker that is started.
    """

    def __init__(self, start: Callable[[], Worker], number: int = 1, say: Callable[[str], object] = logger.warning):
        self.number, self._start, self._starts, self._say = number, start, 0, say
        self._worker: Worker | None = None

    def ready(self) -> Worker:
        """The worker of this place. Raises WorkerLost where none can be started any more."""
        if self._worker is None:
            if self._starts > RESTARTS:
                raise WorkerLost(f"worker {self.number}: was lost {self._starts} times")
            self._starts += 1
            self._worker = self._start()
            self._say(f"worker {self.number}: {self._worker.about()}")
        return self._worker

    def run(self, task: Task) -> Iterator[object]:
        """The events of a task. Raises WorkerLost, and what the maker raises: UserError or AceStepError."""
        worker, ended = self.ready(), False
        try:
            self._attach(worker, task)
            worker.begin(task, {name: (one.key, one.name) for name, one in task.bundles.items()})
            while not ended:
                said = worker.next()
                for note in said.notes:
                    logger.warning("%s", note)
                ended = said.event is None
                if said.failed is not None:
                    raise (UserError if said.failed[0] else AceStepError)(said.failed[1])
                if not ended:
                    yield said.event
        except WorkerLost:
            self._worker, ended = None, True
            raise
        finally:
            if not ended:  # whoever asked wants no more of it
                worker.close()

    def _attach(self, worker: Worker, task: Task) -> None:
        bundles = {one.key: one for one in task.bundles.values()}
        for key in worker.lacks(list(bundles)):
            worker.attach(key, bundles[key].read())


def retried(slot: Slot, task: Task, is_result: Callable[[object], bool]) -> Iterator[object]:
    """The events of a task, made again where its worker is lost; results that came before come once.

    Raises what `Slot.run` raises.
    """
    had = 0
    for attempt in range(1, ATTEMPTS + 1):
        known = 0
        try:
            for event in slot.run(task):
                known += is_result(event)
                if not is_result(event) or known > had:
                    yield event
            return
        except WorkerLost as exc:
            had = max(had, known)
            if attempt == ATTEMPTS:
                raise
            logger.warning("%s; what it made is made again", exc)


class Pool:
    """Several slots before one list of tasks."""

    def __init__(self, slots: Sequence[Slot], is_result: Callable[[object], bool]):
        self._slots, self._is_result = slots, is_result

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, object]]:
        """(number of a task, its event) as they come; a Failure ends a task that cannot be made.

        Tasks are begun in their order; a result comes once, however often its task is begun. Stop iterating to cancel.
        Raises AceStepError once no worker is left.
        """
        course = _Course(len(tasks))
        threads = [
            threading.Thread(target=self._serve, args=(slot, tasks, course), daemon=True) for slot in self._slots
        ]
        for thread in threads:
            thread.start()
        try:
            yield from course.events(lambda: any(thread.is_alive() for thread in threads))
        finally:
            course.end()

    def _serve(self, slot: Slot, tasks: Sequence[Task], course: "_Course") -> None:
        while (number := course.take()) is not None:
            try:
                slot.ready()
            except AceStepError as exc:
                course.give_back(number)
                logger.warning("%s; the others go on without it", exc)
                return
            try:
                self._run(slot, tasks[number], number, course)
            except WorkerLost as exc:
                if not course.ended:
                    course.lost(number, exc)
            except AceStepError as exc:
                course.failed(number, exc)

    def _run(self, slot: Slot, task: Task, number: int, course: "_Course") -> None:
        known = 0
        for event in slot.run(task):
            known += self._is_result(event)
            if not self._is_result(event) or course.is_new(number, known):
                course.put(number, event)
            if course.ended:
                return
        course.done(number)


class _Course:
    """Which tasks are left, and what came of the others. Threads share it."""

    def __init__(self, count: int):
        self._left, self._open, self._events = deque(range(count)), count, queue.Queue()
        self._attempts, self._results = [0] * count, [0] * count
        self._changed, self.ended = threading.Condition(), False

    def take(self) -> int | None:
        """The next task; None once all are made. It waits, as another worker may lose its task."""
        with self._changed:
            self._changed.wait_for(lambda: self._left or not self._open or self.ended)
            return self._left.popleft() if self._left and not self.ended else None

    def give_back(self, number: int) -> None:
        """A task that another one shall make."""
        with self._changed:
            self._left.appendleft(number)
            self._changed.notify_all()

    def is_new(self, number: int, result: int) -> bool:
        """Whether a result of a task, counted from 1, has not come before."""
        before, self._results[number] = self._results[number], max(self._results[number], result)
        return result > before

    def put(self, number: int, event: object) -> None:
        self._events.put((number, event))

    def lost(self, number: int, exc: WorkerLost) -> None:
        self._attempts[number] += 1
        if self._attempts[number] >= ATTEMPTS:
            self.failed(number, AceStepError(f"{exc}; {ATTEMPTS} workers were lost while they made this song"))
        else:
            logger.warning("%s; what it made is made again", exc)
            self.give_back(number)

    def failed(self, number: int, exc: AceStepError) -> None:
        self.put(number, Failure(exc))
        self.done(number)

    def done(self, number: int) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def events(self, has_workers: Callable[[], bool]) -> Iterator[tuple[int, object]]:
        """All that comes, to the end. Raises AceStepError where no worker is left before it."""
        while True:
            try:
                yield self._events.get(timeout=0.2)
            except queue.Empty:
                if not self._open and self._events.empty():
                    return
                if not has_workers() and self._events.empty():
                    raise AceStepError(
                        f"cluster: no worker is left, and {self._open} songs are; the same command makes the rest"
                    ) from None
