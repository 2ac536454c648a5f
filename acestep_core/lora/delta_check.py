"""Checks the tensors of an adapter before anything is computed with them: kinds, axes, sizes that fit one another."""

import math
from pathlib import Path

import torch

from ..errors import UserError
from .deltas import Delta, Factors, Hadamard, Kronecker, LowRank

_AXES = {"a": (2, 3), "b": (2, 3), "mid": (3,), "magnitude": (0, 1, 2, 3), "peft_magnitude": (1, 2, 3)}
_NUMBERS_MAX = 2**28  # ten times the largest layer
_DAMAGED = "the file is damaged, get it again"


def check_tensor(file: Path, key: str, part: str, tensor: torch.Tensor) -> None:
    """Raises UserError for a tensor that its part cannot be: of other axes, empty, with NaN or infinity."""
    shape = list(tensor.shape)
    if part == "alpha":
        fits = tensor.numel() == 1 and not tensor.is_complex()
    else:
        fits = tensor.dim() in _AXES.get(part, (3, 4) if "_t" in part else (2, 3)) and tensor.numel() > 0
    if not fits:
        raise UserError(f"{file}: {key} has the shape {shape}, which that part of an adapter never has; {_DAMAGED}")
    if not torch.isfinite(tensor).all():
        raise UserError(
            f"{file}: {key} holds NaN or infinity, as after a training that diverged; choose another adapter, or an "
            "earlier checkpoint of its training"
        )


def check_inner(file: Path, module: str, lower: int, upper: int) -> None:
    """Raises UserError where two factors that are multiplied differ in their inner width."""
    if lower != upper:
        raise UserError(f"{file}: {module} is of rank {lower} in its lower half and {upper} in its upper; {_DAMAGED}")


def check_delta(file: Path, module: str, delta: Delta) -> None:
    """Raises UserError where the factors or the magnitude of a delta do not fit one another."""
    if isinstance(delta, LowRank):
        check_inner(file, module, delta.a.shape[0], delta.b.shape[1])
        if delta.b.shape[2:].numel() != 1:
            raise UserError(f"{file}: {module} has an upper half of shape {list(delta.b.shape)}; {_DAMAGED}")
    else:
        for factors in (delta.w1, delta.w2):
            _check_factors(file, module, factors)
    if isinstance(delta, Hadamard) and Hadamard(delta.w2, delta.w1).shape != delta.shape:
        raise UserError(f"{file}: {module} multiplies two products of different shapes; {_DAMAGED}")
    if isinstance(delta, Kronecker) and (delta.w1[0].dim() > 2 or math.prod(delta.shape) > _NUMBERS_MAX):
        raise UserError(f"{file}: {module} has factors for a layer of shape {list(delta.shape)}; {_DAMAGED}")
    _check_magnitude(file, module, delta)


def _check_factors(file: Path, module: str, factors: Factors) -> None:
    if len(factors) == 2:
        check_inner(file, module, factors[1].shape[0], factors[0].shape[1])
    elif len(factors) == 3:
        for factor, width in zip(factors, factors[2].shape, strict=False):
            check_inner(file, module, factor.shape[0], width)


def _check_magnitude(file: Path, module: str, delta: Delta) -> None:
    if delta.magnitude is None:
        return
    rows, columns = delta.shape
    count = delta.magnitude.numel()
    by_rows = delta.magnitude.shape[1] == 1
    if count != rows if by_rows else columns % count:
        raise UserError(
            f"{file}: {module} has a magnitude of {count} numbers for {rows} rows and {columns} columns; {_DAMAGED}"
        )
