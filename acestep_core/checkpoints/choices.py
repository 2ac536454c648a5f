"""Lists of models to choose from: embedded models, files and folders in given places, known models not yet here.

Choices are names that stay the same when a model is downloaded, so a saved choice keeps working. Only headers are read,
and each header once.
"""

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path

from ..errors import CheckpointError, did_you_mean
from ..system.listing import files_below
from ..system.verdicts import Verdicts, WordsOf, last_of, now_of, package_files
from .checkpoint import read_checkpoint
from .layouts import split_file
from .locate import LocalModel, find, is_complete, is_pipeline, local_models, state_of
from .registry import KNOWN, PLANNER, STAGE, TEXT, VOCODER, KnownModel, known_model
from .weights import read_header

# Folders of a ComfyUI models folder in which models of each kind lie.
FOLDERS_OF_KIND = {
    STAGE: ("diffusion_models", "unet", "checkpoints"),
    TEXT: ("text_encoders", "clip", "checkpoints"),
    VOCODER: ("vae", "checkpoints"),
    PLANNER: ("text_encoders", "clip", "checkpoints"),
}
_KIND_OF_PART = {"transformer": STAGE, "text_encoder": TEXT, "vae": VOCODER, "planner": PLANNER}


_CONFIG, _WEIGHTS_SUFFIX = "config.json", ".safetensors"


@dataclass(frozen=True)
class Shelf:
    """`own`: folders for models of this family alone, the first one takes downloads. `shared`: folders of each kind in
    which models of other families lie too.
    """

    own: tuple[Path, ...]
    shared: Mapping[str, tuple[Path, ...]]

    def folders(self, kind: str) -> tuple[Path, ...]:
        """All folders in which models of a kind are looked for, in this order."""
        return (*self.own, *self.shared.get(kind, ()))

    @property
    def all_folders(self) -> tuple[Path, ...]:
        """All folders, for what belongs to a model without being of its kind: a tokenizer, a vocoder for silence."""
        return tuple(dict.fromkeys((*self.own, *chain.from_iterable(self.shared.values()))))

    def offered(self, kind: str) -> tuple[list[str], list[KnownModel]]:
        """Names for a list, and known models that are absent, without opening a model.

        A file that was never judged is listed and judged in the background. Later lists leave it out if it is foreign.
        """
        known = self._known(kind)
        return [*known, *self._others(kind, known, last_of)], _absent(kind, known)

    def here(self, kind: str) -> list[str]:
        """Names of all models of a kind that can be loaded at once, embedded ones first."""
        known = self._known(kind)
        return [*known, *self._others(kind, known, now_of)]

    def has_published(self, kind: str) -> bool:
        """Whether a known model of a kind is here, other than the embedded ones."""
        return any(model.known.repo for model in self._known(kind).values())

    def absent(self, kind: str) -> list[KnownModel]:
        """Known models of a kind that would have to be downloaded first."""
        return _absent(kind, self._known(kind))

    def find(self, name: str, kind: str) -> LocalModel:
        """A model by a name that `here` gives. Raises CheckpointError for any other, a path for instance."""
        known = self._known(kind)
        if name in known:
            return known[name]
        path = self._others(kind, known, now_of, only=name).get(name)
        if path is not None:
            return LocalModel(path.stem if path.is_file() else path.name, path)
        published = known_model(name, kind)
        if published is not None and published.repo and published.name not in known:
            return find(published.name, kind, self.folders(kind))  # raises the error that says where to get it
        listed, absent = self.offered(kind)
        near = did_you_mean(name, (*listed, *(model.name for model in absent)))
        raise CheckpointError(
            f"{name} is no {_WORDS[kind]} that is here{near}; choose one of the list, or put {self._places(kind)}"
            f"{_fault_of(name, self.folders(kind))}"
        )

    def _places(self, kind: str) -> str:
        """Where a model that is one file goes, and one that is a folder, for a message."""
        shared = self.shared.get(kind, ())
        usual = next((folder for folder in shared if folder.name == FOLDERS_OF_KIND[kind][0]), None)
        own = f"a folder into {self.own[0]}"
        return f"a file into {usual or shared[0]}, {own}" if shared else own

    def _known(self, kind: str) -> dict[str, LocalModel]:
        return {model.name: model for model in local_models(kind, self.folders(kind))}

    def _others(
        self, kind: str, known: Mapping[str, LocalModel], words_of: WordsOf, only: str | None = None
    ) -> dict[str, Path]:
        """Name -> path of every model except the known ones. `only`: the one name to find."""
        listed = {os.path.realpath(model.path) for model in known.values()}
        bases = set(map(os.path.basename, listed))
        found: dict[str, Path] = {}
        for verdicts, models in ((_folder_verdicts, self._own_folders()), (_file_verdicts, self._files(kind))):
            paths = {path: name for path, name in models if only in (None, name)}
            words = words_of(verdicts, paths)
            right = [item for item in paths.items() if words[item[0]] is None or kind in words[item[0]].split()]
            for path, name in sorted(right, key=itemgetter(1)):
                if not (os.path.basename(path) in bases and os.path.realpath(path) in listed):
                    # Of two with one name the one in the earlier folder counts, as in ComfyUI.
                    found.setdefault(name, path)
        return {name: Path(path) for name, path in found.items()}

    def _files(self, kind: str) -> Iterator[tuple[str, str]]:
        return ((f"{folder}{os.sep}{name}", name) for folder in self.folders(kind) for name in _single_files(folder))

    def _own_folders(self) -> Iterator[tuple[str, str]]:
        for folder in self.own:
            for name in files_below(folder):
                if name.rpartition("/")[2] == _CONFIG:
                    model = _model_folder((folder / name).parent, folder)
                    if model != folder:
                        yield str(model), model.relative_to(folder).as_posix()


