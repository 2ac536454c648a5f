"""The errors of this library, by who can mend them. A message says what was got, what was expected and what to do."""


class AceStepError(Exception):
    """Base of every error this library raises on purpose."""


class UserError(AceStepError, ValueError):
    """A value or a file that the user gave does not fit; nothing was started or changed."""


class CheckpointError(UserError):
    """A model file is missing, damaged, foreign or does not fit the others."""


SHOWN_LENGTH = 80


def shown(value: object) -> str:
    """A value as a message quotes it: its repr, cut off after 80 characters."""
    text = repr(value)
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}..."


# torch's messages where it has no error class for out of memory: CPUs of Linux and macOS, of Windows, Apple's GPUs.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "MPS backend out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device had no memory left."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
    )
