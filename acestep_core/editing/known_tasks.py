"""Which checkpoints know a task: what their configs say, and where to get one that does."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.layouts import AUDIO_TOKEN_PARTS
from ..checkpoints.registry import KNOWN
from ..checkpoints.variants import VARIANTS
from ..errors import CheckpointError
from ..models.defaults import COVER, VariantDefaults
from .edit import Edit

_PREFIX = {"xl": "acestep-v15-xl-"}
_VARIANTS = ("turbo", "base")  # the first that knows a task is named


@dataclass(frozen=True)
class Remedy:
    """What a user does about a model that does not know a task. `model`: with `{name}` for one that does; `codes`:
    against missing codes.
    """

    model: str
    codes: str


IN_SHELL = Remedy(
    "take {name}: `acestep-cascade models download {name}`, then --models {name}", "cover without codes (--no-codes)"
)


def check_models(edit: Edit, stages: Sequence[tuple[str, str, VariantDefaults]], remedy: Remedy = IN_SHELL) -> None:
    """Raises CheckpointError unless every stage, of (name, family, defaults), knows the task of an edit."""
    for name, family, defaults in stages:
        if edit.knows not in defaults.tasks:
            named = ", ".join(defaults.tasks)
            family = family if defaults.variant in VARIANTS else None  # a small one of its own, on a small machine
            raise CheckpointError(
                f"{edit.task}: {name} was not trained for it (it knows {named}); "
                f"{where_to_get(edit.knows, family, remedy)}{_without_codes(edit, remedy)}"
            )


def check_tokens(edit: Edit, name: str, checkpoint: Checkpoint, remedy: Remedy = IN_SHELL) -> None:
    """Raises CheckpointError where a cover needs codes and the model's files bring no networks for them."""
    if edit.by_codes and not all(part in checkpoint.parts for part in AUDIO_TOKEN_PARTS):
        raise CheckpointError(
            f"{edit.task}: {name} has no audio tokenizer in its files; "
            f"{where_to_get(COVER, checkpoint.family, remedy)}{_without_codes(edit, remedy)}"
        )


def _without_codes(edit: Edit, remedy: Remedy) -> str:
    return f", or {remedy.codes}" if edit.knows == COVER else ""


def where_to_get(task: str, family: str | None, remedy: Remedy = IN_SHELL) -> str:
    """A published model that knows a task, of the same family where that is published, and how to get it."""
    variant = next(variant for variant in _VARIANTS if task in VARIANTS[variant].tasks)
    return remedy.model.format(name=KNOWN[f"{_PREFIX.get(family or '', 'acestep-v15-')}{variant}"].name)
