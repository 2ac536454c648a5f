"""The one place that writes to the terminal: results on stdout, everything else on stderr, a bar for each stage."""

import codecs
import json
import logging
import sys
import time
from typing import TextIO

BAR_CELLS = 24
ESCAPES = "acestep-escapes"


class Console:
    """`quiet` leaves out the bar and the notes; results and errors are always said."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self._bar_is_shown = False
        self._filled: str | None = None

    def result(self, line: str):
        self._clear()
        _say(sys.stdout, f"{line}\n")

    def note(self, line: str):
        if not self.quiet:
            self._write(f"{line}\n")

    def error(self, line: str):
        self._write(f"acestep-cascade: {line}\n")

    def bar(self, title: str, done: int, of: int, seconds: float):
        """A bar redrawn in place; where nobody watches, one line when it is full."""
        if self.quiet or (done < of and not self._is_watched):
            return
        if done == of and self._filled == title:  # said already
            return
        self._filled = title if done == of else None
        filled = BAR_CELLS * done // of
        line = f"{title:<14} {'█' * filled}{'·' * (BAR_CELLS - filled)} {done}/{of}  {seconds:.1f} s"
        self._write(f"{line}\n" if done == of else line)
        self._bar_is_shown = done < of

    def busy(self, line: str):
        """What goes on, until the next line takes its place; only where somebody watches."""
        if not self.quiet and self._is_watched:
            self._write(line)
            self._bar_is_shown = True

    @property
    def _is_watched(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()

    def _write(self, text: str):
        self._clear()
        _say(sys.stderr, text)

    def _clear(self):
        if self._bar_is_shown:
            sys.stderr.write("\r\033[K")
            self._bar_is_shown = False


def _say(stream: TextIO | None, text: str):
    """Writes text whatever its characters: those that the stream has no bytes for become escapes. None is a stream that
    was closed before the program began.
    """
    if stream is None:
        return
    try:
        stream.write(text)
    except UnicodeEncodeError:  # of a pipe on Windows, mostly
        codecs.register_error(ESCAPES, _escaped)
        stream.write(text.encode(stream.encoding, ESCAPES).decode(stream.encoding))
    stream.flush()


def _escaped(exc: UnicodeError) -> tuple[str, int]:
    # As JSON has them, so that a line of JSON stays one: Python's own may have two digits, or eight.
    return json.dumps(exc.object[exc.start : exc.end])[1:-1], exc.end


class NotesHandler(logging.Handler):
    """What the library logs, as notes."""

    def __init__(self, console: Console):
        super().__init__(logging.WARNING)
        self.console = console

    def emit(self, record: logging.LogRecord):
        self.console.note(f"note: {record.getMessage()}")


class Clock:
    """Seconds since it was made."""

    def __init__(self):
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start
