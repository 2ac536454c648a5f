"""What a message to a user may look like: one or two lines, short, without control characters."""

import logging
import unicodedata

LINES_MAX, CHARACTERS_MAX = 2, 700
_NO_TEXT = ("Cc", "Cs")  # control characters, halves of surrogate pairs


def control_character(text: str, allowed: str = "\n\t") -> str | None:
    """The first control character (or half of a surrogate pair) with the text around it; None if there is none."""
    for at, character in enumerate(text):
        if unicodedata.category(character) in _NO_TEXT and character not in allowed:
            return repr(text[max(0, at - 40) : at + 20])
    return None


def message_fault(message: str) -> str | None:
    """What is wrong with a message; None if nothing is."""
    if not message.strip():
        return "is empty"
    if message.count("\n") >= LINES_MAX:
        return f"has {message.count(chr(10)) + 1} lines"
    if found := control_character(message, "\n"):
        return f"has a control character: {found}"
    if len(message) > CHARACTERS_MAX:
        return f"is {len(message)} characters long"
    return None


class Notes(logging.Handler):
    """Collects what the library logs as warnings, while it is entered as a context."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord):
        self.lines.append(record.getMessage())

    def __enter__(self) -> "Notes":
        logging.getLogger("acestep_pack").addHandler(self)
        return self

    def __exit__(self, *exc):
        logging.getLogger("acestep_pack").removeHandler(self)
