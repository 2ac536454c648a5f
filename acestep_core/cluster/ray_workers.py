"""Workers as Ray actors: one a GPU, or one a machine without GPUs. ray is imported when a cluster is asked for.

Plain actors, and not Ray Serve: the queue, progress, previews and cancelling are ours, and each actor has one task.
"""

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TextIO
from weakref import WeakSet

from ..errors import AceStepError, UserError
from ..system.extras import install_command
from .pool import Slot, WorkerLost
from .worker import Maker, WorkerProcess
from .worker_folders import remove_dead

START_SECONDS = 900.0  # until an actor runs: its imports, and the start of a machine
LEAVE_SECONDS = 5.0  # for all workers to remove their files, once they have no more to do
LOCAL = "local"
WORKERS_MOST = 1000


class RayCluster:
    """A connection to a cluster. Raises UserError where it cannot be reached, or ray is not installed.

    `address` "" takes the cluster that RAY_ADDRESS names, else one that runs on this machine, else starts one here;
    "local" always starts one here.
    """

    def __init__(self, address: str = ""):
        check_ray()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
        import ray

        quiet = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False}
        with _Reached(address):
            ray.init(address or None, **quiet)
        self._ray, self._stdout = ray, sys.stdout
        self._workers: WeakSet[RayWorker] = WeakSet()  # Ray ends an actor, and frees its GPU, once nobody refers to it
        sys.stdout = sys.stdout and _OfThisThread(sys.stdout)

    @property
    def ray(self):
        """The module ray. Raises WorkerLost once this is closed, where ray would begin another cluster by itself."""
        if self._ray is None:
            raise WorkerLost("the cluster is closed")
        return self._ray

    def slots(
        self, make: Callable[[], Maker], workers: int | None, device: str | None, threads: int, **slot
    ) -> list[Slot]:
        """A slot for each worker: so many, or one a GPU, or one a machine where there are no GPUs. Raises UserError.

        `slot`: further arguments of Slot.
        """
        gpus = 0 if device == "cpu" else int(self.ray.cluster_resources().get("GPU", 0))
        machines = sum(node["Alive"] for node in self.ray.nodes())
        count = workers or gpus or machines
        if not 1 <= count <= WORKERS_MOST or (gpus and count > gpus):
            raise UserError(
                f"--workers: got {count}, expected 1 to {gpus or WORKERS_MOST}, as many as there are devices"
            )

        def start() -> RayWorker:
            return self._start(make, threads, min(gpus, 1))

        return [Slot(start, number, **slot) for number in range(1, count + 1)]

    def _start(self, make: Callable[[], Maker], threads: int, gpus: int) -> "RayWorker":
        placed = {"num_cpus": 0, "num_gpus": gpus, "scheduling_strategy": "SPREAD", "max_restarts": 0}
        actor = self.ray.remote(WorkerProcess).options(**placed).remote(make, threads)
        worker = RayWorker(self, actor)
        self._workers.add(worker)
        try:
            worker.call("about", seconds=START_SECONDS)
        except AceStepError:
            worker.stop()
            raise
        return worker

    def close(self) -> None:
        """Ends the connection, with its workers and their files, and a cluster that was started for it."""
        ray, self._ray = self.ray, None
        with contextlib.suppress(ray.exceptions.RayError):
            if leaving := [worker.leave() for worker in list(self._workers)]:
                ray.wait(leaving, num_returns=len(leaving), timeout=LEAVE_SECONDS)
        ray.shutdown()
        remove_dead()
        sys.stdout = self._stdout


class _OfThisThread:
    """stdout for the thread that makes it. A thread of Ray's prints there, between our results, that a worker was lost,
    which the pool says in its own way.
    """

    def __init__(self, stream: TextIO):
        self._stream, self._thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        return self._stream.write(text) if threading.get_ident() == self._thread else len(text)

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


class _Reached:
    """Errors of a start become one line: Ray raises plain Exceptions too."""

    def __init__(self, address: str):
        self._address = address

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, exc: BaseException | None, trace) -> None:
        if isinstance(exc, Exception):
            first = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
            raise UserError(
                f"--cluster {self._address}: no cluster can be reached ({first[:200]}); start one by ray start --head"
            ) from exc


def check_ray() -> None:
    """Raises UserError where ray is not installed."""
    if find_spec("ray") is None:
        raise UserError(f"--cluster: needs ray, which is not installed; {install_command('cluster')}")


class RayWorker:
    """A WorkerProcess in a Ray actor. Each call raises WorkerLost where the actor, or its machine, is gone."""

    def __init__(self, cluster: RayCluster, actor):
        self._cluster, self._actor = cluster, actor

    def call(self, method: str, *given, seconds: float | None = None):
        """What a method of the actor returns."""
        ray = self._cluster.ray
        errors = ray.exceptions
        try:
            return ray.get(getattr(self._actor, method).remote(*given), timeout=seconds)
        except errors.RayTaskError as exc:
            raise AceStepError(f"worker: an unexpected error ({exc.cause!r})") from exc
        except errors.RayError as exc:
            reason = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
            raise WorkerLost(f"a worker was lost ({type(exc).__name__}: {reason[:120]})") from exc

    def about(self):
        return self.call("about")

    def lacks(self, keys: list[str]) -> list[str]:
        return self.call("lacks", keys)

    def attach(self, key: str, files: Mapping[str, bytes]) -> None:
        self.call("attach", key, files)

    def begin(self, task: object, names: Mapping[str, tuple[str, str]]) -> None:
        self.call("begin", task, names)

    def next(self):
        return self.call("next")

    def close(self) -> None:
        self.call("close")

    def leave(self):
        """Begins the end of its work, after what it does now. -> a reference for ray.wait"""
        return self._actor.leave.remote()

    def stop(self) -> None:
        """Ends the actor."""
        self._cluster.ray.kill(self._actor)


def threads_here() -> int:
    """Threads that torch takes on this machine: workers take as many, as sums depend on it."""
    import torch

    return torch.get_num_threads()
