"""State of a training that may be stopped at any moment: written whole or not at all, read back to the step."""

from pathlib import Path

import torch

from ..errors import UserError
from ..system.files import whole_file


def save_state(path: Path, **state) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        torch.save(state, part)


def load_state(path: Path) -> dict | None:
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


def finished_state(path: Path, phase: str) -> dict:
    """The state that a phase behind this one left. Raises UserError where it left none."""
    state = load_state(path)
    if state is None:
        raise UserError(f"{path} is missing: the phase {phase} comes first; run it with --only {phase}")
    return state


def load_weights(
    module: torch.nn.Module, tensors: dict[str, torch.Tensor], path: Path, later: str | tuple = ()
) -> None:
    """Loads the weights of a state; those whose names begin with `later` stay as they are where the state has none.
    Raises UserError where they are of another edition of the recipe.
    """
    kept = {name: tensor for name, tensor in module.state_dict().items() if name.startswith(later)}
    try:
        module.load_state_dict(kept | tensors)
    except RuntimeError as exc:
        raise UserError(
            f"{path}: has weights of other networks than the recipe trains now; train in another --work"
        ) from exc


def warm_then_cool(step: int, steps: int, warm: int = 100, cool: float = 0.25, warm_from: int = 0) -> float:
    """Share of the peak learning rate: a linear start over `warm` steps, a plateau, a linear end over the last `cool`
    of all steps. `warm_from`: the step at which an optimiser began that knows nothing, as after a warm start.
    """
    end = min(1.0, max(0.02, (steps - step) / (cool * steps)))
    return min(1.0, (step - warm_from + 1) / warm) * end
