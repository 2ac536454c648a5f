"""Where models are: a name or a path -> a place on this machine. Nothing here uses the network, torch or diffusers.

Searched in this order: folders given by the caller, those in the environment variable ACESTEP_MODELS (separated as in
PATH), the default models folder of this machine, and the cache of huggingface_hub. In a models folder a model may lie
as `download` puts it (REPOSITORY/...), as a folder or file of its own name, or as in ComfyUI's models folder. Where
ACESTEP_MODELS names the folder acestep in ComfyUI's models folder, the latter is searched right after it.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

from ..errors import CheckpointError, command_line, did_you_mean, how_to_get, shortened
from ..system.folders import data_folder, user_path
from ..system.listing import entries
from .registry import KNOWN, PLANNER, STAGE, TEXT, VOCODER, KnownModel, known_model
from .weights import WEIGHT_NAMES, partial_downloads, shards_of

ENVIRONMENT = "ACESTEP_MODELS"
TINY_FOLDER = Path(__file__).resolve().parents[1] / "tiny"
_COMFYUI_FOLDERS = ("diffusion_models", "unet", "checkpoints", "text_encoders", "clip", "vae")
COMFYUI_FOLDER = "acestep"  # of this pack, in ComfyUI's models folder
_WORDS = {STAGE: "stage model", TEXT: "text encoder", VOCODER: "vocoder", PLANNER: "planner"}


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine; `known` is its row in the table, if it has one."""

    name: str
    path: Path
    known: KnownModel | None = None


@dataclass(frozen=True)
class ModelRow:
    """A line of the list of models. `size_bytes` is measured where the model is here, else approximately known."""

    name: str
    kinds: tuple[str, ...]
    slot: str
    family: str
    variant: str
    parameters: int
    size_bytes: int
    licence: str
    here: Path | None  # None: not on this machine
    complete: bool  # False: absent or half downloaded


def models_folders(folders: Sequence[Path | str] = ()) -> list[Path]:
    """All folders to search, in this order; downloads go into the first. Raises UserError for one that is no path."""
    named = [user_path(path) for path in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if path]
    own = data_folder()
    given = (user_path(path) for path in folders if path)
    return [*given, *chain.from_iterable(map(_with_comfyui, named)), *([own / "models"] if own else [])]


def _with_comfyui(folder: Path) -> list[Path]:
    """A models folder, and behind the pack's own one in ComfyUI's models folder the latter."""
    above = folder.parent
    is_own = folder.name == COMFYUI_FOLDER and not entries(above).isdisjoint(_COMFYUI_FOLDERS)
    return [folder, above] if is_own else [folder]


def find(name_or_path: str | Path, kind: str = STAGE, folders: Sequence[Path | str] = ()) -> LocalModel:
    """LocalModel of a known name, of a name in a models folder, or of a path. Raises CheckpointError.

    `kind` is what it shall be loaded as: "stage", "text" or "vocoder". A path is taken as it is.
    """
    name = str(name_or_path)
    given = user_path(name)
    is_path = os.path.exists(given) and (isinstance(name_or_path, Path) or given.name != name)
    known = None if is_path else known_model(_tiny_name(name, kind), kind)
    place = find_here(known, folders) if known else None
    if place is not None:
        return LocalModel(known.name, _usable(place, known), known)
    for path in (given, *(f / n for f in models_folders(folders) for n in (name, f"{name}.safetensors"))):
        if os.path.exists(path):  # unlike Path.exists, it is False for a name too long for a file
            name = path.stem if path.suffix == ".safetensors" else path.resolve().name
            return LocalModel(name, path.absolute())  # absolute, as a bare name would be read as a known model's
    raise CheckpointError(_absent(known) if known else _unknown(name, kind))


def _usable(place: Path, known: KnownModel) -> Path:
    if not is_complete(place):
        raise CheckpointError(f"{place} is half downloaded; {how_to_get(known.name)}; the files that are here are kept")
    return place


def find_here(known: KnownModel, folders: Sequence[Path | str] = ()) -> Path | None:
    """Where a known model is on this machine; a whole copy before a half downloaded one; None if there is none."""
    return _find_in(known, _entries(folders))


def _find_in(known: KnownModel, entered: Mapping[Path, frozenset[str]]) -> Path | None:
    places = list(_places(known, entered))
    return next((place for place in places if is_complete(place)), next(iter(places), None))


def _entries(folders: Sequence[Path | str]) -> dict[Path, frozenset[str]]:
    """Each models folder with the names in it, so that absent places need not be checked."""
    return {folder: entries(folder) for folder in models_folders(folders)}


def local_models(kind: str, folders: Sequence[Path | str] = ()) -> Iterator[LocalModel]:
    """Every known model of one kind that is here and whole."""
    entered = _entries(folders)
    for known in KNOWN.values():
        place = _find_in(known, entered) if kind in known.kinds else None
        if place is not None and is_complete(place):
            yield LocalModel(known.name, place, known)


