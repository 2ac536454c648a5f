"""What became of a case: success, one clean error, or a fault of the library's."""

import json
import re
import traceback
from dataclasses import dataclass
from pathlib import Path

from .forked import Ending

OUR_CODE = "acestep_core"
FRAMES = 6
_NO_MEMORY = re.compile(
    r"(?i)can't allocate|cannot allocate|unable to allocate|out of memory|not enough memory|bad_alloc"
)


@dataclass(frozen=True)
class Outcome:
    """`fault`: what is wrong, None if nothing is. `message`: what the user was told. `change`: where the file differs
    from a whole one. `frames`: where it happened.
    """

    fault: str | None
    message: str = ""
    change: str = ""
    frames: str = ""
    cpu_seconds: float = 0.0
    grown_bytes: int = 0

    def __str__(self) -> str:
        return "\n".join(
            filter(None, (self.fault, self.message and f"told: {self.message:.500}", self.change, self.frames))
        )


def said_of(exc: BaseException | None, told: bool, nameless: bool, folder: Path) -> dict:
    """What a child says of its end. `told`: the exception is one that is meant for the user."""
    if exc is None:
        return {"fault": None}
    message = str(exc).replace(str(folder), ".")
    return {
        "fault": _fault(exc, told, nameless, message),
        "message": message.encode("utf-8", "backslashreplace").decode()[:2000],
        "frames": _frames(exc),
    }


def _fault(exc: BaseException, told: bool, nameless: bool, message: str) -> str | None:
    from .tidy import untidy

    if _NO_MEMORY.search(message) or isinstance(exc, MemoryError):
        return "asks for more memory than there is"
    if not told:
        return f"{type(exc).__name__} reaches the user" if type(exc).__name__ != "Wrong" else message
    if wrong := untidy(message):
        return f"the message {wrong}"
    return None if nameless or "mutant" in message else "the message does not name the file"


def _frames(exc: BaseException) -> str:
    """The last ones, each as file:line function: code."""
    frames = traceback.extract_tb(exc.__traceback__)[-40:]
    shown = [f"{_short(frame.filename)}:{frame.lineno} {frame.name}: {frame.line}" for frame in frames]
    return "\n".join(shown[-FRAMES:])


def _short(file: str) -> str:
    parts = Path(file).parts
    return "/".join(parts[parts.index(OUR_CODE) if OUR_CODE in parts else -3 :])


def judged(ending: Ending) -> Outcome:
    """Of a child's end, which may be none of its own."""
    said = ending.said or {"fault": None}
    fault = ending.trouble or said["fault"]
    frames = said.get("frames") or _of_stack(ending.stack)
    return Outcome(
        fault, said.get("message", ""), (ending.told or [""])[0], frames, ending.cpu_seconds, ending.grown_bytes
    )


def _of_stack(stack: str) -> str:
    """faulthandler's, last frame first -> the last ones, in order."""
    found = re.findall(r'File "(.*?)", line (\d+) in (\S+)', stack)
    return "\n".join(f"{_short(file)}:{line} {name}" for file, line, name in found[: 2 * FRAMES][::-1])


def as_json(outcome: Outcome) -> str:
    return json.dumps(vars(outcome))


def from_json(text: str) -> Outcome:
    return Outcome(**json.loads(text))
