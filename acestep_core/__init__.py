"""ACE-Step 1.5 music models as a cascade of diffusion transformers: text and reference clips in, 48 kHz stereo out."""

from .errors import AceStepError, CheckpointError, UserError

__all__ = ["AceStepError", "Cascade", "CheckpointError", "Song", "UserError", "Waveform"]

_LAZY = {"Cascade": "generate", "Song": "song", "Waveform": "audio"}


def __getattr__(name: str):
    # Importing the package must not load torch: a name is fetched when it is first used.
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
