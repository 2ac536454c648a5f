"""Makes the orders of jobs on workers of a cluster: songs come back as their files' bytes, and the library takes them.

Trainings and labels, whose clips lie on this machine, are made here.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from ..audio.live import LiveSound
from ..cluster.bundles import Bundle, bundle_of, bundles_of, renamed
from ..cluster.pool import Slot, retried
from ..cluster.songs import as_asked
from ..generation.making import Machine
from ..generation.settings import GenerationSettings
from ..generation.song_files import MadeSong, PackedSong, SongFile, pack_song, unpack_song
from .datasets import Datasets
from .jobs import Event, Made, Progress
from .making import SongMaker
from .orders import AnswerOrder, Order, SongsOrder
from .requests import RequestReader
from .shelf import LibraryShelf, shown_song, song_name


@dataclass(frozen=True)
class OrderTask:
    """An order as a worker's task."""

    order: SongsOrder | AnswerOrder
    bundles: Mapping[str, Bundle] = field(default_factory=dict)


@dataclass(frozen=True)
class PackedMade:
    """A song that a worker made: its files, the name that they shall have, and what clients are told of it."""

    packed: PackedSong
    name: str
    shown: Mapping[str, object]


class ClusterMaker:
    """A Maker whose songs are made by the worker of a slot."""

    def __init__(self, slot: Slot, requests: RequestReader, here: Machine):
        self.models: dict[str, str] = {}  # slot of the cascade -> the model that the worker has loaded
        self._slot, self._requests = slot, requests
        self._here = SongMaker(LibraryShelf(requests), here)

    def steps(self, order: Order) -> Iterator[Event]:
        """Makes an order, and yields after each step; what a lost worker had is made again."""
        if isinstance(order, SongsOrder | AnswerOrder):
            return self._steps(OrderTask(order, _bundles(order)))
        return self._here.steps(order)

    def _steps(self, task: OrderTask) -> Iterator[Event]:
        yield Progress("waiting for a worker")
        for event in retried(self._slot, task, lambda event: isinstance(event, PackedMade | Made)):
            yield self._taken(event) if isinstance(event, PackedMade) else event

    def _taken(self, made: PackedMade) -> Made:
        """Writes a song's files and takes it into the library."""
        library, settings = self._requests.library, GenerationSettings.from_given(made.packed.facts["settings"])
        row = library.add(unpack_song(made.packed, library.folder / made.name, replace=False))
        self.models = dict(made.shown["models"])
        shown = {**made.shown, "settings": self._requests.shown_settings(settings)}
        return Made({"id": row.id, "file": row.path, **shown})


def _bundles(order: SongsOrder | AnswerOrder) -> dict[str, Bundle]:
    if isinstance(order, AnswerOrder):
        source = order.step.source
        return {} if source is None else {source: bundle_of(Path(source))}
    return {name: one for settings in order.settings for name, one in bundles_of(settings).items()}


class OrderTaskMaker:
    """Makes OrderTasks in a worker's process."""

    def __init__(self, machine: Machine):
        self._shelf = _PackingShelf()
        self._maker = SongMaker(self._shelf, machine)

    def steps(self, task: OrderTask, places: Mapping[str, str]) -> Iterator[object]:
        self._shelf.places = places
        with closing(self._maker.steps(_of_copies(task.order, places))) as steps:
            # A sound that is being made is heard in its own process alone.
            yield from (event for event in steps if not isinstance(event, LiveSound))


def _of_copies(order: SongsOrder | AnswerOrder, places: Mapping[str, str]) -> SongsOrder | AnswerOrder:
    if isinstance(order, AnswerOrder):
        source = order.step.source
        return dataclasses.replace(order, step=dataclasses.replace(order.step, source=places.get(source, source)))
    return dataclasses.replace(order, settings=tuple(renamed(one, places) for one in order.settings))


class _PackingShelf:
    """Gives finished songs as the bytes of their files."""

    datasets: Datasets  # of no use here: labels are made where the clips are

    def __init__(self):
        self.places: Mapping[str, str] = {}

    def put(self, made: MadeSong, file: SongFile, facts: dict) -> PackedMade:
        name = song_name(made, file)
        packed = pack_song(as_asked(made, self.places), file, name)
        return PackedMade(packed, name, shown_song(made, file, facts))


@dataclass(frozen=True)
class MakeOrderTasks:
    """Begins an OrderTaskMaker in a worker's process."""

    machine: Machine

    def __call__(self) -> OrderTaskMaker:
        return OrderTaskMaker(self.machine)
