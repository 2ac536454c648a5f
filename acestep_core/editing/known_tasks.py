"""Which checkpoints know a task: what their configs say, and where to get one that does."""

from collections.abc import Sequence

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.layouts import AUDIO_TOKEN_PARTS
from ..checkpoints.registry import KNOWN
from ..checkpoints.variants import VARIANTS
from ..errors import CheckpointError
from ..models.defaults import COVER, VariantDefaults
from .edit import Edit

_PREFIX = {"xl": "acestep-v15-xl-"}
_VARIANTS = ("turbo", "base")  # the first that knows a task is named


def check_models(edit: Edit, stages: Sequence[tuple[str, str, VariantDefaults]]) -> None:
    """Raises CheckpointError unless every stage, of (name, family, defaults), knows the task of an edit."""
    for name, family, defaults in stages:
        if edit.knows not in defaults.tasks:
            named = ", ".join(defaults.tasks)
            family = family if defaults.variant in VARIANTS else None  # a small one of its own, on a small machine
            raise CheckpointError(
                f"{edit.task}: {name} was not trained for it (it knows {named}); {where_to_get(edit.knows, family)}"
                f"{_without_codes(edit)}"
            )


def check_tokens(edit: Edit, name: str, checkpoint: Checkpoint) -> None:
    """Raises CheckpointError where a cover needs codes and the model's files bring no networks for them."""
    if edit.by_codes and not all(part in checkpoint.parts for part in AUDIO_TOKEN_PARTS):
        raise CheckpointError(
            f"{edit.task}: {name} has no audio tokenizer in its files; {where_to_get(COVER, checkpoint.family)}"
            f"{_without_codes(edit)}"
        )


def _without_codes(edit: Edit) -> str:
    return ", or cover without codes (--no-codes)" if edit.knows == COVER else ""


def where_to_get(task: str, family: str | None) -> str:
    """A published model that knows a task, of the same family where that is published, and the command that gets it."""
    variant = next(variant for variant in _VARIANTS if task in VARIANTS[variant].tasks)
    name = KNOWN[f"{_PREFIX.get(family or '', 'acestep-v15-')}{variant}"].name
    return f"take {name}: `acestep-cascade models download {name}`, then --models {name}"
