"""PEFT's settings of a LoKr, from which PEFT makes layers of the same shapes. Raises for shapes that it cannot make.

PEFT splits both sides of a layer by one factor, and decomposes products by their rank. A LoKr of LyCORIS may have other
shapes, or a magnitude.
"""

from collections import Counter
from collections.abc import Callable

from ..errors import UserError
from .adapter import Adapter
from .deltas import Kronecker


def lokr_config(adapter: Adapter, name: Callable[[str], str]) -> dict:
    """The settings. `name`: what PEFT calls the layer at a path. Raises UserError."""
    deltas = adapter.modules
    both = any(len(delta.w1) == 2 for delta in deltas.values())
    factor = next((f for f in _factors(adapter) if all(_fits(d, f, both) for d in deltas.values())), None)
    if factor is None:
        raise UserError(f"{adapter.name}: is a LoKr of shapes that peft cannot hold; save it as comfyui")
    ranks = {name(path): _rank(delta) for path, delta in deltas.items()}
    alphas = {name(path): delta.scale * _rank(delta) for path, delta in deltas.items()}
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
    return {
        "peft_type": "LOKR",
        "r": rank,
        "alpha": _number(alpha),
        "rank_pattern": {path: own for path, own in ranks.items() if own != rank},
        "alpha_pattern": {path: _number(own) for path, own in alphas.items() if own != alpha},
        "decompose_both": both,
        "decompose_factor": factor,
        "target_modules": sorted(ranks),
    }


def _number(value: float) -> int | float:
    return int(value) if float(value).is_integer() else float(value)


def _sides(delta: Kronecker) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of w1, and of w2."""
    return tuple((factors[0].shape[0], factors[-1].shape[-1]) for factors in (delta.w1, delta.w2))


def _rank(delta: Kronecker) -> int:
    """The inner width. If neither product is decomposed, a rank at which PEFT decomposes neither."""
    return delta.rank or max(map(max, _sides(delta)))


def _factors(adapter: Adapter) -> list[int]:
    """Candidate factors: -1, which splits as evenly as possible, and the sizes of w1."""
    return [-1, *sorted({size for delta in adapter.modules.values() for size in _sides(delta)[0]})]


def _fits(delta: Kronecker, factor: int, both: bool) -> bool:
    """Whether PEFT makes such a layer."""
    from peft.tuners.lokr.layer import factorization

    if delta.magnitude is not None or any(part.dim() != 2 for part in (*delta.w1, *delta.w2)):
        return False
    if len(delta.w1) > 2 or len(delta.w2) > 2:
        return False
    (rows1, columns1), (rows2, columns2) = _sides(delta)
    split = factorization(rows1 * rows2, factor), factorization(columns1 * columns2, factor)
    rank = _rank(delta)
    whole1 = not (both and rank < max(rows1, columns1) / 2)
    whole2 = not rank < max(rows2, columns2) / 2
    shapes = ((rows1, rows2), (columns1, columns2))
    return split == shapes and (whole1, whole2) == (len(delta.w1) == 1, len(delta.w2) == 1)
