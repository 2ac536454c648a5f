"""Optimisers by name: AdamW with moments in float32, or in 8 bits where bitsandbytes is installed."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    import torch

    from .settings import TrainingSettings


def _adamw() -> type:
    import torch

    return torch.optim.AdamW


def _adamw8bit() -> type:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as exc:
        raise UserError(
            f"optimiser: adamw8bit is bitsandbytes' own, which cannot be imported ({exc}); pip install bitsandbytes, "
            "or choose adamw"
        ) from exc
    return AdamW8bit


_OPTIMISERS: Mapping[str, Callable[[], type]] = MappingProxyType({"adamw": _adamw, "adamw8bit": _adamw8bit})


def optimiser_class(name: str) -> type:
    """The class, which takes parameters, lr and weight_decay. Raises UserError where it is not installed."""
    return _OPTIMISERS[name]()


def make_optimiser(settings: "TrainingSettings", parameters: "Sequence[torch.Tensor]") -> "torch.optim.Optimizer":
    """The optimiser of parameters on one device. On CUDA, AdamW runs in one kernel for all of them; its moments are the
    same. Raises UserError where the optimiser is not installed.
    """
    kind = optimiser_class(settings.optimiser)
    fused = {"fused": True} if kind is _adamw() and has_fused(parameters[0].device) else {}
    return kind(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, **fused)


def has_fused(device: "torch.device") -> bool:
    """Whether torch's fused AdamW is the fastest there."""
    return device.type == "cuda"