def _absent(kind: str, known: Mapping[str, LocalModel]) -> list[KnownModel]:
    return [model for model in KNOWN.values() if kind in model.kinds and model.repo and model.name not in known]


def _single_files(folder: Path) -> list[str]:
    """Names of safetensors files without a config.json beside them. Files beside one are parts of a model folder."""
    names = files_below(folder)
    configs = {name.removesuffix(_CONFIG) for name in names if name.rpartition("/")[2] == _CONFIG} - {""}
    return [name for name in names if name.endswith(_WEIGHTS_SUFFIX) and name[: name.rfind("/") + 1] not in configs]


def _fault_of(name: str, folders: Iterable[Path]) -> str:
    """The fault of a damaged file of that name, as the end of a message; "" if no file of that name is damaged."""
    for folder in folders:
        if name in _single_files(folder):
            try:
                read_header(folder / name)
            except (CheckpointError, OSError) as exc:
                return f" ({exc})"
    return ""


_WORDS = {STAGE: "stage model", TEXT: "text encoder", VOCODER: "vocoder", PLANNER: "planner"}


def _kinds_in_file(path: str) -> str:
    """The kinds as which a safetensors file can be loaded; none for a foreign or damaged one."""
    try:
        return _kinds_of(split_file(read_header(Path(path))))
    except (CheckpointError, OSError):
        return ""


def _kinds_of(parts: Iterable[str]) -> str:
    return " ".join(kind for part, kind in _KIND_OF_PART.items() if part in parts)


def _kinds_in_folder(path: str) -> str:
    """The kinds as which a folder can be loaded; none for a foreign, damaged or half downloaded one."""
    try:
        return _kinds_of(read_checkpoint(path).parts) if is_complete(Path(path)) else ""
    except (CheckpointError, OSError):
        return ""


def _folder_state(path: str) -> tuple[int, int] | None:
    state = state_of(Path(path))
    return sum(size for _, size, _ in state), zlib.crc32(repr(state).encode(errors="replace"))


_READERS = ("checkpoints/choices.py", "checkpoints/layouts.py", "checkpoints/weights.py")
_file_verdicts = Verdicts("models", _kinds_in_file, package_files(*_READERS))
_folder_verdicts = Verdicts("model_folders", _kinds_in_folder, package_files(*_READERS), _folder_state)


def finish_judging() -> None:
    """Waits until all models that are judged in the background are done."""
    _file_verdicts.wait()
    _folder_verdicts.wait()


def _model_folder(folder: Path, top: Path) -> Path:
    """The model that a folder with a config is, or is a component of."""
    return folder.parent if folder != top and folder.parent != top and is_pipeline(folder.parent) else folder
