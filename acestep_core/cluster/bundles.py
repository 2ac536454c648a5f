"""Files that a song is made of, as they travel to a worker: clips with the latents kept beside them, adapters.

Settings name them by paths of the machine that asks; a worker makes the song of its copies. No torch.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..editing.kept_latents import latents_path
from ..errors import UserError
from ..generation.settings import GenerationSettings
from ..lora.find import Lora, find_adapter
from ..system.files import existing

BYTES_MOST = 2_000_000_000


@dataclass(frozen=True)
class Bundle:
    """A file or folder, and what belongs to it. `key` is another one once any of it has changed."""

    key: str
    name: str
    files: tuple[tuple[str, Path], ...]  # (path below the bundle's folder, file)

    def read(self) -> dict[str, bytes]:
        """The contents of all its files. Raises UserError for more than a worker should be sent."""
        if (size := sum(path.stat().st_size for _, path in self.files)) > BYTES_MOST:
            raise UserError(f"{self.name}: has {size / 1e9:.1f} GB, expected at most {BYTES_MOST / 1e9:g} for a worker")
        return {name: path.read_bytes() for name, path in self.files}


def bundle_of(place: Path) -> Bundle:
    """The bundle of a sound file, with its kept latents, or of an adapter's file or folder. Raises OSError."""
    if place.is_dir():
        found = [(f"{place.name}/{path.relative_to(place).as_posix()}", path) for path in sorted(place.rglob("*"))]
    else:
        found = [(path.name, path) for path in (place, latents_path(place))]
    files = tuple((name, path) for name, path in found if path.is_file())
    states = [(name, str(path), path.stat().st_size, path.stat().st_mtime_ns) for name, path in files]
    return Bundle(hashlib.sha256(repr(states).encode()).hexdigest()[:32], place.name, files)


def bundles_of(settings: GenerationSettings) -> dict[str, Bundle]:
    """Each name of a file in settings -> its bundle. Raises UserError where one is not there."""
    clips = [*(settings.reference or ()), settings.continue_from, settings.source]
    places = {clip: existing(clip) for clip in clips if clip is not None}
    names = [Lora.parse(lora).adapter for lora in settings.lora or ()]
    return {name: bundle_of(place) for name, place in (places | {name: find_adapter(name) for name in names}).items()}


def renamed(settings: GenerationSettings, names: Mapping[str, str]) -> GenerationSettings:
    """Settings with other names of their files."""

    def of(name: str | None) -> str | None:
        return names.get(name, name)

    changed = {"continue_from": of(settings.continue_from), "source": of(settings.source)}
    if settings.reference:
        changed["reference"] = tuple(map(of, settings.reference))
    if settings.lora:
        loras = map(Lora.parse, settings.lora)
        changed["lora"] = tuple(str(dataclasses.replace(lora, adapter=of(lora.adapter))) for lora in loras)
    return dataclasses.replace(settings, **changed)
