"""Applies adapters: a new model over the same weights, whose adapted layers add the adapters' branches.

A layer in adapters computes base(x) + sum of strength * branch(x), x [B, N, in] for a Linear and [B, in, T] for a
convolution. The base's weights are never changed, so the model without the adapter stays as it is, to the bit. Every
branch is the difference from the bare base, so adapters add up in any order.

Strength s of an adapter with a magnitude (DoRA) is W + s (V - W), with V the fully adapted weight: on a straight line
from the base to it, as with every other kind.
"""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..errors import UserError
from ..nn.module_tree import replace, share
from ..nn.quantise import unquantised
from .adapter import Adapter
from .bases import Shapes, fit
from .deltas import Delta, tensors_of, with_tensors

if TYPE_CHECKING:
    from ..models.stage_model import StageModel

_ADAPTABLE = (nn.Linear, nn.Conv1d)
_SHOWN = 12


@dataclass(frozen=True)
class Report:
    """The result of applying an adapter: paths of the adapted layers, the file's keys that found no layer."""

    adapter: str
    strength: float
    matched: tuple[str, ...]
    unmatched: tuple[str, ...]
    scale: str  # at full strength, and where it was found

    @property
    def lines(self) -> tuple[str, ...]:
        """The same in sentences."""
        layers = f"{len(self.matched)} layer{'s' if len(self.matched) != 1 else ''}"
        first = f"{self.adapter} at strength {self.strength:g} on {layers}; {self.scale}"
        if not self.unmatched:
            return (first,)
        shown = ", ".join(self.unmatched[:_SHOWN])
        more = f" and {len(self.unmatched) - _SHOWN} more" if len(self.unmatched) > _SHOWN else ""
        return first, f"{self.adapter}: {len(self.unmatched)} keys belong to no layer of the model: {shown}{more}"


def apply_adapter(model: "StageModel", adapter: Adapter, strength: float = 1.0) -> tuple["StageModel", Report]:
    """The model with one more adapter applied, and what matched. Raises UserError where it was trained on another base.

    The model that was given stays as it is and shares all its weights with the new one.
    """
    if not math.isfinite(strength):
        raise UserError(f"strength: got {strength}, expected a number such as 0.8")
    layers = adaptable(model.transformer)
    matched = fit(adapter.name, adapter.shapes, model.name, layer_shapes(model))
    report = Report(adapter.name, strength, tuple(matched), tuple(_unmatched(adapter, matched)), scale_text(adapter))
    if strength == 0:
        return model, report
    transformer = share(model.transformer)
    for path in matched:
        replace(transformer, path, adapted(layers[path], adapter.modules[path], strength))
    return dataclasses.replace(model, transformer=transformer), report


def layer_shapes(model: "StageModel") -> Shapes:
    """Rows and columns of every layer that an adapter can be for, by its path."""
    layers = adaptable(model.transformer)
    return {path: (layer.weight.shape[0], layer.weight[0].numel()) for path, layer in layers.items()}


def scale_text(adapter: Adapter) -> str:
    """ "scale 2 (alpha 8, rank 4; adapter_config.json)"."""
    parts = [
        f"{name} {_range(values)}" for name, values in (("alpha", adapter.alphas), ("rank", adapter.ranks)) if values
    ]
    return f"scale {_range(adapter.scales)} ({', '.join(parts)}{'; ' if parts else ''}{adapter.scale_source})"


def adaptable(transformer: nn.Module) -> dict[str, "nn.Linear | nn.Conv1d | AdaptedLayer"]:
    """Path -> layer, of all layers that an adapter can be for."""
    return dict(_adaptable(transformer, ""))


def _adaptable(module: nn.Module, path: str) -> Iterable[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, (*_ADAPTABLE, AdaptedLayer)):
            yield f"{path}{name}", child
        else:
            yield from _adaptable(child, f"{path}{name}.")


