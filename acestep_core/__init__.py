"""ACE-Step 1.5 music models as a cascade of diffusion transformers: text and reference clips in, 48 kHz stereo out."""

# Name -> its module, imported with the first use of the name: torch is not imported with the package, and the command
# line handles Ctrl-C before it imports anything.
_MODULES = {
    "AceStepError": "errors",
    "Cascade": "generation.cascade",
    "CheckpointError": "errors",
    "Edit": "editing.edit",
    "Planner": "planner.planner",
    "Song": "song",
    "UserError": "errors",
    "Waveform": "generation.cascade",
}
__all__ = list(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from .system.threads import prepare_threads

    prepare_threads()
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
