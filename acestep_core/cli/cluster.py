"""`generate --cluster`: songs of many lines on the devices of a Ray cluster. torch is imported only here."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import Clock, Console
from ..errors import AceStepError, UserError
from ..generation.kept_cascade import Progress, SongWork
from ..generation.making import Machine, named
from ..generation.song_files import PackedSong, unpack_song
from ..training.progress import duration
from .orders import Order, take_path, takes_of

if TYPE_CHECKING:
    from ..cluster.pool import Pool
    from ..cluster.songs import SongTask


def add_cluster(group) -> None:
    """Options for a cluster."""
    group.add_argument(
        "--cluster",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="make the songs on a Ray cluster: that of an address, one that runs, or all devices of this machine",
    )
    group.add_argument(
        "--workers", type=int, metavar="N", help="workers of --cluster (default: one a GPU, else one a machine)"
    )


def wants_cluster(arguments: argparse.Namespace) -> bool:
    """Whether songs are made on a cluster. Raises UserError for options that make no sense."""
    workers, asked = getattr(arguments, "workers", None), getattr(arguments, "cluster", None) is not None
    if workers is not None and not asked:
        raise UserError(f"--workers: got {workers} and no --cluster; give --cluster too")
    return asked


def check_for_cluster(orders: Sequence[Order], arguments: argparse.Namespace) -> None:
    """Raises UserError for what no cluster makes, and where Ray is not installed."""
    from ..cluster.ray_workers import check_ray

    if any(order.path is None for order in orders):
        raise UserError("-o -: got --cluster too, expected a folder or a file, as in -o songs/")
    if arguments.judge_planner is not None:
        raise UserError("--judge: got --cluster too, whose workers hold no planner; leave one out")
    if arguments.play:
        raise UserError("--play: the songs are decoded on other machines, expected to be made on this one")
    check_ray()


def make_on_cluster(orders: Sequence[Order], arguments: argparse.Namespace, console: Console) -> None:
    """Makes the songs and their files, as workers come to them. Raises UserError; AceStepError where some failed."""
    from ..cluster.pool import Pool
    from ..cluster.ray_workers import RayCluster, threads_here
    from ..cluster.songs import MakeTasks

    tasks = [_task(order, arguments) for order in orders]
    if not tasks:
        return
    from .make import machine_of

    console.busy("starting the workers ...")
    cluster = RayCluster(arguments.cluster)
    try:
        make = MakeTasks(Machine(**machine_of(arguments)))
        slots = cluster.slots(make, arguments.workers, arguments.device, threads_here())
        pool = Pool(slots[: len(tasks)], lambda event: isinstance(event, PackedSong))
        _Making(orders, tasks, arguments, console).run(pool)
    finally:
        cluster.close()


def _task(order: Order, arguments: argparse.Namespace) -> "SongTask":
    from ..cluster.bundles import bundles_of
    from ..cluster.songs import SongTask
    from .make import file_of

    with named(order.place):
        takes, bundles = takes_of(arguments), bundles_of(order.settings)
    names = tuple(take_path(order.path, rank, takes.keep).name for rank in range(1, takes.keep + 1))
    work = SongWork(order.song, order.settings, file_of(arguments), takes)
    return SongTask(work, names, bundles)


class _Making:
    """The songs of a run: written as they come, with a line for each and the time that is left."""

    def __init__(self, orders: Sequence[Order], tasks: Sequence, arguments: argparse.Namespace, console: Console):
        self._orders, self._tasks, self._arguments, self._console = orders, tasks, arguments, console
        self._had, self._failed, self._clock = [0] * len(orders), [], Clock()
        self._phases: dict[int, str] = {}

    def run(self, pool: "Pool") -> None:
        from ..cluster.pool import Failure

        for number, event in pool.run(self._tasks):
            if isinstance(event, Progress):
                self._phases[number] = event.phase
                self._console.busy(self._line())
            elif isinstance(event, Failure):
                self._had[number] = len(self._tasks[number].names)
                self._failed.append(number)
                self._console.error(f"{self._orders[number].place or self._orders[number].path}: {event.error}")
            else:
                self._write(number, event)
        if self._failed:
            raise AceStepError(f"{len(self._failed)} of {len(self._orders)} songs were not made; see above")

    def _write(self, number: int, packed: PackedSong) -> None:
        from .make import made_line

        order = self._orders[number]
        path = take_path(order.path, self._had[number] + 1, len(self._tasks[number].names))
        file = str(unpack_song(packed, Path(path), replace=order.replaces))
        self._had[number] += 1
        self._note_others(order, packed)
        if self._arguments.json:
            shown = {"file": file, **packed.facts, "made_in_seconds": round(packed.took, 2)}
            self._console.made(json.dumps(shown, ensure_ascii=False))
        else:
            self._console.made(made_line(file, packed.facts["seconds"], packed.facts["seed"], packed.took))
        self._console.note(self._line())

    def _note_others(self, order: Order, packed: PackedSong) -> None:
        digests = packed.facts["digests"]
        if others := [name for name, digest in order.digests.items() if digests.get(name) != digest]:
            self._console.note(
                f"note: {', '.join(others)}: not the files that made this song before, so it will sound different"
            )

    def _line(self) -> str:
        """ "12 of 500 songs, about 12 min left; tiny-l, tiny-s"."""
        done, of = sum(map(_all, self._had, self._tasks)), len(self._orders)
        left = f", about {duration(self._clock.seconds / done * (of - done))} left" if 0 < done < of else ""
        under_way = (number for number in self._phases if not _all(self._had[number], self._tasks[number]))
        now = sorted({self._phases[number] for number in under_way})
        return f"{done} of {of} songs{left}" + (f"; {', '.join(now)}" if now and done < of else "")


def _all(had: int, task: "SongTask") -> bool:
    return had >= len(task.names)
