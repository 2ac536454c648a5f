"""Describes an adapter in lines of text: its layout, base, rank and scale, and the facts in its file."""

from .adapter import Adapter
from .layouts import is_known


def rows_of(adapter: Adapter) -> dict[str, object]:
    """Name -> value, for the values that follow from the adapter's tensors and layout."""
    foreign = [path for path in adapter.modules if not is_known(path)]
    return {
        "file": str(adapter.path),
        "kind": adapter.kind,
        "layout": adapter.layout,
        "base": " or ".join(adapter.bases) or "no known one, by its shapes",
        "rank": adapter.ranks,
        "alpha": adapter.alphas,
        "scale": adapter.scales,
        "scale from": adapter.scale_source,
        "layers": len(adapter.modules) - len(foreign),
        "not of ACE-Step": foreign,
    }


def lines_of(adapter: Adapter) -> list[str]:
    """One line for each value that is not empty, then the file's facts, "(stated)" if a value has the same name."""
    rows = rows_of(adapter)
    stated = {f"{name} (stated)" if name in rows else name: value for name, value in adapter.facts.items()}
    shown = {name: _shown(value) for name, value in {**rows, **stated}.items()}
    return [f"{name:<15} {value}" for name, value in shown.items() if value]


def _shown(value: object) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    return str(value)
