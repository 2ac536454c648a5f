"""ACE-Step 1.5 music models as a cascade of diffusion transformers: text and reference clips in, 48 kHz stereo out."""

from .errors import AceStepError, CheckpointError, UserError
from .song import Song
from .system.threads import prepare_threads

__all__ = ["AceStepError", "Cascade", "CheckpointError", "Edit", "Planner", "Song", "UserError", "Waveform"]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    prepare_threads()
    if name == "Edit":
        from .editing.edit import Edit

        return Edit
    # torch is imported with the first of these names, not with the package.
    if name in ("Cascade", "Waveform"):
        from .generation import cascade

        return getattr(cascade, name)
    from .planner import planner

    return planner.Planner
