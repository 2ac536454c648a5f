"""What the tabs share: the server behind them, what requests may name, and the way of a request into the queue."""

import html
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import gradio as gr
from gradio.components import Component

from ...checkpoints.cascade_models import CASCADES, DEFAULT_CASCADE
from ...checkpoints.locate import local_models
from ...checkpoints.registry import PLANNER, TEXT, TINY_PLANNER, VOCODER
from ...errors import AceStepError
from ...generation.making import SEEDS_DRAWN_BELOW
from ...lora.find import list_adapters
from ..answers import without_places
from ..jobs import message_of
from ..server import Server
from . import strings
from .form import Form

EVENT: Mapping[str, object] = MappingProxyType({"queue": False, "api_visibility": "private", "show_progress": "hidden"})
STAGE_MODELS, CASCADE_NAMES, ADAPTERS = "stage models", "cascades", "adapters"


@dataclass
class Desk:
    """The server that a page works for. `folders`: places of this machine that messages do not show."""

    server: Server
    folders: Mapping[Path, str]
    named: list[tuple[Component, str, str]] = field(default_factory=list)

    # ---- what requests may name --------------------------------------------------------------------------------------

    @property
    def has_planner(self) -> bool:
        """Whether there is a planner for the models that the page uses: the embedded one is for the embedded ones."""
        return self.server.default_model == DEFAULT_CASCADE or self.names(PLANNER) != [TINY_PLANNER]

    def names(self, kind: str) -> list[str]:
        """The names of a kind that are on this machine now."""
        if kind == ADAPTERS:
            return sorted(list_adapters(quick=True))
        if kind in (STAGE_MODELS, CASCADE_NAMES):
            here = self.server.models()
            return [name for name in here if (name in CASCADES) is (kind == CASCADE_NAMES)]
        return [model.name for model in local_models(kind)]

    def listed(self, component: Component, kind: str, none: str = strings.OWN) -> Component:
        """A choice whose names are looked up again whenever somebody opens the page."""
        self.named.append((component, kind, none))
        return component

    def fresh(self) -> list:
        """Updates of all choices of names."""
        kinds = {kind: self.names(kind) for kind in (PLANNER, TEXT, VOCODER, STAGE_MODELS, CASCADE_NAMES, ADAPTERS)}
        return [gr.update(choices=[(none, ""), *kinds[kind]]) for _, kind, none in self.named]

    # ---- requests ----------------------------------------------------------------------------------------------------

    def submit(self, requests: Callable[[], Sequence[Mapping]]) -> str:
        """Queues jobs for requests, all or none; says so, or what the command line would say."""
        return self.said(lambda: self._queued(requests()))

    def _queued(self, requests: Sequence[Mapping]) -> str:
        jobs = self.server.queue.submit(*[self.server.requests.order(request) for request in requests])
        if len(jobs) == 1:
            return strings.QUEUED.format(title=jobs[0].order.title)
        return strings.QUEUED_SEVERAL.format(count=len(jobs))

    def said(self, act: Callable[[], str], *, is_html: bool = False) -> str:
        """What `act` says, or its error, as HTML; `is_html`: it says it so."""
        try:
            text = act()
            return text if is_html else _line(text, "fine")
        except (AceStepError, OSError, MemoryError) as exc:
            return _line(without_places(message_of(exc), self.folders), "wrong")

    def makes(self, button: gr.Button, form: Form, requests: Callable[[dict], Sequence[Mapping]], said: gr.HTML):
        """A press queues the requests of a form's values."""

        def make(*values) -> str:
            return self.submit(lambda: requests(form.read(values)))

        button.click(make, form.inputs, said, **EVENT)
        return make


def _line(text: str, kind: str) -> str:
    return f'<p class="said {kind}" role="status">{html.escape(text)}</p>'


def seed() -> int:
    return secrets.randbelow(SEEDS_DRAWN_BELOW)
