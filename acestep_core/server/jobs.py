"""The queue of jobs: who waits, what runs on which device, and how each job ended. No torch, no web.

A job's order is made by a Maker, which yields Events; the queue cancels by iterating no further.
"""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from ..audio.live import LiveSound
from ..errors import AceStepError, UserError
from ..generation.kept_cascade import Preview, Progress
from .journal import Journal

logger = logging.getLogger(__name__)

QUEUED, RUNNING, DONE, FAILED, CANCELLED, LOST = "queued", "running", "done", "failed", "cancelled", "lost"
ENDED = (DONE, FAILED, CANCELLED, LOST)
JOB_PREFIX, ID_BYTES = "j_", 8
WAITING_MOST, KEPT_MOST, KEEP_SECONDS = 200, 1000, 24 * 3600
NOTES_MOST, AVERAGE_OVER = 50, 50
_LOST = "the server was stopped before this job ended; its finished songs are in the library, send the rest again"
_UNEXPECTED = "failed: an unexpected error, of which the server's log has more"


class QueueFull(AceStepError):
    """As many jobs wait as the queue holds."""


class NoSuchJob(UserError):
    """There is no job of this id, or it is kept no longer."""


@dataclass(frozen=True)
class Made:
    """A finished song, or the answer of a planner, as JSON has it."""

    answer: dict


Event = Progress | Preview | LiveSound | Made


class Order(Protocol):
    """What a job makes: a kind, and a title for people."""

    kind: str
    title: str


class Maker(Protocol):
    """Makes orders on one device, one after the other."""

    def steps(self, order: Order) -> Iterator[Event]: ...


