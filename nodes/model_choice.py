"""A name in a loader's list -> the files of a model, downloaded first where a user has allowed that."""

import re
from collections.abc import Iterable

from ..acestep_core.checkpoints.cascade_models import CascadeModels, find_cascade, part_for
from ..acestep_core.checkpoints.checkpoint import read_checkpoint
from ..acestep_core.checkpoints.choices import Shelf
from ..acestep_core.checkpoints.locate import LocalModel, state_of
from ..acestep_core.checkpoints.registry import (
    DEFAULT_TEXT,
    DEFAULT_VOCODER,
    KNOWN,
    PLANNER,
    STAGE,
    TEXT,
    VOCODER,
    KnownModel,
)
from ..acestep_core.errors import AceStepError, UserError, how_to_get
from .host import downloads, locations, messages

AUTO = "auto"
CASCADE_INPUTS = {"l": STAGE, "m": STAGE, "s": STAGE, "text_encoder": TEXT, "vocoder": VOCODER}  # of Load Cascade
DEFAULTS = {TEXT: DEFAULT_TEXT, VOCODER: DEFAULT_VOCODER}  # of "auto", where no published one is here
_MARK = re.compile(r" \(download, [\d.]+( \+ [\d.]+)? [GM]B\)$")


def choices(kind: str) -> list[str]:
    """Names for a list: models that are here, then known models that can be downloaded, marked so with their size."""
    here, absent = locations.models_shelf().offered(kind)
    return [*here, *map(_marked, absent)]


def slot_choices() -> list[str]:
    """The same for a slot of a cascade: sizes are those of the model and of the parts that "auto" downloads with it."""
    shelf = locations.models_shelf()
    here, absent = shelf.offered(STAGE)
    lacking = _lacking(shelf)
    return [*here, *(f"{model.name} (download, {_size_with(model, lacking)})" for model in absent)]


def _marked(model: KnownModel) -> str:
    return f"{model.name} (download, {_size(model.size_bytes)})"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def _lacking(shelf: Shelf) -> list[KnownModel]:
    """The published text encoder and vocoder, each unless one is here."""
    return [KNOWN[name] for kind, name in DEFAULTS.items() if not shelf.has_published(kind)]


def _size_with(model: KnownModel, lacking: list[KnownModel]) -> str:
    more = sum(part.size_bytes for part in lacking if not set(part.kinds) & set(model.kinds))
    return f"{model.size_bytes / 1e9:.1f} + {more / 1e9:.1f} GB" if more else _size(model.size_bytes)


def plain(choice: str) -> str:
    """The name behind a choice, without its mark, so that a workflow saved before a download goes on working."""
    return _MARK.sub("", str(choice))


# ---- before anything runs --------------------------------------------------------------------------------------------


def check(kind: str, *chosen: str | None) -> bool | str:
    """True, or why one of these choices cannot be loaded."""
    # A choice that comes through a link arrives as None, and is checked when the node runs.
    names = [plain(choice) for choice in chosen if choice not in (None, AUTO)]
    shelf = locations.models_shelf()
    absent = {model.name: model for model in shelf.absent(kind)}
    try:
        for name in names:
            check_allowed(absent[name]) if name in absent else shelf.find(name, kind)
    except AceStepError as exc:
        return str(exc)
    return True


def check_allowed(model: KnownModel, goes_with: Iterable[str] = ()) -> None:
    """Raises UserError unless a user of this ComfyUI has chosen to download it, or a model that it goes with."""
    if not {model.name, *goes_with} & set(downloads.allowed()):
        raise UserError(
            f"{model.name} is not here, and a workflow alone does not download its {_size(model.size_bytes)}; "
            f"{how_to_get(model.name)}"
        )


def fingerprint(kind: str, *chosen: str | None) -> str:
    """Changes whenever a file of one of these models does."""
    shelf = locations.models_shelf()
    here = shelf.here(kind)
    names = [plain(choice) for choice in chosen if choice is not None]
    return str([(name, _state(name, shelf.find(name, kind)) if name in here else ()) for name in names])


def _state(name: str, model: LocalModel) -> tuple:
    state = state_of(model.path)
    return () if state == _just_downloaded.get(name) else state


# Name -> the state of its files right after a download. It counts as "absent", so that the next Run does not load the
# model again only because this Run has downloaded it.
_just_downloaded: dict[str, tuple] = {}


def auto_fingerprint(stages: Iterable[str | None], text: str | None, vocoder: str | None) -> str:
    """Changes whenever "auto" comes to other files: those of the text encoder and of the vocoder of these stages."""
    kinds = [kind for kind, choice in ((TEXT, text), (VOCODER, vocoder)) if choice == AUTO]
    stages = tuple(stages)
    if not kinds or None in stages:
        return ""
    try:
        found = cascade_of(stages, AUTO, AUTO)
    except AceStepError:  # a stage that is not here yet, or parts of two families
        return str([() for _ in kinds])
    return str([_state(AUTO + kind, found.text if kind == TEXT else found.vocoder) for kind in kinds])


