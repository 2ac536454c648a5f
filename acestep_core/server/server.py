"""The parts of a running server, and their beginning and end."""

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..checkpoints.cascade_models import CASCADES, DEFAULT_CASCADE
from ..checkpoints.locate import local_models
from ..checkpoints.registry import PLANNER, STAGE
from ..cluster.pool import Slot
from ..generation.making import Machine
from ..generation.settings import GenerationSettings
from ..lora.find import list_adapters
from .cluster_making import ClusterMaker
from .jobs import KEEP_SECONDS, WAITING_MOST, JobQueue
from .journal import Journal
from .library import Library
from .making import SongMaker
from .requests import RequestReader, bare
from .shelf import LibraryShelf
from .uploads import BYTES_MOST, Uploads
from .used_adapters import UsedAdapters

JOURNAL = "jobs.sqlite"


@dataclass(frozen=True)
class Server:
    """One library, its uploads, and one queue before a maker a device. `used`: adapters of the original's clients."""

    library: Library
    uploads: Uploads
    requests: RequestReader
    makers: tuple[SongMaker | ClusterMaker, ...]
    journal: Journal
    queue: JobQueue
    used: UsedAdapters = field(default_factory=UsedAdapters)

    @classmethod
    def start(
        cls,
        folder: Path,
        machines: Sequence[Machine],
        defaults: GenerationSettings,
        *,
        waiting_most: int = WAITING_MOST,
        keep_seconds: float = KEEP_SECONDS,
        upload_bytes_most: int = BYTES_MOST,
        slots: Sequence[Slot] = (),
    ) -> "Server":
        """A server over a folder of songs. Its library is refreshed in the background. Raises UserError.

        `slots`: workers of a cluster, one behind each, make the songs in place of these machines.
        """
        library = Library(folder)
        uploads = Uploads(library.own_folder, upload_bytes_most)
        requests = RequestReader(library, uploads, defaults)
        if slots:
            makers = tuple(ClusterMaker(slot, requests, machines[0]) for slot in slots)
        else:
            makers = tuple(SongMaker(LibraryShelf(requests), machine) for machine in machines)
        journal = Journal(library.own_folder / JOURNAL)
        queue = JobQueue(makers, journal, waiting_most, keep_seconds)
        threading.Thread(target=_refresh, args=(library,), daemon=True).start()
        return cls(library, uploads, requests, makers, journal, queue)

    def close(self) -> None:
        """Stops the queue and closes the files."""
        self.queue.close()
        self.journal.close()
        self.library.close()

    @property
    def default_model(self) -> str:
        return bare(self.requests.defaults.models or DEFAULT_CASCADE)

    def models(self) -> list[str]:
        """The cascades and the stage models that are on this machine, the default first."""
        here = [model.name for model in local_models(STAGE)]
        whole = [name for name, stages in CASCADES.items() if set(stages) <= set(here)]
        return list(dict.fromkeys((self.default_model, *whole, *here)))

    def inventory(self) -> dict:
        """What requests may name."""
        planners = [model.name for model in local_models(PLANNER)]
        loaded = [maker.models for maker in self.makers]
        return {"models": self.models(), "planners": planners, "adapters": sorted(list_adapters()), "loaded": loaded}


def _refresh(library: Library) -> None:
    with suppress(sqlite3.ProgrammingError):  # the server was closed meanwhile
        library.refresh()
