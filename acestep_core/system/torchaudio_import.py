"""The one place that imports torchaudio. Its last release cannot be imported beside newer or CPU builds of torch.

transformers (and through it diffusers) imports torchaudio wherever it is installed, and fails with it. So every module
of ours that imports diffusers, transformers or peft calls `settle_torchaudio()` first: an unusable torchaudio is marked
as absent for this process, and those libraries take the path that they have for machines without it.
"""

import sys


def settle_torchaudio():
    """Import torchaudio and return it, or return None (and mark it absent) where it cannot be imported."""
    if "torchaudio" in sys.modules:
        return sys.modules["torchaudio"]
    try:
        import torchaudio
    except ImportError:
        return None
    except (OSError, RuntimeError):  # its compiled part was built for another torch
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules["torchaudio"] = None  # type: ignore[assignment]  # how Python marks "not importable"
        return None
    return torchaudio
