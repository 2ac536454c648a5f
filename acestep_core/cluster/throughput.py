"""Songs a minute of several workers on this machine, as a ratio to those of one process that has no cluster.

The process and each worker compute with one thread. Both sides make the same songs, by turns, so that other load on the
machine slows both; whatever is loaded before the first song does not count.
"""

import hashlib
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from ..generation.kept_cascade import SongWork
from ..generation.making import Machine
from ..generation.settings import GenerationSettings
from ..generation.song_files import PackedSong
from ..song import Song
from .pool import Failure, Pool, Slot
from .ray_workers import LOCAL, RayCluster
from .songs import MakeTasks, SongTask, TaskMaker

THREADS = 1
FILE = "song.flac"


@dataclass(frozen=True)
class Throughput:
    """Median seconds in which each side made all songs. `equal`: songs whose files were the same in all turns of both
    sides, to the bit; `ready_seconds`: until the workers ran and had their models.
    """

    workers: int
    songs: int
    song_seconds: float
    one_seconds: float
    workers_seconds: float
    ratio: float
    equal: int
    ready_seconds: float
    repeats: int


def tasks_of(count: int, seconds: float, models: str) -> list[SongTask]:
    """So many songs with a caption and a seed each. Raises UserError."""

    def task(number: int) -> SongTask:
        song = Song(f"calm piano and strings, take {number}", seconds=seconds)
        return SongTask(SongWork(song, GenerationSettings(seed=number, models=models)), (FILE,))

    return [task(number) for number in range(count)]


def measure(tasks: Sequence[SongTask], machine: Machine, workers: int, repeats: int) -> Throughput:
    """Makes the songs `repeats` times by each side. Raises UserError, AceStepError.

    torch has THREADS threads in this process from then on.
    """
    ready, turns = _turns(tasks, machine, workers, repeats)
    one, many = (statistics.median(took for took, _ in turns[side::2]) for side in (0, 1))
    equal = sum(len(set(sounds)) == 1 for sounds in zip(*(made for _, made in turns), strict=True))
    figures = (round(one, 3), round(many, 3), round(one / many, 3), equal, round(ready, 2), repeats)
    return Throughput(workers, len(tasks), tasks[0].work.song.seconds, *figures)


def _turns(tasks: Sequence[SongTask], machine: Machine, workers: int, repeats: int):
    """(seconds until the workers were ready, (seconds, digests of the songs' files) of each turn: the one process's,
    the workers', the one process's, ...)
    """
    import torch

    torch.set_num_threads(THREADS)
    maker = TaskMaker(machine)
    with closing(RayCluster(LOCAL)) as cluster:
        slots = cluster.slots(MakeTasks(machine), workers, machine.device, THREADS)
        ready, _ = _timed(partial(_load, slots, tasks[0]))
        _alone(maker, tasks[:1])
        sides = partial(_alone, maker, tasks), partial(_by, slots, tasks)
        return ready, [_timed(side) for _ in range(repeats) for side in sides]


def _timed(make: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    made = make()
    return time.perf_counter() - start, made


def _load(slots: Sequence[Slot], task: SongTask) -> None:
    """Starts each worker, and makes a song with it."""
    for slot in slots:
        for _ in slot.run(task):
            pass


def _alone(maker: TaskMaker, tasks: Sequence[SongTask]) -> list[bytes]:
    """The digests of the songs' files, made by this process."""
    return [_digest(event) for task in tasks for event in maker.steps(task, {}) if isinstance(event, PackedSong)]


def _by(slots: Sequence[Slot], tasks: Sequence[SongTask]) -> list[bytes]:
    """The digests of the songs' files, made by workers. Raises AceStepError for one that could not be made."""
    made = {}
    for number, event in Pool(slots, lambda event: isinstance(event, PackedSong)).run(tasks):
        if isinstance(event, Failure):
            raise event.error
        if isinstance(event, PackedSong):
            made[number] = _digest(event)
    return [made[number] for number in range(len(tasks))]


def _digest(packed: PackedSong) -> bytes:
    return hashlib.sha256(packed.sound).digest()
