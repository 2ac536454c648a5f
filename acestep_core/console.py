"""The one place that writes to the terminal: results on stdout, everything else on stderr, a bar for each stage."""

import codecs
import contextlib
import json
import logging
import os
import re
import sys
import time
from typing import TextIO

BAR_CELLS = 24
ESCAPES = "acestep-escapes"
# Control characters but tab and newline, and the marks that turn the direction of text: a terminal obeys them.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Console:
    """Results, notes, errors and progress bars of a command. `quiet` leaves out bars and notes.

    Text may come from files of strangers: control characters are written as escapes. A closed stderr is ignored.
    """

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self._bar_is_shown = False
        self._filled: str | None = None

    def result(self, line: str):
        """A line on stdout. Raises BrokenPipeError where its reader is gone."""
        self._clear()
        _write(sys.stdout, printable(f"{line}\n"))

    def made(self, line: str):
        """The result line of a finished file: the file is there whether or not anybody reads the line."""
        with contextlib.suppress(BrokenPipeError):
            self.result(line)

    def note(self, line: str):
        if not self.quiet:
            self._write(f"{line}\n")

    def error(self, line: str):
        self._write(f"acestep-cascade: {line}\n")

    def bar(self, title: str, done: int, of: int, seconds: float):
        """A bar redrawn in place on a terminal; elsewhere one line when it is full."""
        if self.quiet or (done < of and not self._is_terminal):
            return
        if done == of and self._filled == title:  # its line is written already
            return
        self._filled = title if done == of else None
        filled = BAR_CELLS * done // of
        line = f"{title:<14} {'█' * filled}{'·' * (BAR_CELLS - filled)} {done}/{of}  {seconds:.1f} s"
        self._write(f"{line}\n" if done == of else line)
        self._bar_is_shown = done < of

    def busy(self, line: str):
        """A line about the work in progress, which the next line replaces; only on a terminal."""
        if not self.quiet and self._is_terminal:
            self._write(line)
            self._bar_is_shown = True

    @property
    def _is_terminal(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()

    def _write(self, text: str):
        self._clear()
        _write_progress(printable(text))

    def _clear(self):
        if self._bar_is_shown:
            _write_progress("\r\033[K")
            self._bar_is_shown = False


def printable(text: str) -> str:
    """The text with its control characters, except tabs and line ends, as JSON escapes them."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _write_progress(text: str):
    """Text on stderr. A bar that cannot be drawn is no failure."""
    try:
        _write(sys.stderr, text)
    except (OSError, ValueError):
        _discard(sys.stderr)


def _write(stream: TextIO | None, text: str):
    """Text on a stream; characters that it has no bytes for become escapes. None: closed before the program began."""
    if stream is None:
        return
    try:
        stream.write(text)
    except UnicodeEncodeError:  # of a pipe on Windows, mostly
        codecs.register_error(ESCAPES, _escaped)
        stream.write(text.encode(stream.encoding, ESCAPES).decode(stream.encoding))
    try:
        stream.flush()
    except BrokenPipeError:
        _discard(stream)
        raise


def _discard(stream: TextIO):
    """Redirects a stream whose reader is gone to os.devnull, so that its buffer causes no error at exit."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a file of the system
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _escaped(exc: UnicodeError) -> tuple[str, int]:
    # As JSON has them, so that a line of JSON stays one: Python's own may have two digits, or eight.
    return json.dumps(exc.object[exc.start : exc.end])[1:-1], exc.end


class NotesHandler(logging.Handler):
    """Writes what the library logs as notes."""

    def __init__(self, console: Console):
        super().__init__(logging.WARNING)
        self.console = console

    def emit(self, record: logging.LogRecord):
        self.console.note(f"note: {record.getMessage()}")


class Clock:
    """A stopwatch that starts when it is made."""

    def __init__(self):
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start
