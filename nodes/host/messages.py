"""A node's progress bar, its texts and its pictures, as ComfyUI's pages show them. Every report checks for Cancel.

Live text shows a node's progress and disappears when the job ends. Lasting text (notes, a report) is a result of the
node: the pack's own scripts draw it, also where the result is shown again. Both go only to the client that queued the
prompt.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import comfy.model_management as management
import comfy.utils
import server

logger = logging.getLogger(__name__)

TEXT_EVENT = "acestep-cascade.text"  # lasting text as it comes, also of a node that fails or is cancelled,
TEXT_RESULT = "acestep_text"  # and the same in the node's result
PREVIEW_PIXELS = 512
PREVIEW_SHARE = 0.1  # of the time that sampling takes
QUICK_PICTURE_SECONDS = 1.0


Cancelled = (
    management.InterruptProcessingException
)  # reports raise it; it is not an Exception, so that no handler swallows it


def check_cancelled() -> None:
    """Raises Cancelled where the user has pressed Cancel."""
    management.throw_exception_if_processing_interrupted()


class Progress:
    """A node's bar, its live line of text and its picture. Every report checks for Cancel."""

    _last_picture_seconds = 0.0

    def __init__(self, node_id: str, total: int):
        self._total = total
        self._bar, self._node_id = comfy.utils.ProgressBar(total, node_id=node_id), node_id
        self._began, self._spent_on_pictures = time.monotonic(), 0.0

    def report(self, done: int, text: str, picture: Callable | None = None) -> None:
        """`picture` makes a PIL image; it is called only as often as its cost allows."""
        check_cancelled()
        shown = self._shown(done, picture)
        self._bar.update_absolute(done, preview=shown and ("JPEG", shown, PREVIEW_PIXELS))
        say(text, self._node_id)

    def _shown(self, done: int, picture: Callable | None):
        now = time.monotonic()
        sampling = now - self._began - self._spent_on_pictures
        if picture is None or self._spent_on_pictures > PREVIEW_SHARE * (now - self._began):
            return None
        # Seconds of the last picture, of whichever node: slow pictures are made in long stages only.
        if self._last_picture_seconds > max(QUICK_PICTURE_SECONDS, PREVIEW_SHARE * sampling / done * self._total):
            return None
        image = picture()
        Progress._last_picture_seconds = time.monotonic() - now
        self._spent_on_pictures += self._last_picture_seconds
        return image


def report_seconds(node_id: str, total: float) -> Callable[[float], None]:
    """A function that shows on a node's bar how many of `total` seconds of sound are done."""
    progress = Progress(node_id, max(1, round(total)))
    return lambda done: progress.report(round(done), f"{done:.0f} of {total:.0f} s")


# ---- live text -------------------------------------------------------------------------------------------------------


def say(text: str, node_id: str) -> None:
    """Live text on a node."""
    instance = server.PromptServer.instance
    if instance.client_id is not None:  # a script queued the prompt: ComfyUI would send to every page
        instance.send_progress_text(_without_markup(text), node_id, instance.client_id)


def show(event: str, view: dict) -> None:
    """Sends an event of the pack to the page that queued the prompt, whose scripts listen."""
    instance = server.PromptServer.instance
    if instance.client_id is not None:
        instance.send_sync(event, view, instance.client_id)


_UNSEEN = "\N{ZERO WIDTH SPACE}"


def _without_markup(text: str) -> str:
    """Text that looks the same but has no HTML and no link or picture of Markdown in it. Pages with Nodes 2.0 render
    live text as Markdown and would fetch a picture. Other pages show it as it is, where backslashes would be visible.
    """
    for mark in "<[]":
        text = text.replace(mark, mark + _UNSEEN)
    return text


# ---- lasting text ----------------------------------------------------------------------------------------------------


class Notes:
    """The lasting text of a node that runs now: each line once."""

    def __init__(self, node_id: str):
        self.node_id, self._lines = node_id, {}

    @property
    def ui(self) -> dict[str, list[dict]]:
        """The text as a result of the node. Without lines it removes the text of the run before."""
        return {TEXT_RESULT: [{"lines": [*self._lines]}]}

    def add(self, lines: Iterable[str]) -> None:
        lines = list(lines)
        if lines:
            self._lines |= dict.fromkeys(lines)
            show(TEXT_EVENT, {"node": self.node_id, "lines": [*self._lines]})


def note(lines: Iterable[str], node_id: str) -> None:
    """Warnings: into the log, and as lasting text on the node."""
    lines = tuple(lines)
    for line in lines:
        logger.warning("%s", line)
    keep(lines, node_id)


def keep(lines: Iterable[str], node_id: str) -> None:
    """Lasting text on a node: its report."""
    _running.get(node_id, Notes(node_id)).add(lines)


_running: dict[str, Notes] = {}


class _OnNode(logging.Handler):
    def __init__(self, notes: Notes):
        super().__init__(logging.WARNING)
        self._notes = notes

    def emit(self, record: logging.LogRecord):
        self._notes.add([record.getMessage()])


@contextmanager
def notes_on(node_id: str) -> Iterator[Notes]:
    """The lasting text of a node while it runs, with the warnings that the library logs in that time."""
    notes = _running[node_id] = Notes(node_id)
    handler, library = _OnNode(notes), logging.getLogger(__package__.rsplit(".", 2)[0] + ".acestep_core")
    library.addHandler(handler)
    try:
        yield notes
    finally:
        library.removeHandler(handler)
        del _running[node_id]