def list_models(folders: Sequence[Path | str] = ()) -> list[ModelRow]:
    """One row for every known model, embedded ones first."""
    entered = _entries(folders)
    return [_row(known, _find_in(known, entered)) for known in KNOWN.values()]


def is_complete(place: Path) -> bool:
    """Whether all files of a model seem to be there, by their names; a cut-off file shows when its header is read."""
    if place.is_file():
        return True
    if is_pipeline(place):
        parts = [p for p in place.iterdir() if (p / "config.json").is_file()]
        return bool(parts) and all(is_complete(p) for p in parts) and (place / "transformer").is_dir()
    if not (place / "config.json").is_file():
        return False
    for name in WEIGHT_NAMES:
        if (place / name).is_file():
            return True
        index = place / f"{name}.index.json"
        if index.is_file():
            return _has_all_shards(index)
    return False


def state_of(path: Path) -> tuple[tuple[Path, int, int], ...]:
    """The path, size and time of change of each file of a model: they change when a file does."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files)


def is_pipeline(place: Path) -> bool:
    """Whether a folder is a diffusers pipeline: a folder for each network."""
    return (place / "transformer").is_dir() or (place / "model_index.json").is_file()


def _has_all_shards(index: Path) -> bool:
    state = index.stat()
    return all(file.is_file() for file in _shards(index, state.st_size, state.st_mtime_ns))


@lru_cache(maxsize=64)
def _shards(index: Path, size_bytes: int, changed_ns: int) -> frozenset[Path]:
    """The files that an index names; a damaged index, left by a broken-off download, gives one that never exists."""
    try:
        return frozenset(shards_of(index).values())
    except CheckpointError:
        return frozenset({index / "damaged"})


def _row(known: KnownModel, place: Path | None) -> ModelRow:
    complete = place is not None and is_complete(place)
    size = _size(place) if complete else known.size_bytes
    parameters = known.parameters or (_count(place) if complete else 0)
    return ModelRow(
        known.name,
        known.kinds,
        known.slot,
        known.family,
        known.variant,
        parameters,
        size,
        known.licence,
        place,
        complete,
    )


def _size(place: Path) -> int:
    files = [place] if place.is_file() else [p for p in place.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files)


def _count(place: Path) -> int:
    from .checkpoint import read_checkpoint

    return read_checkpoint(place).parameters


def _places(known: KnownModel, entered: Mapping[Path, frozenset[str]]) -> Iterator[Path]:
    candidates = _published_places(known, entered) if known.repo else [TINY_FOLDER / known.path]
    for place in candidates:
        marks = (place, place / "config.json", place / "model_index.json")
        if any(mark.is_file() for mark in marks) or (place.is_dir() and partial_downloads(place)):
            yield place


def _published_places(known: KnownModel, entered: Mapping[Path, frozenset[str]]) -> Iterable[Path]:
    repository = known.repo.split("/")[1]
    last = known.path.split("/")[-1]
    for folder, names in entered.items():
        below = [name for name in _COMFYUI_FOLDERS if name in names] if not known.files else []
        places = (f"{repository}/{known.path}", last, known.name, *(f"{name}/{last}" for name in below))
        yield from (folder / place for place in places if place.split("/")[0] in names)
    yield from _in_hub_cache(known)


def _in_hub_cache(known: KnownModel) -> Iterator[Path]:
    from huggingface_hub import try_to_load_from_cache  # reads a folder, no network

    mark = "model_index.json" if "model_index.json" in known.files else "config.json"
    file = "/".join(filter(None, (known.path, mark if known.files else "")))
    found = try_to_load_from_cache(known.repo, file)
    if isinstance(found, str):
        yield Path(found).parent if known.files else Path(found)


def _tiny_name(name: str, kind: str) -> str:
    return {TEXT: "tiny-text", VOCODER: "tiny-vocoder"}.get(kind, name) if name.lower() == "tiny" else name


def _kinds(known: KnownModel) -> str:
    return " and ".join(_WORDS[kind] for kind in known.kinds)


def _absent(known: KnownModel) -> str:
    if not known.repo:
        return f"{known.name} is missing from {TINY_FOLDER}: this copy of the package is not whole; install it again"
    return (
        f"{known.name} is not on this machine (about {known.size_bytes / 1e9:.1f} GB, {known.licence} licence); "
        f"{how_to_get(known.name)}, or name the folder that holds it in {ENVIRONMENT}"
    )


def _unknown(name: str, kind: str) -> str:
    other = known_model(name)
    if name.lower() == "tiny":
        return "tiny is a whole cascade, expected one stage model of it: tiny-l, tiny-m or tiny-s"
    if other is not None:
        lists = f"{command_line('models')} lists what fits where"
        return f"{name} is a {_kinds(other)}, expected a {_WORDS[kind]}; {lists}"
    searched = ", ".join(map(str, models_folders()))
    return (
        f"{shortened(name)} is neither a file or folder nor a known {_WORDS[kind]}{did_you_mean(name, KNOWN)}; "
        f"searched in {searched} and the Hugging Face cache; give a path, or a name that {command_line('models')} lists"
    )