def adapted(layer: nn.Module, delta: Delta, strength: float) -> "AdaptedLayer":
    """The layer with one more adapter on it; its own module stays as it is."""
    base, branches = (layer.base, layer.branches) if isinstance(layer, AdaptedLayer) else (layer, ())
    return AdaptedLayer(base, (*branches, Branch(base, delta, strength)))


class AdaptedLayer(nn.Module):
    """A Linear or Conv1d and the branches of the adapters on it. Its weight and other attributes are the base's."""

    def __init__(self, base: nn.Module, branches: Iterable["Branch"]):
        super().__init__()
        self.base = base
        self.branches = nn.ModuleList(branches)
        self.train(base.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = base_out = self.base(x)
        for branch in self.branches:
            out = out + branch(x, base_out, self.base)
        return out

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)  # weight, bias, in_features, stride ...


class Branch(nn.Module):
    """One adapter's addition to a layer's output: strength * (V - W) x, with V the fully adapted weight.

    Its tensors are buffers, so that they move with the model; they take the dtype and device of what comes in.
    """

    def __init__(self, base: nn.Module, delta: Delta, strength: float):
        super().__init__()
        self.strength = strength
        # A gain is near 1: in half precision its difference from 1 would be lost.
        more = None if delta.magnitude is None else _gain(base.weight, delta) - 1
        delta = dataclasses.replace(delta, magnitude=None)
        for name, tensor in tensors_of(delta).items():
            self.register_buffer(name, tensor.detach().to(base.weight), persistent=False)
        self.register_buffer("more", more, persistent=False)
        self._form = with_tensors(delta, {name: tensor.to("meta") for name, tensor in tensors_of(delta).items()})

    def forward(self, x: torch.Tensor, base_out: torch.Tensor, base: nn.Module) -> torch.Tensor:
        named = {name: buffer.to(x) for name, buffer in self.named_buffers(recurse=False) if name != "more"}
        delta = with_tensors(self._form, named)
        if self.more is None:
            return self.strength * delta.branch(x, base)
        # A gain g rescales V's rows, hence outputs, or its columns, hence inputs: V - W is (g - 1) W + g delta.
        axis = 1 if isinstance(base, nn.Conv1d) else -1
        by_rows, more = self.more.shape[0] == delta.shape[0], self.more.float()
        more = more.reshape(-1, 1) if axis == 1 else more.flatten()
        more, gain = more.to(x), (1 + more).to(x)
        if by_rows:
            return self.strength * (more * _unbiased(base_out, base, axis) + gain * delta.branch(x, base))
        from_base = _unbiased(base(more * x), base, axis)
        return self.strength * (from_base + delta.branch(gain * x, base))


PLAIN_COPIES, DORA_COPIES = 2, 4  # of a layer's output, while a branch is added to it


def branch_copies(transformer: nn.Module) -> int:
    """How many copies of a layer's output exist at once, beside the base's, while its adapters are added; 0 without."""
    branches = [module for module in transformer.modules() if isinstance(module, Branch)]
    return max((PLAIN_COPIES if branch.more is None else DORA_COPIES for branch in branches), default=0)


def _gain(weight: torch.Tensor, delta: Delta) -> torch.Tensor:
    """The factors that rescale rows [out, 1] or columns [1, in] of the adapted weight to the magnitude; float32."""
    adapted = unquantised(weight.detach()).float() + delta.weight().to(weight.device).reshape(weight.shape)
    axes = [axis for axis in range(weight.dim()) if axis != (0 if delta.magnitude.shape[1] == 1 else 1)]
    norm = torch.linalg.vector_norm(adapted, dim=axes)
    return delta.magnitude.to(weight.device, torch.float32) / norm.reshape(delta.magnitude.shape)


def _unbiased(out: torch.Tensor, base: nn.Module, axis: int) -> torch.Tensor:
    if base.bias is None:
        return out
    bias = base.bias.to(out)
    return out - (bias[:, None] if axis == 1 else bias)


def _unmatched(adapter: Adapter, matched: list[str]) -> list[str]:
    found = set(matched)
    return [key for path in adapter.modules if path not in found for key in adapter.keys.get(path, (path,))]


def _range(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"