# ---- when a node runs ------------------------------------------------------------------------------------------------


def fetched(choice: str, kind: str, node_id: str, goes_with: Iterable[str] = ()) -> LocalModel:
    """The model behind a choice, downloaded first where it is not here. Raises UserError where nobody allowed that, for
    this model or for one that it goes with.
    """
    shelf, name = locations.models_shelf(), plain(choice)
    absent = {model.name: model for model in shelf.absent(kind)}
    if name not in absent:
        return shelf.find(name, kind)
    check_allowed(absent[name], goes_with)
    _download(name, node_id)
    found = locations.models_shelf().find(name, kind)
    _just_downloaded[name] = state_of(found.path)
    return found


def _download(name: str, node_id: str) -> None:
    from ..acestep_core.checkpoints.hub import download

    progress = messages.Progress(node_id, max(1, KNOWN[name].size_bytes // 10**6))

    def report(state):
        done, total = state.done_bytes // 10**6, state.total_bytes // 10**6
        progress.report(done, f"{name}: {done:,} of {total:,} MB")

    download(name, report, locations.models_shelf().own[0])


def find_parts(stages: tuple[str, str, str], text: str, vocoder: str, node_id: str) -> CascadeModels:
    """The models of a cascade, downloaded where need be; an "auto" part goes with the first stage.

    Raises UserError for a wrong choice, with the name of its input, before anything is downloaded.
    """
    for (name, kind), choice in zip(CASCADE_INPUTS.items(), (*stages, text, vocoder), strict=True):
        if (wrong := check(kind, choice)) is not True:
            raise UserError(f"{name}: {wrong}")
    before = dict(_just_downloaded)
    first = fetched(stages[0], STAGE, node_id)
    for choice, kind in ((text, TEXT), (vocoder, VOCODER)):
        _fetch_part(choice, kind, first, stages, node_id)
    for choice in stages[1:]:
        fetched(choice, STAGE, node_id)
    found = cascade_of(stages, text, vocoder)
    if _just_downloaded != before:
        _just_downloaded[AUTO + TEXT] = state_of(found.text.path)
        _just_downloaded[AUTO + VOCODER] = state_of(found.vocoder.path)
    return found


def _fetch_part(choice: str, kind: str, first: LocalModel, stages: Iterable[str], node_id: str) -> None:
    """Downloads a text encoder or vocoder that is not here. Who allowed one of the stages allowed its "auto" too."""
    if choice != AUTO:
        fetched(choice, kind, node_id)
    elif part_for(read_checkpoint(first.path), kind, locations.models_shelf().all_folders) is None:
        try:
            fetched(DEFAULTS[kind], kind, node_id, goes_with=map(plain, stages))
        except UserError as exc:
            name = next(name for name, of in CASCADE_INPUTS.items() if of == kind)
            raise UserError(f"{name}: {exc}") from exc


def cascade_of(stages: Iterable[str], text: str, vocoder: str) -> CascadeModels:
    """The models of a cascade, all of them here. Raises CheckpointError."""
    slots = {slot: _reference(choice, STAGE) for slot, choice in zip("lms", stages, strict=True)}
    parts = {"text": (text, TEXT), "vocoder": (vocoder, VOCODER)}
    parts = {name: None if choice == AUTO else _reference(choice, kind) for name, (choice, kind) in parts.items()}
    return find_cascade(**slots, **parts, folders=locations.models_shelf().all_folders)


def _reference(choice: str, kind: str):
    return reference_to(locations.models_shelf().find(plain(choice), kind))


def reference_to(local: LocalModel):
    """A model as the library finds it: a known one by the name by which messages and tags call it."""
    return local.known.name if local.known else local.path


# ---- routes ----------------------------------------------------------------------------------------------------------


def answer_downloads(query: dict) -> dict:
    """Models that may be downloaded, and those that could be, with their sizes, alone and in a cascade."""
    shelf = locations.models_shelf()
    absent = {model.name: model for kind in (STAGE, TEXT, VOCODER, PLANNER) for model in shelf.absent(kind)}
    alone = {name: _size(model.size_bytes) for name, model in absent.items()}
    lacking = _lacking(shelf)
    slots = {name: _size_with(model, lacking) for name, model in absent.items() if STAGE in model.kinds}
    return {"allowed": list(downloads.allowed()), "absent": alone, "in_cascade": alone | slots}


def answer_allow(query: dict) -> dict:
    """A user chose a model to be downloaded. Raises UserError for a name that is no known model's."""
    name = plain(query.get("choice", ""))
    if name not in KNOWN or not KNOWN[name].repo:
        raise UserError(f"choice: got {query.get('choice')!r}, expected the name of a model that can be downloaded")
    downloads.allow(name)
    return {"allowed": list(downloads.allowed())}
