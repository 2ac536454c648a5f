"""The queue: order, places, progress, cancel, failures, a full queue, and what a killed process leaves."""

import logging
import sqlite3
import threading
import time
from dataclasses import dataclass

import pytest
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.server import journal as journals
from acestep_pack.acestep_core.server.jobs import JobQueue, Made, NoSuchJob, Progress, QueueFull
from acestep_pack.acestep_core.server.journal import Journal

LIBRARY_LOG = "acestep_pack.acestep_core.flow"
WAIT = 30


@dataclass(frozen=True)
class Order:
    title: str
    kind: str = "songs"


class Maker:
    """Makes three steps an order, each with a permit of the test."""

    def __init__(self, gate=None):
        self.gate, self.order, self.closed = gate, [], []

    def steps(self, order):
        self.order.append(order.title)
        try:
            for number in range(1, 4):
                if self.gate:
                    assert self.gate.acquire(timeout=WAIT)
                if order.title == "bad":
                    raise UserError("caption: is bad")
                if order.title == "broken":
                    raise ZeroDivisionError("secret")
                logging.getLogger(LIBRARY_LOG).warning("%s is odd", order.title)
                yield Progress("tiny-l", number, 3, number / 3)
            yield Made({"title": order.title})
        finally:
            self.closed.append(order.title)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "jobs.sqlite")


@pytest.fixture
def start(journal):
    queues = []

    def make(*makers, **limits):
        queues.append(JobQueue(makers, journal, **limits))
        return queues[-1]

    yield make
    for queue in queues:
        queue.close(1)


def submit(queue, *titles):
    return [queue.submit(Order(title))[0] for title in titles]


def wait(queue, *jobs):
    assert all(queue.wait(job, WAIT) for job in jobs)


def running(queue, job):
    until = time.monotonic() + WAIT
    while job.state == "queued" and time.monotonic() < until:
        time.sleep(0.01)
    assert job.state == "running"


def test_jobs_are_made_in_order_and_say_where_they_are(start):
    gate = threading.Semaphore(0)
    maker = Maker(gate)
    queue = start(maker)
    first, second, third = submit(queue, "a", "b", "c")
    running(queue, first)
    assert [queue.place(job) for job in (first, second, third)] == [None, 1, 2]
    assert [job.id for job in queue.jobs()] == [third.id, second.id, first.id]
    version = first.version
    gate.release()
    assert queue.wait(first, WAIT, version)
    assert first.progress == Progress("tiny-l", 1, 3, 1 / 3)
    gate.release(8)
    wait(queue, first, second, third)
    assert maker.order == ["a", "b", "c"]
    assert [job.made for job in (first, second, third)] == [[{"title": title}] for title in "abc"]
    assert queue.counts()["done"] == 3 and queue.mean_seconds > 0


def test_two_makers_work_at_once(start):
    gates = threading.Semaphore(0), threading.Semaphore(0)
    queue = start(*map(Maker, gates))
    jobs = submit(queue, "a", "b")
    for job in jobs:
        running(queue, job)


def test_a_full_queue_takes_no_more_and_no_part_of_several(start):
    gate = threading.Semaphore(0)
    queue = start(Maker(gate), waiting_most=2)
    first = submit(queue, "a")[0]
    running(queue, first)
    second = submit(queue, "b")[0]
    with pytest.raises(QueueFull, match="1 jobs wait and 2 have place"):
        queue.submit(Order("c"), Order("d"))
    submit(queue, "c")
    with pytest.raises(QueueFull):
        submit(queue, "d")
    gate.release(3)
    wait(queue, first)
    running(queue, second)
    submit(queue, "d")
    assert len(queue.jobs()) == 4


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_within_a_step(start):
    gate = threading.Semaphore(0)
    maker = Maker(gate)
    queue = start(maker)
    first, second, third = submit(queue, "a", "b", "c")
    running(queue, first)
    assert queue.cancel(second.id).state == "cancelled"
    assert queue.cancel(first.id).state == "running"
    gate.release()
    wait(queue, first)
    assert first.state == "cancelled" and first.progress.step == 1 and maker.closed == ["a"]
    gate.release(3)
    wait(queue, third)
    assert third.state == "done" and maker.order == ["a", "c"]
    assert queue.cancel(third.id).state == "done" and not third.cancelled


def test_a_failed_job_says_why_and_the_next_one_is_made(start, caplog):
    queue = start(Maker())
    bad, broken, good = submit(queue, "bad", "broken", "good")
    wait(queue, bad, broken, good)
    assert [job.state for job in (bad, broken, good)] == ["failed", "failed", "done"]
    assert bad.error == "caption: is bad"
    assert "secret" not in broken.error and "ZeroDivisionError" in caplog.text


def test_each_job_has_its_own_notes(start):
    queue = start(Maker(), Maker())
    jobs = submit(queue, "a", "b", "c")
    wait(queue, *jobs)
    assert [job.notes for job in jobs] == [["a is odd"], ["b is odd"], ["c is odd"]]


def test_jobs_that_a_killed_process_had_are_told_as_lost(start, journal):
    gate = threading.Semaphore(0)
    queue = start(Maker(gate))
    gate.release(3)
    done, runs, waits = submit(queue, "a", "b", "c")
    wait(queue, done)
    running(queue, runs)
    after = JobQueue((), journal)  # of the next process, which finds the journal as it is
    assert [after.get(job.id).state for job in (done, runs, waits)] == ["done", "lost", "lost"]
    assert after.get(done.id).made == [{"title": "a"}]
    assert after.get(done.id).record() == done.record()
    assert "server was stopped" in after.get(waits.id).error
    after.close()
    gate.release(6)


def test_a_server_that_stops_cancels_its_jobs(start):
    gate = threading.Semaphore(0)
    maker = Maker(gate)
    queue = start(maker)
    job = submit(queue, "a")[0]
    running(queue, job)
    gate.release()
    queue.close()
    assert job.state == "lost" and maker.closed == ["a"]


def test_ended_jobs_are_kept_for_a_time(start, journal):
    queue = start(Maker(), keep_seconds=0)
    old = submit(queue, "a")[0]
    wait(queue, old)
    time.sleep(0.01)
    submit(queue, "b")
    with pytest.raises(NoSuchJob):
        queue.get(old.id)
    assert old.id not in [record["id"] for record in journal.records()]


def test_a_damaged_journal_is_begun_anew(tmp_path):
    (tmp_path / "jobs.sqlite").write_bytes(b"no database at all" * 100)
    assert Journal(tmp_path / "jobs.sqlite").records() == []


def test_a_journal_that_another_program_has_locked_stays(tmp_path, monkeypatch):
    file = tmp_path / "jobs.sqlite"
    Journal(file).put({"id": "j", "created": 1.0})
    before = file.read_bytes()

    def locked(path):
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(journals, "open_database", locked)
    with pytest.raises(UserError, match=r"jobs.sqlite: cannot be opened \(database is locked\)"):
        Journal(file)
    assert file.read_bytes() == before
