"""Worker processes side by side: cases go in, outcomes come out."""

import json
import os
import queue
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
        self._processes = [_worker(folder, number) for number in range(workers)]
        self._free: queue.SimpleQueue[subprocess.Popen] = queue.SimpleQueue()
        for process in self._processes:
            self._free.put(process)
        self._threads = ThreadPoolExecutor(workers)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *exc) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
            process.wait()

    def submit(self, cases: Iterable[Case]) -> dict[str, "Future[Outcome]"]:
        """The future outcomes by the cases' ids."""
        return {case.id: self._threads.submit(self._run, case) for case in cases}

    def _run(self, case: Case) -> Outcome:
        process = self._free.get()
        try:
            process.stdin.write(f"{json.dumps(vars(case))}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        finally:
            self._free.put(process)
        if not answer:
            raise RuntimeError(f"{case.id}: the worker process has ended; its traceback is on stderr")
        return Outcome.from_json(answer)


def _worker(folder: Path, number: int) -> subprocess.Popen:
    script = Path(__file__).with_name("worker.py")
    words = [sys.executable, str(script), str(folder / "material"), str(folder / str(number))]
    return subprocess.Popen(
        [*words, *(["--build"] if number == 0 else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **dict.fromkeys(_ONE_THREAD, "1"), "TOKENIZERS_PARALLELISM": "false"},
    )
