"""A cache of planners' results on disk: a request that was answered before is not computed again.

A file's name is a hash of the planner's weights and tokenizer, of its number format and device, of the request, the
seed and the sampling. A damaged file is made anew; beyond the size limit, those used longest ago are removed.
"""

import dataclasses
import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from ..checkpoints.digest import sampled
from ..checkpoints.layouts import PLANNER as PART
from ..errors import AceStepError
from ..json_text import read_json_object
from ..system.files import write_whole
from ..system.folders import cache_folder
from .load import PlannerFiles
from .sampling import Sampling
from .song_plan import SongPlan

logger = logging.getLogger(__name__)

LIMIT_BYTES = 64 << 20
_FORM = 1  # of the files; a change makes all of them unknown


@dataclass(frozen=True)
class Results:
    """Results of one planner in a folder; `planner` is its fingerprint, number format and device."""

    folder: Path
    planner: str
    limit_bytes: int = LIMIT_BYTES

    def get(self, request: object, seed: int, sampling: Sampling) -> SongPlan | None:
        """The result of a request that was answered before."""
        file = self._file(request, seed, sampling)
        try:
            if file.is_file():
                os.utime(file)  # the time of its last use
                return SongPlan.from_json(read_json_object(file))
        except (OSError, AceStepError) as exc:
            logger.info("%s is made anew (%s)", file, exc)
        return None

    def put(self, request: object, seed: int, sampling: Sampling, plan: SongPlan) -> None:
        """Keeps a result; a disk that cannot take it is no failure."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._file(request, seed, sampling), plan.to_json().encode())
            self._shrink()
        except (OSError, AceStepError) as exc:
            logger.info("%s: a plan is not kept (%s)", self.folder, exc)

    def _file(self, request: object, seed: int, sampling: Sampling) -> Path:
        asked = [type(request).__name__, dataclasses.asdict(request), seed, dataclasses.asdict(sampling)]
        key = json.dumps([_FORM, self.planner, asked], sort_keys=True)
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.json"

    def _shrink(self) -> None:
        files = [(path.stat(), path) for path in self.folder.glob("*.json")]
        left = sum(stat.st_size for stat, _ in files)
        for stat, path in sorted(files, key=lambda entry: entry[0].st_mtime_ns):
            if left <= self.limit_bytes:
                return
            path.unlink(missing_ok=True)
            left -= stat.st_size


def results_of(files: PlannerFiles, form: str) -> Results | None:
    """The cache of a planner's results; None where ACESTEP_CACHE is "off"."""
    folder = cache_folder()
    return None if folder is None else Results(folder / "plans", f"{_fingerprint(files)} {form}")


def _fingerprint(files: PlannerFiles) -> str:
    """A hash of a planner on disk: of its config, its tokenizer, and samples spread over its weights."""
    part = files.checkpoint.part(PART)
    digest = sampled(sorted({info.file for info in part.tensors.values()}))
    digest.update(json.dumps(part.arguments, sort_keys=True, default=str).encode())
    digest.update((files.tokenizer / "tokenizer.json").read_bytes())
    return digest.hexdigest()
