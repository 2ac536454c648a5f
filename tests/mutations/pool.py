"""Worker processes side by side: cases go in, outcomes come out."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from .cases import Case
from .outcome import Outcome

WORKERS_MAX = 4
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS")


class Pool:
    """`folder`: for the material and the cases. As a context it ends its processes."""

    def __init__(self, folder: Path, workers: int | None = None):
        workers = workers or min(WORKERS_MAX, os.cpu_count() or 1)
        self._process, self._workers = _start(folder, workers)
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)
        self._threads = ThreadPoolExecutor(workers)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *exc) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for worker in self._workers:
            worker.close()

    def submit(self, cases: Iterable[Case]) -> dict[str, "Future[Outcome]"]:
        """The future outcomes by the cases' ids."""
        return {case.id: self._threads.submit(self._run, case) for case in cases}

    def _run(self, case: Case) -> Outcome:
        worker = self._free.get()
        try:
            answer = worker.ask(json.dumps(vars(case)))
        finally:
            self._free.put(worker)
        if not answer:
            raise RuntimeError(f"{case.id}: the worker process has ended; its traceback is on stderr")
        return Outcome.from_json(answer)


class Worker:
    """This end of two pipes, of which a worker has the others."""

    def __init__(self, writing: int, reading: int):
        self._cases, self._answers = os.fdopen(writing, "w"), os.fdopen(reading)

    def ask(self, line: str) -> str:
        """The answer to a line; empty if the worker has ended."""
        try:
            self._cases.write(f"{line}\n")
            self._cases.flush()
        except BrokenPipeError:
            return ""
        return self._answers.readline()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._cases.close()
        self._answers.close()


def _start(folder: Path, workers: int) -> tuple[subprocess.Popen, list[Worker]]:
    cases, answers = [os.pipe() for _ in range(workers)], [os.pipe() for _ in range(workers)]
    theirs = [(case[0], answer[1]) for case, answer in zip(cases, answers)]
    script = Path(__file__).with_name("worker.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder / "material"), str(folder), *(f"{a}:{b}" for a, b in theirs)],
        stdin=subprocess.DEVNULL,
        pass_fds=[one for pair in theirs for one in pair],
        start_new_session=True,  # a group of processes, which is ended as one
        env={**os.environ, **dict.fromkeys(_ONE_THREAD, "1"), "TOKENIZERS_PARALLELISM": "false"},
    )
    for descriptor in (one for pair in theirs for one in pair):
        os.close(descriptor)
    return process, [Worker(case[1], answer[0]) for case, answer in zip(cases, answers)]
