"""The delta of an adapter to one layer's weight: low rank (LoRA), Kronecker (LoKr) or Hadamard (LoHa) products.

Weights are [out, in] or [out, in, k]. A *delta* has rows and columns, [out, in * k], since files may hold the
kernel of a convolution flattened. With a magnitude (DoRA), the adapted weight V = W + delta is rescaled to it, along
each row ([out, 1]) or each column ([1, in]). The result is not a sum, so it needs the base weight W.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch.nn import functional

Factors = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class LowRank:
    """LoRA: scale * b @ a. `a` [r, in] or [r, in, k], `b` [out, r] or [out, r, 1]; `scale` is alpha / r."""

    a: torch.Tensor
    b: torch.Tensor
    scale: float = 1.0
    magnitude: torch.Tensor | None = None

    kind = "LoRA"

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        return self.b.shape[0], self.a[0].numel()

    def weight(self) -> torch.Tensor:
        """The whole delta, float32 [out, in * k]."""
        return self.scale * (self.b.float().flatten(1) @ self.a.float().flatten(1))

    def branch(self, x: torch.Tensor, layer: torch.nn.Module) -> torch.Tensor:
        """delta applied to a layer's input, without ever making the delta."""
        low = apply(self.a, x, layer)
        if isinstance(layer, torch.nn.Conv1d):
            return functional.conv1d(low, self.b.reshape(*self.b.shape[:2], 1)) * self.scale
        return functional.linear(low, self.b.flatten(1)) * self.scale


@dataclass(frozen=True)
class Kronecker:
    """LoKr: scale * kron(w1, w2). Each is (w,), or (a, b) with w = a @ b, or (a [r, out], b [r, in], core [r, r, k]).

    `w1` makes [p, q], `w2` [c, d * k].
    """

    w1: Factors
    w2: Factors
    scale: float = 1.0
    magnitude: torch.Tensor | None = None

    kind = "LoKr"

    @property
    def rank(self) -> int | None:
        """The inner width of what is decomposed; None where both are full."""
        return _rank(self.w1) or _rank(self.w2)

    @property
    def shape(self) -> tuple[int, int]:
        (p, q), (c, d) = _shape(self.w1), _shape(self.w2)
        return p * c, q * d

    def weight(self) -> torch.Tensor:
        """The whole delta, float32 [out, in * k]."""
        w1, w2 = (_product(tuple(part.float() for part in factors)) for factors in (self.w1, self.w2))
        return self.scale * torch.kron(w1, w2)

    def branch(self, x: torch.Tensor, layer: torch.nn.Module) -> torch.Tensor:
        """delta applied to a layer's input, block by block of w1: far smaller products than the whole delta's."""
        w1, (_, q) = _product(self.w1), _shape(self.w1)
        if isinstance(layer, torch.nn.Conv1d):
            blocks = apply(_product(self.w2), x.unflatten(1, (q, -1)).flatten(0, 1), layer).unflatten(0, (-1, q))
            return torch.einsum("pq,bqct->bpct", w1 * self.scale, blocks).flatten(1, 2)
        blocks = x.unflatten(-1, (q, -1))
        for factor in reversed(self.w2):
            blocks = functional.linear(blocks, factor)
        return torch.einsum("pq,...qc->...pc", w1 * self.scale, blocks).flatten(-2)


def as_peft_multiplies(delta: Kronecker) -> Kronecker:
    """The delta that PEFT's own code applies for a convolution's LoKr with an undecomposed w2 [c, d, k].

    PEFT computes kron(w1, w2) over all axes and reshapes the result to [rows, columns, kernel].
    """
    if len(delta.w2) > 1 or delta.w2[0].dim() < 3:
        return delta
    w1, w2 = _product(delta.w1).float(), delta.w2[0].float()
    (p, q), (c, d, *kernel) = w1.shape, w2.shape
    whole = torch.kron(w1, w2).reshape(p * c, q * d, *kernel)
    return replace(delta, w1=(torch.ones(1, 1),), w2=(whole,))


@dataclass(frozen=True)
class Hadamard:
    """LoHa: scale * w1 * w2, element by element; each is (a, b) with w = a @ b, or (a, b, core) as in Kronecker."""

    w1: Factors
    w2: Factors
    scale: float = 1.0
    magnitude: torch.Tensor | None = None

    kind = "LoHa"

    @property
    def rank(self) -> int:
        return _rank(self.w1)

    @property
    def shape(self) -> tuple[int, int]:
        return _shape(self.w1)

    def weight(self) -> torch.Tensor:
        """The whole delta, float32 [out, in * k]."""
        w1, w2 = (_product(tuple(part.float() for part in factors)) for factors in (self.w1, self.w2))
        return self.scale * w1 * w2

    def branch(self, x: torch.Tensor, layer: torch.nn.Module) -> torch.Tensor:
        # Made anew each time: as large as the layer's own weight, it would double the model's memory if kept.
        return apply(_product(self.w1) * _product(self.w2) * self.scale, x, layer)


Delta = LowRank | Kronecker | Hadamard


def apply(weight: torch.Tensor, x: torch.Tensor, layer: torch.nn.Module) -> torch.Tensor:
    """Another weight applied to x as the layer, a Linear or Conv1d, would apply its own; without bias.

    That weight may have its kernel flattened: [rows, in * k].
    """
    if isinstance(layer, torch.nn.Conv1d):
        kernel = weight.reshape(len(weight), -1, *layer.kernel_size)
        return functional.conv1d(x, kernel, None, layer.stride, layer.padding, layer.dilation)
    return functional.linear(x, weight.flatten(1))


def tensors_of(delta: Delta) -> dict[str, torch.Tensor]:
    """The delta's tensors by name: its fields, those of several factors numbered."""
    named = {}
    for field in fields(delta):
        value = getattr(delta, field.name)
        if isinstance(value, tuple):
            named |= {f"{field.name}_{i}": factor for i, factor in enumerate(value)}
        elif isinstance(value, torch.Tensor):
            named[field.name] = value
    return named


def with_tensors(delta: Delta, named: dict[str, torch.Tensor]) -> Delta:
    """The same delta over other tensors, named as `tensors_of` names them."""
    changed = {}
    for field in fields(delta):
        value = getattr(delta, field.name)
        if isinstance(value, tuple):
            changed[field.name] = tuple(named[f"{field.name}_{i}"] for i in range(len(value)))
        elif isinstance(value, torch.Tensor):
            changed[field.name] = named[field.name]
    return replace(delta, **changed)


def _rank(factors: Factors) -> int | None:
    if len(factors) == 3:
        return factors[2].shape[0]
    return factors[1].shape[0] if len(factors) == 2 else None


def _shape(factors: Factors) -> tuple[int, int]:
    if len(factors) == 3:
        a, b, core = factors
        return a.shape[1], b.shape[1] * core[0, 0].numel()
    return factors[0].shape[0], factors[-1][0].numel()


def _product(factors: Factors) -> torch.Tensor:
    """Factors multiplied out, [rows, columns]."""
    if len(factors) == 3:
        a, b, core = factors
        return torch.einsum("ij...,ip,jr->pr...", core, a, b).flatten(1)
    return factors[0].flatten(1) if len(factors) == 1 else factors[0].flatten(1) @ factors[1].flatten(1)
