"""Songs as tasks of workers: each is made as one machine makes it, and comes back as the bytes of its files."""

import dataclasses
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..audio.live import LiveSound
from ..generation.kept_cascade import KeptCascade, Progress, SongWork
from ..generation.making import Machine
from ..generation.song_files import MadeSong, PackedSong, pack_song
from .bundles import Bundle, renamed


@dataclass(frozen=True)
class SongTask:
    """A song to make. `names`: of its files, those of the takes that are kept, the best first."""

    work: SongWork
    names: tuple[str, ...]
    bundles: Mapping[str, Bundle] = field(default_factory=dict)


class TaskMaker:
    """Makes SongTasks; models stay loaded between them."""

    def __init__(self, machine: Machine):
        self._kept = KeptCascade(machine)

    def steps(self, task: SongTask, places: Mapping[str, str]) -> Iterator[Progress | PackedSong]:
        work = dataclasses.replace(task.work, settings=renamed(task.work.settings, places))
        names, began = iter(task.names), time.monotonic()
        for event in self._kept.steps(work):
            if isinstance(event, LiveSound):  # is heard in this process alone
                continue
            if isinstance(event, MadeSong):
                event = pack_song(as_asked(event, places), work.file, next(names), time.monotonic() - began)
            yield event


def as_asked(made: MadeSong, places: Mapping[str, str]) -> MadeSong:
    """A song that was made of copies, with tags that name the files as they were asked for."""
    asked = renamed(made.settings, {here: given for given, here in places.items()})
    return dataclasses.replace(made, tagged=asked)


@dataclass(frozen=True)
class MakeTasks:
    """Begins a TaskMaker in a worker's process."""

    machine: Machine

    def __call__(self) -> TaskMaker:
        return TaskMaker(self.machine)
