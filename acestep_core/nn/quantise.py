"""Weights of a transformer's layers in 8 bits, through torchao: half the memory of bf16, at some cost in accuracy.

Only the matrices of the layers are rounded. Activations keep the model's dtype, except where a GPU multiplies in 8 bits
too: there each of their rows is rounded with a scale of its own, as each row of a matrix is.
"""

import sys

import torch
from torch import nn

from ..errors import UserError
from .dtypes import pick_device

QUANTISED = ("int8", "fp8")
FP8_MATMUL = "fp8-matmul"
OF_STAGES = (*QUANTISED, FP8_MATMUL)
FIRST_CUDA_WITH_FP8 = (8, 9)


def check_quantise(
    kind: str | None, device: torch.device | None = None, dtype: torch.dtype | None = None, kinds=QUANTISED
) -> None:
    """Checks a kind of quantisation, and that torchao and the device can do it. `dtype`: that the model shall have,
    where it is known. Raises UserError.
    """
    if kind is None:
        return
    if kind not in kinds:
        raise UserError(f"quantise: got {kind!r}, expected one of {', '.join(kinds)}")
    if kind == FP8_MATMUL:
        _check_fp8(device, dtype)
    _config(kind)


def _check_fp8(device: torch.device | None, dtype: torch.dtype | None) -> None:
    device = device or pick_device(None)
    able = device.type == "cuda" and torch.version.hip is None
    if not able or torch.cuda.get_device_capability(device) < FIRST_CUDA_WITH_FP8:
        raise UserError(
            f"{FP8_MATMUL}: got {device}, expected an NVIDIA GPU of compute capability 8.9 or more (RTX 40, L4, H100 "
            "and later), which multiplies in 8 bits; fp8 and int8 only store in 8 bits, and work everywhere"
        )
    if dtype is not None:
        _check_dtype(dtype)


def _check_dtype(dtype: torch.dtype) -> None:
    if dtype != torch.bfloat16:
        raise UserError(f"{FP8_MATMUL}: got {str(dtype).removeprefix('torch.')} beside it, expected --dtype bf16")


def quantise(transformer: nn.Module, kind: str, device: torch.device) -> nn.Module:
    """The transformer with its layers' matrices in 8 bits, on the device; it changes in place. Raises UserError."""
    config = _config(kind)
    if kind == FP8_MATMUL:
        _check_dtype(next(transformer.layers.parameters()).dtype)
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
    try:
        from torchao.quantization import (
            Float8DynamicActivationFloat8WeightConfig,
            Float8WeightOnlyConfig,
            Int8WeightOnlyConfig,
            PerRow,
        )
    except ImportError as exc:
        raise UserError(
            "quantise: torchao is not installed, or not one that fits this torch; "
            f"install it with {sys.executable} -m pip install -U torchao, or do without 8 bits"
        ) from exc
    if kind == FP8_MATMUL:
        return Float8DynamicActivationFloat8WeightConfig(granularity=PerRow())
    return Int8WeightOnlyConfig() if kind == "int8" else Float8WeightOnlyConfig()
