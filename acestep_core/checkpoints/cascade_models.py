"""Which models make a cascade: names and paths -> the checkpoints of its stages, its text encoder and its vocoder.

No torch: a wrong name, a missing file or a mixed-up cascade raises before anything is loaded. Letters only name slots
here; behind this file a cascade is any number of stages.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ..errors import CheckpointError, UserError
from ..models.defaults import VariantDefaults
from ..spec import SLOTS
from ..system.folders import user_path
from .checkpoint import TEXT_ENCODER_FOLDERS, Checkpoint, read_checkpoint
from .digest import model_digest
from .locate import TINY_FOLDER, LocalModel, find, local_models
from .registry import DEFAULT_TEXT, DEFAULT_VOCODER, KNOWN, STAGE, TEXT, VOCODER

DEFAULT_CASCADE = "tiny"
CASCADES = MappingProxyType(
    {
        "tiny": ("tiny-l", "tiny-m", "tiny-s"),
        "published": ("acestep-v15-xl-turbo", "acestep-v15-turbo", "acestep-v15-turbo"),
    }
)
# Kind -> the part of a checkpoint, and the folders beside a stage model.
_BESIDE = MappingProxyType({TEXT: ("text_encoder", TEXT_ENCODER_FOLDERS), VOCODER: ("vae", ("vae",))})
_EMBEDDED = TINY_FOLDER.parts[-2:]


@dataclass(frozen=True)
class CascadeModels:
    """Where the parts of one cascade are; `defaults` are those of its stages."""

    stages: tuple[LocalModel, ...]
    text: LocalModel
    vocoder: LocalModel
    defaults: tuple[VariantDefaults, ...]

    @property
    def names(self) -> dict[str, str]:
        """Slot -> the name or path by which `find` finds the model, for the tags of a song."""
        return {slot: _name(model, kind) for slot, (model, kind) in self._by_slot().items()}

    def digests(self) -> dict[str, str]:
        """Slot -> the digest of the model's files. Raises OSError where one is gone."""
        return {slot: model_digest(model.path, kind) for slot, (model, kind) in self._by_slot().items()}

    def _by_slot(self) -> dict[str, tuple[LocalModel, str]]:
        slots = SLOTS if len(self.stages) == len(SLOTS) else [f"stage {i + 1}" for i in range(len(self.stages))]
        stages = {slot: (stage, STAGE) for slot, stage in zip(slots, self.stages, strict=True)}
        return {**stages, "text": (self.text, TEXT), "vocoder": (self.vocoder, VOCODER)}


def embedded_name(path: str) -> str | None:
    """The embedded model's name for a path to its folder, in any copy of this package; None for other paths.

    Songs of version 0.1.0 name such folders in their tags, wherever the package was then.
    """
    parts = re.split(r"[\\/]+", path.rstrip("\\/"))
    if parts[-2:] == list(_EMBEDDED):
        return DEFAULT_CASCADE
    embedded = {known.path: known.name for known in KNOWN.values() if not known.repo}
    return embedded.get(parts[-1]) if parts[-3:-1] == list(_EMBEDDED) else None


def _name(model: LocalModel, kind: str) -> str:
    """The name of a known model, also for one found by its path, such as a part beside the first stage."""
    if model.known:
        return model.name
    at_path = (known.name for known in local_models(kind) if known.path.resolve() == model.path.resolve())
    return next(at_path, str(model.path))


