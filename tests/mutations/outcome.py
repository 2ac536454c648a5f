"""The outcome of a case: success, one clean error, or a fault of the library."""

import json
import re
import traceback
from dataclasses import dataclass
from pathlib import Path

from .forked import Ending
from .messages import message_fault

OUR_CODE = "acestep_core"
FRAMES = 6
MESSAGE_CHARACTERS = 2000
_NO_MEMORY = re.compile(
    r"(?i)can't allocate|cannot allocate|unable to allocate|out of memory|not enough memory|bad_alloc"
)


@dataclass(frozen=True)
class Outcome:
    """`fault`: what is wrong, None if nothing is. `message`: the error that the user is shown, if any. `change`: the
    first place where the file differs from the valid one. `frames`: the last frames of the traceback.
    """

    fault: str | None
    message: str = ""
    change: str = ""
    frames: str = ""
    cpu_seconds: float = 0.0
    grown_bytes: int = 0

    def __str__(self) -> str:
        shown = (self.fault, self.message and f"error: {self.message:.500}", self.change, self.frames)
        return "\n".join(filter(None, shown))

    def to_json(self) -> str:
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> "Outcome":
        return cls(**json.loads(text))

    @classmethod
    def of(cls, ending: Ending) -> "Outcome":
        """Of a child process, which may have been killed before it could return anything."""
        returned = ending.returned or {}
        return cls(
            fault=ending.fault or returned["fault"],
            message=returned.get("message", ""),
            change=(ending.lines or [""])[0],
            frames=returned.get("frames") or _frames_of_stack(ending.stack),
            cpu_seconds=ending.cpu_seconds,
            grown_bytes=ending.grown_bytes,
        )


def judge(exc: Exception, is_for_user: bool, needs_name: bool, folder: Path) -> dict:
    """Fields of the Outcome of a target that raised. `is_for_user`: the exception is one of the library's own errors.

    `needs_name`: its message must name the mutated file.
    """
    message = str(exc).replace(str(folder), ".")
    return {
        "fault": _fault(exc, is_for_user, needs_name, message),
        "message": message.encode("utf-8", "backslashreplace").decode()[:MESSAGE_CHARACTERS],
        "frames": _frames(exc),
    }


def _fault(exc: Exception, is_for_user: bool, needs_name: bool, message: str) -> str | None:
    if _NO_MEMORY.search(message) or isinstance(exc, MemoryError):
        return "asks for more memory than there is"
    if isinstance(exc, AssertionError):  # a target's own check
        return message
    if not is_for_user:
        return f"{type(exc).__name__} reaches the user"
    if wrong := message_fault(message):
        return f"the message {wrong}"
    return "the message does not name the file" if needs_name and "mutant" not in message else None


def _frames(exc: Exception) -> str:
    """The last frames, each as file:line function: code."""
    frames = traceback.extract_tb(exc.__traceback__)[-FRAMES:]
    return "\n".join(f"{_short(frame.filename)}:{frame.lineno} {frame.name}: {frame.line}" for frame in frames)


def _frames_of_stack(stack: str) -> str:
    """The same of faulthandler's text, which has the last frame first."""
    found = re.findall(r'File "(.*?)", line (\d+) in (\S+)', stack)
    return "\n".join(f"{_short(file)}:{line} {name}" for file, line, name in found[: 2 * FRAMES][::-1])


def _short(file: str) -> str:
    parts = Path(file).parts
    return "/".join(parts[parts.index(OUR_CODE) if OUR_CODE in parts else -3 :])
