"""What a user can choose from: embedded models, files and folders in given places, and known models not yet here.

Choices are names that stay the same when a model arrives, so a saved choice goes on working. Only headers are read, and
each file's once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from glob import iglob
from itertools import chain
from operator import itemgetter
from pathlib import Path

from ..errors import CheckpointError
from .checkpoint import read_checkpoint
from .layouts import split_file
from .locate import LocalModel, find, is_complete, is_pipeline, local_models, state_of
from .registry import KNOWN, STAGE, TEXT, VOCODER, KnownModel, known_model
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

    @property
    def all_folders(self) -> tuple[Path, ...]:
        """For what belongs to a model without being of its kind: a tokenizer, a vocoder that makes silence."""
        return tuple(dict.fromkeys((*self.own, *chain.from_iterable(self.shared.values()))))

    def offered(self, kind: str) -> tuple[list[str], list[KnownModel]]:
        """`here` and `absent`, by one look into the folders."""
        here = self._models(kind)
        absent = (model for model in KNOWN.values() if kind in model.kinds and model.repo)
        return list(here), [model for model in absent if model.name not in here]

    def here(self, kind: str) -> list[str]:
        """Names of all models of a kind that can be loaded at once, embedded ones first."""
        return self.offered(kind)[0]

    def absent(self, kind: str) -> list[KnownModel]:
        """Known models of a kind that would have to be fetched first."""
        return self.offered(kind)[1]

    def find(self, name: str, kind: str) -> LocalModel:
        """A model by a name that `here` gives. Raises CheckpointError for any other, a path for instance."""
        here = self._models(kind)
        if name in here:
            return here[name]
        known = known_model(name, kind)
        if known is not None and known.repo and known.name not in here:
            return find(known.name, kind, self.folders(kind))  # tells where to get it
        raise CheckpointError(
            f"{name} is no {_WORDS[kind]} that is here; choose one of the list, or put its file into "
            f"{self.folders(kind)[0]}"
        )

    def _models(self, kind: str) -> dict[str, LocalModel]:
        known = {model.name: model for model in local_models(kind, self.folders(kind))}
        listed = {model.path.resolve() for model in known.values()}
        models = dict(known)
        for name, path in (*self._own_folders(kind), *self._files(kind)):
            if path.resolve() not in listed:
                # Of two with one name the one in the earlier folder counts, as in ComfyUI.
                models.setdefault(name, LocalModel(path.stem if path.is_file() else path.name, path))
        return models

    def _files(self, kind: str) -> list[tuple[str, Path]]:
        return _by_name(
            (path.relative_to(folder).as_posix(), path)
            for folder in self.folders(kind)
            for path in _below(folder, "*.safetensors")
            if not _belongs_to_folder(path, folder) and kind in kinds_of_file(path)
        )

    def _own_folders(self, kind: str) -> list[tuple[str, Path]]:
        configs = ((folder, config) for folder in self.own for config in _below(folder, "config.json"))
        models = dict.fromkeys((folder, _model_folder(config.parent, folder)) for folder, config in configs)
        return _by_name(
            (model.relative_to(folder).as_posix(), model)
            for folder, model in models
            if model != folder and kind in _kinds_of_folder(model)
        )


def _by_name(models: Iterable[tuple[str, Path]]) -> list[tuple[str, Path]]:
    return sorted(models, key=itemgetter(0))


_WORDS = {STAGE: "stage model", TEXT: "text encoder", VOCODER: "vocoder"}


def kinds_of_file(path: Path) -> tuple[str, ...]:
    """What a safetensors file can be loaded as; nothing where it is foreign, damaged or not there."""
    return _kinds(path, state_of(path)) if path.is_file() else ()


def _kinds_of_folder(folder: Path) -> tuple[str, ...]:
    return _kinds(folder, state_of(folder)) if is_complete(folder) else ()


@cache  # fewer than there are models would be none at all, as they are asked for in turn
def _kinds(path: Path, state: tuple) -> tuple[str, ...]:
    try:
        parts = read_checkpoint(path).parts if path.is_dir() else split_file(read_header(path))
    except (CheckpointError, OSError):
        return ()
    return tuple(kind for part, kind in _KIND_OF_PART.items() if part in parts)


def _below(folder: Path, pattern: str) -> list[Path]:
    # Unlike Path.rglob it follows links to folders, with which users spread models over disks.
    return [folder / name for name in iglob(f"**/{pattern}", root_dir=folder, recursive=True)]


def _model_folder(folder: Path, top: Path) -> Path:
    """The model that a folder with a config is, or is a component of."""
    return folder.parent if folder != top and folder.parent != top and is_pipeline(folder.parent) else folder


def _belongs_to_folder(path: Path, top: Path) -> bool:
    """Whether a file is part of a model that is a folder: its config lies beside it."""
    return path.parent != top and (path.parent / "config.json").is_file()
