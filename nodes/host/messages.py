"""A node's bar, its text and its pictures, as ComfyUI's pages show them; every report is a place to cancel."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import comfy.model_management as management
import comfy.utils
import server

logger = logging.getLogger(__name__)

PREVIEW_PIXELS = 512
PREVIEW_SHARE = 0.1  # of the time that sampling takes
QUICK_PICTURE_SECONDS = 1.0


Cancelled = management.InterruptProcessingException  # what reports raise; no Exception, so that nobody swallows it


class Progress:
    """A node's bar, its line of text and its picture. Every report is a place where Cancel takes effect."""

    _last_picture_seconds = 0.0

    def __init__(self, node_id: str, total: int):
        self._total = total
        self._bar, self._node_id = comfy.utils.ProgressBar(total, node_id=node_id), node_id
        self._began, self._spent_on_pictures = time.monotonic(), 0.0

    def report(self, done: int, text: str, picture: Callable | None = None) -> None:
        """`picture` makes a PIL image; it is asked for only as often as its cost allows."""
        management.throw_exception_if_processing_interrupted()
        shown = self._shown(done, picture)
        self._bar.update_absolute(done, preview=shown and ("JPEG", shown, PREVIEW_PIXELS))
        say("\n".join((text, *_noted.get(self._node_id, ()))), self._node_id)

    def _shown(self, done: int, picture: Callable | None):
        now = time.monotonic()
        sampling = now - self._began - self._spent_on_pictures
        if picture is None or self._spent_on_pictures > PREVIEW_SHARE * (now - self._began):
            return None
        # What the last one took, in whichever node: slow ones are made in long stages only.
        if self._last_picture_seconds > max(QUICK_PICTURE_SECONDS, PREVIEW_SHARE * sampling / done * self._total):
            return None
        image = picture()
        Progress._last_picture_seconds = time.monotonic() - now
        self._spent_on_pictures += self._last_picture_seconds
        return image


def told_seconds(node_id: str, total: float) -> Callable[[float], None]:
    """Hears how many of so many seconds are done, for a node's bar."""
    progress = Progress(node_id, max(1, round(total)))
    return lambda done: progress.report(round(done), f"{done:.0f} of {total:.0f} s")


def say(text: str, node_id: str) -> None:
    """Live text on a node."""
    server.PromptServer.instance.send_progress_text(text, node_id)


def show(event: str, view: dict) -> None:
    """Tells the pages that are open; the pack's own scripts listen."""
    instance = server.PromptServer.instance
    instance.send_sync(event, view, instance.client_id)


def note(lines: tuple[str, ...], node_id: str) -> None:
    """What a user should know before a node goes on, in the log and on the node."""
    for line in lines:
        logger.warning("%s", line)
    _note_on(node_id, lines)


# What was noted on the nodes that run now: it stays on them below whatever they tell of their progress.
_noted: dict[str, list[str]] = {}


def _note_on(node_id: str, lines: Iterable[str]) -> None:
    noted = _noted.get(node_id, [])
    noted += lines
    if noted:
        say("\n".join(noted), node_id)


class _OnNode(logging.Handler):
    def __init__(self, node_id: str):
        super().__init__(logging.WARNING)
        self.node_id = node_id

    def emit(self, record: logging.LogRecord):
        _note_on(self.node_id, [record.getMessage()])


@contextmanager
def notes_on(node_id: str) -> Iterator[None]:
    """What the library notes while a node runs is shown on that node as well as in the log."""
    handler, logger = _OnNode(node_id), logging.getLogger(__package__.rsplit(".", 2)[0] + ".acestep_core")
    logger.addHandler(handler)
    _noted[node_id] = []
    try:
        yield
    finally:
        logger.removeHandler(handler)
        del _noted[node_id]
