"""The errors of this library. A message says what was got, what was expected and what to do."""

import errno
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path

MESSAGE_LENGTH = 600
_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of surrogate pairs, ends of lines and paragraphs


class AceStepError(Exception):
    """Base of every error this library raises on purpose.

    A message may quote files of strangers, so control characters in it are written as escapes, and a long one loses its
    middle: what to do stands at the end.
    """

    def __init__(self, message: object = ""):
        super().__init__(_one_line(str(message)))


def _one_line(text: str) -> str:
    if not text.isprintable():
        text = "".join(map(_escaped, text))
    half = MESSAGE_LENGTH // 2
    return text if len(text) <= MESSAGE_LENGTH else f"{text[:half]} ... {text[-half:]}"


def _escaped(character: str) -> str:
    no_text = unicodedata.category(character) in _NO_TEXT
    return character.encode("unicode_escape").decode() if no_text else character


class UserError(AceStepError, ValueError):
    """A value or a file that the user gave does not fit; nothing was started or changed."""


class CheckpointError(UserError):
    """A model file is missing, damaged, foreign or does not fit the others."""


# ---- parts of messages -----------------------------------------------------------------------------------------------

SHOWN_LENGTH = 80


def shown(value: object) -> str:
    """A value as a message quotes it: its repr, cut off after 80 characters."""
    return shortened(repr(value))


def shortened(text: str) -> str:
    """A name as a message has it: cut off after 80 characters."""
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}..."


_DENIED = "is not open to you (permission denied); change its permissions, or give another place"
_WRONG_PATHS = {
    errno.ENAMETOOLONG: "is too long for the name of a file; shorten it",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: "is on a disk that can only be read; give another place",
    errno.ENOTDIR: "is not in a folder, but in a file; give another place",
}


def wrong_path(error: BaseException) -> str:
    """A message for an error of the system that another path, or its permissions, would mend; "" for any other."""
    if not isinstance(error, OSError) or error.filename is None or error.errno not in _WRONG_PATHS:
        return ""
    return f"{shortened(str(error.filename))}: {_WRONG_PATHS[error.errno]}"


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that a disk is full, or that its user may not use more of it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """ " (did you mean ...?)" with the most similar of these names; "" where none is similar."""
    import difflib

    plain = {_without_suffix(one): one for one in names}
    near = difflib.get_close_matches(_without_suffix(name), plain, 1)
    return f" (did you mean {plain[near[0]]}?)" if near else ""


def _without_suffix(name: str) -> str:
    return name.lower().removesuffix(".safetensors")


_NAME = "acestep_core"  # under which the installed library is imported; ComfyUI imports a pack under another name


def command_line(arguments: str) -> str:
    """A command of this library as its user can type it: a pack in ComfyUI's folder installs no command."""
    if __package__ != _NAME:
        return f"`python -m {_NAME} {arguments}` in {Path(__file__).resolve().parents[1]}, with ComfyUI's Python"
    run_as_module = Path((sys.argv or [""])[0]).name == "__main__.py"
    return f"`{f'python -m {_NAME}' if run_as_module else 'acestep-cascade'} {arguments}`"


def how_to_get(model: str) -> str:
    """What a user does to get a known model: a choice on a loader in ComfyUI, else a command."""
    command = command_line(f"models download {model}")
    if __package__ == _NAME:
        return f"get it with {command}"
    return f'choose "{model} (download, ...)" in a loader, or run {command}'


# torch's messages where it has no error class for out of memory: CPUs of Linux and macOS, of Windows, Apple's GPUs.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "MPS backend out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device had no memory left."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
    )
