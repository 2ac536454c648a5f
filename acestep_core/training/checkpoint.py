"""The state of a training in a checkpoint: trained weights, the optimiser's moments, and its identity.

The file is `state.safetensors`: tensors named "weight NAME", "exp_avg NAME" and so on, and the metadata "training", a
JSON object with step, best, base hash, clips and settings.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..checkpoints.save import write_tensors
from ..checkpoints.weights import read_metadata
from ..errors import UserError
from ..json_text import parse_json_object
from .settings import read_stored

STATE_FILE = "state.safetensors"
STEP = "step"  # the optimisers' own name of the step count
ADAMW_PARTS = frozenset(("weight", "exp_avg", "exp_avg_sq"))

About = Mapping[str, object]  # base hash, clips, settings: the identity of a training


class DamagedCheckpoint(Exception):
    """A checkpoint that cannot be resumed from; the message is the reason."""


@dataclass(frozen=True)
class TrainingState:
    """`tensors`: parameter -> part ("weight" or the optimiser's own) -> tensor. `best`: lowest held-out loss so far."""

    step: int
    best: float
    about: About
    tensors: Mapping[str, Mapping[str, torch.Tensor]]

    def write(self, folder: Path) -> None:
        """Raises AceStepError where the file cannot be written."""
        tensors = {f"{part} {name}": value for name, parts in self.tensors.items() for part, value in parts.items()}
        facts = {"step": self.step, "best": self.best if math.isfinite(self.best) else None, **self.about}
        write_tensors(tensors, folder / STATE_FILE, {"training": json.dumps(facts)})

    @staticmethod
    def read(folder: Path) -> "TrainingState":
        """The state in the checkpoint of a step, on the CPU. Raises DamagedCheckpoint."""
        file = folder / STATE_FILE
        try:
            facts = parse_json_object(read_metadata(file)["training"], "its metadata", remedy="it is damaged")
            tensors = load_file(file)
            step, best, settings = facts.pop("step"), facts.pop("best"), read_stored(facts.pop("settings"))
            about = {"base hash": facts["base hash"], "clips": facts["clips"], "settings": settings}
        except (SafetensorError, OSError, UserError, KeyError, AttributeError) as exc:  # UserError: of header or JSON
            raise DamagedCheckpoint(_reason(exc)) from exc
        if type(step) is not int or folder.name != f"step-{step:06}" or type(best) not in (float, type(None)):
            raise DamagedCheckpoint(f"got step {step!r} and loss {best!r}, expected those of {folder.name}")
        return TrainingState(step, math.inf if best is None else best, about, _by_parameter(tensors))

    def check_fits(self, parameters: Mapping[str, torch.Tensor], is_adamw: bool) -> None:
        """Raises DamagedCheckpoint where a tensor is missing, of another shape or not finite."""
        for name, parameter in parameters.items():
            parts = self.tensors.get(name, {})
            if "weight" not in parts or (is_adamw and parts.keys() != ADAMW_PARTS):
                raise DamagedCheckpoint(f"got {', '.join(sorted(parts)) or 'nothing'} of {name}")
            for part in parts.values() if is_adamw else [parts["weight"]]:
                if part.shape != parameter.shape or not torch.isfinite(part).all():
                    raise DamagedCheckpoint(f"{name} has another shape, or values that are not finite")


def check_same(work: Path, stored: About, now: About) -> None:
    """Raises UserError where the stored training has another base, clips or settings; only its length may change."""
    was, wanted = _compared(stored), json.loads(json.dumps(_compared(now)))
    changed = [name.replace("_", " ") for name in wanted if name != "steps" and was.get(name) != wanted[name]]
    if changed:
        raise UserError(
            f"{work}: holds a training with other {', '.join(changed)}; resume it with the same, or choose another "
            "output for a new training"
        )


def _compared(about: About) -> dict:
    return {**about["settings"], "base model": about["base hash"], "clips": about["clips"]}


def _by_parameter(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    grouped: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        part, _, name = key.partition(" ")
        grouped.setdefault(name, {})[part] = value
    return grouped


def _reason(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return f"{lines[0]} is missing" if isinstance(error, KeyError) else lines[0]