def find_cascade(
    models: str | Path | None = None,
    *,
    l: str | Path | None = None,  # noqa: E741  the slot's name
    m: str | Path | None = None,
    s: str | Path | None = None,
    text: str | Path | None = None,
    vocoder: str | Path | None = None,
    folders: Sequence[Path] = (),
) -> CascadeModels:
    """The models of a cascade, none of them loaded. Raises CheckpointError.

    `models` is a name in CASCADES, a folder that holds the folders l, m and s, or one model that runs the whole way
    alone. `l`, `m` and `s` each replace one slot of it. Without `models`, an empty slot takes its neighbour's model.
    Text encoder and vocoder are, unless named, those beside the first stage, else published ones on this machine.
    `folders` are searched before this machine's own.
    """
    named = _filled((l, m, s), _slots(models if models or any((l, m, s)) else DEFAULT_CASCADE))
    stages = tuple(find(name, STAGE, folders) for name in named)
    checkpoints = [read_checkpoint(stage.path) for stage in stages]
    text = text or part_for(checkpoints[0], TEXT, folders)
    vocoder = vocoder or part_for(checkpoints[0], VOCODER, folders)
    found = CascadeModels(
        stages=stages,
        text=find(text or DEFAULT_TEXT, TEXT, folders),
        vocoder=find(vocoder or DEFAULT_VOCODER, VOCODER, folders),
        defaults=tuple(_defaults(checkpoint) for checkpoint in checkpoints),
    )
    _check_widths(found, checkpoints)
    return found


def _slots(models: str | Path | None) -> tuple[str | Path | None, ...]:
    """The model of each slot, for a cascade by its name or folder; one model for any other name; Nones for None."""
    if models is None:
        return (None,) * len(SLOTS)
    if str(models).lower() in CASCADES:
        return CASCADES[str(models).lower()]
    folder = user_path(models)
    if all((folder / slot).is_dir() for slot in SLOTS):
        return tuple(folder / slot for slot in SLOTS)
    return (models,)


def _filled(given: Iterable, cascade: tuple) -> list:
    given = list(given)
    if not any(given):
        return list(cascade)
    if len(cascade) == 1:
        cascade *= len(SLOTS)
    slots = [name or default for name, default in zip(given, cascade, strict=True)]
    for i in (1, 2, 1, 0):  # an empty slot takes the model before it, the first ones the model behind them
        slots[i] = slots[i] or (slots[i - 1] if i else slots[1]) or slots[min(i + 1, 2)]
    return slots


def _defaults(checkpoint: Checkpoint) -> VariantDefaults:
    checkpoint.part("transformer")
    if checkpoint.defaults is None:
        raise CheckpointError(f"{checkpoint.path} is no stage model; choose another")
    return checkpoint.defaults


def part_for(stage: Checkpoint, kind: str, folders: Sequence[Path] = ()) -> Path | None:
    """The text encoder or the vocoder that comes with a stage model, else a published one on this machine."""
    part, names = _BESIDE[kind]
    if part in stage.parts:
        return stage.path
    for name in names:
        if (stage.path.parent / name / "config.json").is_file():
            return stage.path.parent / name
    return next((model.path for model in local_models(kind, folders) if model.known.repo), None)


def _check_widths(found: CascadeModels, stages: list[Checkpoint]):
    """Raises CheckpointError unless the shapes of all stages, of the vocoder and of the text encoder fit together."""
    channels = _width(read_checkpoint(found.vocoder.path), "vae", "decoder.conv1.weight_v")
    text_width = _width(read_checkpoint(found.text.path), "text_encoder", "embed_tokens.weight")
    for model, stage in zip(found.stages, stages, strict=True):
        made = _width(stage, "transformer", "proj_out_conv.weight")
        if made != channels:
            raise CheckpointError(
                f"{model.name} makes latents of {made} channels, the vocoder {found.vocoder.name} reads {channels}; "
                "choose models of one family"
            )
        wanted = _width(stage, "condition_encoder", "text_projector.weight")
        if wanted != text_width:
            raise CheckpointError(
                f"{model.name} reads text of width {wanted}, the text encoder {found.text.name} gives {text_width}; "
                "choose models of one family"
            )


def _width(checkpoint: Checkpoint, part: str, tensor: str) -> int:
    return checkpoint.part(part).tensors[tensor].shape[1]


def lone_stage(found: CascadeModels, option: str, name: str) -> LocalModel:
    """The one stage model of a cascade. Raises UserError where the name given for `option` is that of several."""
    if len({stage.path for stage in found.stages}) != 1:
        raise UserError(f"{option}: {name} is a whole cascade, expected one stage model, such as tiny-m")
    return found.stages[0]