@dataclass
class Job:
    """A request on its way. Its state is changed by its queue alone; `version` grows with each change."""

    order: Order
    id: str = field(default_factory=lambda: f"{JOB_PREFIX}{secrets.token_hex(ID_BYTES)}")
    state: str = QUEUED
    created: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    progress: Progress | None = None
    made: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    preview: Preview | None = None
    live: LiveSound | None = None  # the song that is being decoded
    cancelled: bool = False
    version: int = 0

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    def record(self) -> dict:
        """The job as the journal keeps it."""
        names = ("id", "state", "created", "started", "ended", "made", "notes", "error")
        return {"kind": self.order.kind, "title": self.order.title} | {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class _Remembered:
    """The order of a job of an earlier run of the server."""

    kind: str
    title: str


class JobQueue:
    """One queue before several makers, a thread each. Raises QueueFull and NoSuchJob.

    Ended jobs are kept for `keep_seconds`, and the journal keeps them beyond a restart: jobs that it holds as
    unfinished were lost with the process that had them.
    """

    def __init__(
        self,
        makers: Sequence[Maker],
        journal: Journal,
        waiting_most: int = WAITING_MOST,
        keep_seconds: float = KEEP_SECONDS,
    ):
        self.waiting_most, self.keep_seconds = waiting_most, keep_seconds
        self._journal, self._changed = journal, threading.Condition()
        self._waiting: deque[Job] = deque()
        self._jobs = {job.id: job for job in map(_remembered, journal.records())}
        for job in self._jobs.values():
            if job.state == LOST:
                journal.put(job.record())
        self._took: deque[float] = deque(maxlen=AVERAGE_OVER)
        self._open, self._notes = True, _NotesOfJobs()
        self._notes.install()
        self._threads = [threading.Thread(target=self._serve, args=(maker,), daemon=True) for maker in makers]
        for thread in self._threads:
            thread.start()

    # ---- for those who ask -------------------------------------------------------------------------------------------

    def submit(self, *orders: Order) -> list[Job]:
        """Jobs for orders, all of them or none. Raises QueueFull."""
        jobs = [Job(order) for order in orders]
        with self._changed:
            if len(self._waiting) + len(jobs) > self.waiting_most:
                raise QueueFull(
                    f"queue: {len(self._waiting)} jobs wait and {self.waiting_most} have place; try again later"
                )
            self._forget()
            for job in jobs:
                job.created = time.time()  # in the order of the queue, whichever thread came first
                self._jobs[job.id] = job
                self._waiting.append(job)
                self._journal.put(job.record())
            self._changed.notify_all()
        return jobs

    def get(self, job_id: str) -> Job:
        """Raises NoSuchJob."""
        with self._changed:
            if job_id not in self._jobs:
                raise NoSuchJob(f"job: there is none of the id {job_id[:40]!r}, or it is kept no longer")
            return self._jobs[job_id]

    def jobs(self) -> list[Job]:
        """Those that are kept, the newest first."""
        with self._changed:
            return sorted(self._jobs.values(), key=lambda job: job.created, reverse=True)

    def place(self, job: Job) -> int | None:
        """A job's place in the queue, from 1; None for one that does not wait."""
        with self._changed:
            return self._waiting.index(job) + 1 if job in self._waiting else None

    def cancel(self, job_id: str) -> Job:
        """Cancels a job that has not ended: at once where it waits, else after the step that runs. Raises NoSuchJob."""
        job = self.get(job_id)
        with self._changed:
            job.cancelled = not job.has_ended
            if job in self._waiting:
                self._waiting.remove(job)
                self._end(job, CANCELLED)
        return job

    def wait(self, job: Job, seconds: float | None = None, version: int | None = None) -> bool:
        """Waits until a job has ended, or is no longer at `version`; whether it is so."""

        def is_so() -> bool:
            return job.has_ended or (version is not None and job.version != version)

        with self._changed:
            return self._changed.wait_for(is_so, seconds)

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self._changed:
            states = [job.state for job in self._jobs.values()]
        return {state: states.count(state) for state in (QUEUED, RUNNING, *ENDED)}

    @property
    def mean_seconds(self) -> float:
        """The mean time of the last jobs; 0 before the first."""
        took = list(self._took)
        return sum(took) / len(took) if took else 0.0

    def close(self, seconds: float = 10.0) -> None:
        """Cancels what runs, and stops the threads. Waiting jobs stay in the journal, as lost ones of the next run."""
        with self._changed:
            self._open = False
            self._waiting.clear()
            for job in self._jobs.values():
                job.cancelled = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(seconds)
        self._notes.remove()

    # ---- for the makers' threads -------------------------------------------------------------------------------------

    def _serve(self, maker: Maker) -> None:
        with ThreadPoolExecutor(1, thread_name_prefix="maker") as thread:
            while (job := self._next()) is not None:
                failure = thread.submit(self._make, maker, job).exception()
                self._settle(job, failure)

    def _next(self) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            if not self._open:
                return None
            job = self._waiting.popleft()
            job.state, job.started = RUNNING, time.time()
            self._change(job)
            self._journal.put(job.record())
        return job

    def _make(self, maker: Maker, job: Job) -> None:
        with self._notes.of(job), closing(maker.steps(job.order)) as steps:
            for event in steps:
                self._take(job, event)
                if job.cancelled:
                    return

    def _take(self, job: Job, event: Event) -> None:
        with self._changed:
            if isinstance(event, Progress):
                job.progress = event
            elif isinstance(event, Preview):
                job.preview = event
            elif isinstance(event, LiveSound):
                job.live = event
            else:
                job.live = None
                job.made.append(event.answer)
                self._journal.put(job.record())
            self._change(job)

    def _settle(self, job: Job, failure: BaseException | None) -> None:
        with self._changed:
            if not self._open:
                job.error = _LOST
                self._end(job, LOST)
            elif failure is not None:
                job.error = message_of(failure)
                self._end(job, FAILED)
            elif job.cancelled:
                self._end(job, CANCELLED)
            else:
                self._took.append(time.time() - job.started)
                self._end(job, DONE)

    def _end(self, job: Job, state: str) -> None:
        job.state, job.ended, job.live = state, time.time(), None
        self._change(job)
        self._journal.put(job.record())

    def _change(self, job: Job) -> None:
        job.version += 1
        self._changed.notify_all()

    def _forget(self) -> None:
        """Drops jobs that ended long ago, and the oldest beyond the most that are kept."""
        ended = sorted((job for job in self._jobs.values() if job.has_ended), key=lambda job: job.ended or 0)
        before = time.time() - self.keep_seconds
        old = [job for job in ended if (job.ended or 0) < before] or ended[: max(0, len(self._jobs) - KEPT_MOST)]
        for job in old:
            del self._jobs[job.id]
        self._journal.forget(job.id for job in old)


def _remembered(record: dict) -> Job:
    """A job of the journal; one that had not ended was lost."""
    given = {
        name: record.get(name) for name in ("id", "state", "created", "started", "ended", "made", "notes", "error")
    }
    job = Job(_Remembered(str(record.get("kind")), str(record.get("title"))), **given)
    if not job.has_ended:
        job.state, job.ended, job.error = LOST, time.time(), _LOST
    return job


def message_of(failure: BaseException) -> str:
    """An error as the command line says it."""
    if isinstance(failure, UserError):
        return str(failure)
    if isinstance(failure, AceStepError | OSError | MemoryError):
        return f"failed: {' '.join(str(failure).split()) or 'out of memory'}"
    logger.error("a job failed", exc_info=failure)
    return _UNEXPECTED


class _NotesOfJobs(logging.Handler):
    """Gives each job what the library logs while it is made."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self._here = threading.local()
        self._library = logging.getLogger(__package__.rpartition(".")[0])

    def install(self) -> None:
        self._library.addHandler(self)

    def remove(self) -> None:
        self._library.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        job, line = getattr(self._here, "job", None), record.getMessage()
        if job is not None and len(job.notes) < NOTES_MOST and line not in job.notes:
            job.notes.append(line)

    @contextmanager
    def of(self, job: Job) -> Iterator[None]:
        """What this thread logs within goes to a job."""
        self._here.job = job
        try:
            yield
        finally:
            self._here.job = None
