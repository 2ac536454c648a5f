"""Optimisers by name: AdamW with moments in float32, or in 8 bits where bitsandbytes is installed."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ..errors import UserError


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
