"""What can go wrong, by who can mend it. A message says what was got, what was expected and what to do."""


class AceStepError(Exception):
    """Base of every error this library raises on purpose."""


class UserError(AceStepError, ValueError):
    """A value or a file that the user gave does not fit; nothing was started or changed."""


class CheckpointError(UserError):
    """A model file is missing, damaged, foreign or does not fit the others."""


# What torch says where it has no class of its own for it: CPUs of Linux and macOS, of Windows, and Apple's GPUs.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "MPS backend out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, whichever it is, had no memory left."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
    )
