"""An adapter file or folder in any layout -> Adapter: what is added to which layer, at its true scale.

A LoRA's delta is scale * B @ A with scale = alpha / r (alpha / sqrt(r) for rank-stabilised ones). Where alpha stands
differs from trainer to trainer; `Adapter.scale_source` says where it was found, or that there was none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .deltas import Delta, Hadamard, Kronecker, LowRank

__all__ = ["Adapter", "Delta", "Hadamard", "Kronecker", "LowRank"]


@dataclass(frozen=True)
class Adapter:
    """An adapter in one form, whatever file it came from.

    `modules`: path in diffusers' transformer, such as "layers.3.self_attn.to_q" -> delta. `facts`: what its file tells
    of itself: "trigger words", "base", "base hash", training settings. `keys`: the file's own names of each module.
    """

    name: str
    modules: Mapping[str, Delta]
    layout: str = "memory"
    path: Path | None = None
    scale_source: str = "given"
    facts: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """ "LoRA", "DoRA", "LoKr", "LoHa" or several of them; "LoKr with DoRA"."""
        kinds = dict.fromkeys(_kind(delta) for delta in self.modules.values())
        return ", ".join(kinds)

    @property
    def ranks(self) -> tuple[int, ...]:
        """All ranks that occur, smallest first; none where every product is full."""
        return tuple(sorted({delta.rank for delta in self.modules.values() if delta.rank}))

    @property
    def scales(self) -> tuple[float, ...]:
        """All scales that occur, smallest first."""
        return tuple(sorted({delta.scale for delta in self.modules.values()}))


def _kind(delta: Delta) -> str:
    if delta.magnitude is None:
        return delta.kind
    return "DoRA" if delta.kind == "LoRA" else f"{delta.kind} with DoRA"
