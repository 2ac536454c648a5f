"""What a user can choose from: embedded models, files and folders in given places, and known models not yet here.

Choices are names that stay the same when a model arrives, so a saved choice goes on working. Only headers are read, and
each file's once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import CheckpointError
from .checkpoint import read_checkpoint
from .known import KNOWN, STAGE, TEXT, VOCODER, KnownModel, known_model
from .layouts import split_file
from .local import LocalModel, find, find_here, is_complete
from .weights import read_header

# Folders of a ComfyUI models folder in which models of each kind lie.
FOLDERS_OF_KIND = {
    STAGE: ("diffusion_models", "unet", "checkpoints"),
    TEXT: ("text_encoders", "clip", "checkpoints"),
    VOCODER: ("vae", "checkpoints"),
}
_KIND_OF_PART = {"transformer": STAGE, "text_encoder": TEXT, "vae": VOCODER}


@dataclass(frozen=True)
class Shelf:
    """`own`: folders for models of this family alone, the first one takes downloads. `shared`: folders of each kind in
    which models of other families lie too.
    """

    own: tuple[Path, ...]
    shared: Mapping[str, tuple[Path, ...]]

    def folders(self, kind: str) -> tuple[Path, ...]:
        return (*self.own, *self.shared.get(kind, ()))

    def here(self, kind: str) -> list[str]:
        """Names of all models of a kind that can be loaded at once, embedded ones first."""
        known = [model for model in KNOWN.values() if kind in model.kinds]
        places = {model.name: find_here(model, self.folders(kind)) for model in known}
        names = [name for name, place in places.items() if place is not None and is_complete(place)]
        listed = {places[name].resolve() for name in names}
        files = (name for name, path in self._files(kind) if path.resolve() not in listed)
        folders = (name for name, path in self._own_folders(kind) if path.resolve() not in listed)
        return list(dict.fromkeys((*names, *sorted(folders), *sorted(files))))

    def absent(self, kind: str) -> list[KnownModel]:
        """Known models of a kind that would have to be fetched first."""
        here = set(self.here(kind))
        return [model for model in KNOWN.values() if kind in model.kinds and model.repo and model.name not in here]

    def find(self, name: str, kind: str) -> LocalModel:
        """A model by a name that `here` gives. Raises CheckpointError for any other, a path for instance."""
        if name not in self.here(kind):
            known = known_model(name, kind)
            if known is not None and known.name in {model.name for model in self.absent(kind)}:
                return find(known.name, kind, self.folders(kind))  # tells where to get it
            raise CheckpointError(
                f"{name} is no {_WORDS[kind]} that is here; choose one of the list, or put its file into "
                f"{self.folders(kind)[0]}"
            )
        return find(name, kind, self.folders(kind))

    def _files(self, kind: str) -> Iterator[tuple[str, Path]]:
        for folder in self.folders(kind):
            for path in sorted(folder.rglob("*.safetensors")) if folder.is_dir() else ():
                if not _belongs_to_folder(path, folder) and kind in kinds_of_file(path):
                    yield path.relative_to(folder).as_posix(), path

    def _own_folders(self, kind: str) -> Iterator[tuple[str, Path]]:
        for folder in self.own:
            for config in sorted(folder.glob("**/config.json")) if folder.is_dir() else ():
                if kind in _kinds_of_folder(config.parent):
                    yield config.parent.relative_to(folder).as_posix(), config.parent


_WORDS = {STAGE: "stage model", TEXT: "text encoder", VOCODER: "vocoder"}


def kinds_of_file(path: Path) -> tuple[str, ...]:
    """What a safetensors file can be loaded as; nothing where it is foreign or damaged."""
    state = path.stat()
    return _kinds_of_file(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _kinds_of_file(path: Path, size: int, modified_ns: int) -> tuple[str, ...]:
    try:
        parts = split_file(read_header(path))
    except CheckpointError:
        return ()
    return tuple(kind for part, kind in _KIND_OF_PART.items() if part in parts)


def _kinds_of_folder(folder: Path) -> tuple[str, ...]:
    state = (folder / "config.json").stat()
    return _kinds_of_whole_folder(folder, state.st_size, state.st_mtime_ns) if is_complete(folder) else ()


@lru_cache(maxsize=1024)
def _kinds_of_whole_folder(folder: Path, size: int, modified_ns: int) -> tuple[str, ...]:
    try:
        parts = read_checkpoint(folder).parts
    except CheckpointError:
        return ()
    return tuple(kind for part, kind in _KIND_OF_PART.items() if part in parts)


def _belongs_to_folder(path: Path, top: Path) -> bool:
    """Whether a file is part of a model that is a folder: its config lies beside it."""
    return path.parent != top and (path.parent / "config.json").is_file()
