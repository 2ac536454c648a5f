"""What a user can be told: one line or two, short, and nothing in them that a terminal would obey."""

import logging
import unicodedata

LINES, CHARACTERS = 2, 700
_NO_TEXT = ("Cc", "Cs")  # control characters, halves of characters


def steering(text: str, allowed: str = "\n\t") -> str | None:
    """The first character that is no text, with what stands around it."""
    for at, mark in enumerate(text):
        if unicodedata.category(mark) in _NO_TEXT and mark not in allowed:
            return repr(text[max(0, at - 40) : at + 20])
    return None


def untidy(message: str) -> str | None:
    """What is wrong with a message; None if nothing is."""
    if not message.strip():
        return "says nothing"
    if message.count("\n") >= LINES:
        return f"has {message.count(chr(10)) + 1} lines"
    if found := steering(message, "\n"):
        return f"holds what is no text: {found}"
    if len(message) > CHARACTERS:
        return f"is {len(message)} characters long"
    return None


class Notes(logging.Handler):
    """What the library says meanwhile."""

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
