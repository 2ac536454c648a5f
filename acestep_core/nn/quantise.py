"""Weights of a transformer's layers in 8 bits, through torchao: half the memory of bf16, at some cost in accuracy.

Only the matrices of the layers are rounded; activations keep the model's dtype.
"""

import sys

import torch
from torch import nn

from ..errors import UserError

QUANTISED = ("int8", "fp8")


def check_quantise(kind: str | None) -> None:
    """Checks a kind of quantisation, and that torchao can be used. Raises UserError."""
    if kind is not None:
        _config(kind)


def quantise(transformer: nn.Module, kind: str, device: torch.device) -> nn.Module:
    """The transformer with its layers' matrices in 8 bits, on the device; it changes in place. Raises UserError."""
    config = _config(kind)
    from torchao.quantization import quantize_

    def is_in_layer(module: nn.Module, path: str) -> bool:
        return isinstance(module, nn.Linear) and path.startswith("layers.")

    quantize_(transformer, config, is_in_layer, device=device)
    return transformer.to(device)


def stored(weight: torch.Tensor) -> list[torch.Tensor]:
    """The tensors that store a weight; a weight in 8 bits reports the model's dtype and holds several."""
    if not _is_quantised(weight):
        return [weight]
    return [getattr(weight, name) for name in weight.__tensor_flatten__()[0]]


def unquantised(weight: torch.Tensor) -> torch.Tensor:
    """A weight at its reported dtype; a weight that is not in 8 bits is returned unchanged."""
    return weight.dequantize() if _is_quantised(weight) else weight


def _is_quantised(weight: torch.Tensor) -> bool:
    return type(weight).__module__.startswith("torchao.")


def _config(kind: str):
    if kind not in QUANTISED:
        raise UserError(f"quantise: got {kind!r}, expected one of {', '.join(QUANTISED)}")
    try:
        from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig
    except ImportError as exc:
        raise UserError(
            "quantise: torchao is not installed, or not one that fits this torch; "
            f"install it with {sys.executable} -m pip install -U torchao, or do without 8 bits"
        ) from exc
    return Int8WeightOnlyConfig() if kind == "int8" else Float8WeightOnlyConfig()
