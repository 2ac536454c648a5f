"""Adapters (LoRA, DoRA, LoKr, LoHa): every file layout -> one form; worn by a model at their true scale; saved."""

from importlib import import_module

# What needs torch is fetched when it is first used.
_LATER = {
    "Adapter": "adapter",
    "read_adapter": "adapter",
    "save_adapter": "save",
    "Report": "wear",
}

__all__ = ["Adapter", "Report", "read_adapter", "save_adapter"]


def __getattr__(name: str):
    if name in _LATER:
        return getattr(import_module(f".{_LATER[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
