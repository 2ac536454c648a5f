"""What scripts of the page ask of it: a song or an answer of a job goes into a form, and the form's tab is opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import gradio as gr

from ...errors import UserError, shown
from ...song import Song
from . import strings
from .desk import EVENT, Desk
from .form import Form
from .values import song_values, values_of

_ON_LOAD = """
document.addEventListener("acestep:act", (event) => trigger("submit", event.detail));
"""


@dataclass(frozen=True)
class Acts:
    """The forms that are filled, by the ids of their tabs."""

    desk: Desk
    forms: Mapping[str, Form]

    def updates(self, asked: Mapping) -> tuple[str | None, dict]:
        """(tab that is opened if any, updates of components). Raises UserError."""
        act, handle = str(asked.get("act")), str(asked.get("id"))
        if act not in _ACTS:
            raise UserError(f"page: got {shown(act)}, expected one of {', '.join(_ACTS)}")
        return _ACTS[act](self, handle, asked)

    def _reuse(self, handle: str, asked: Mapping) -> tuple[str, dict]:
        made = self.desk.server.library.tagged(handle)
        settings = self.desk.server.requests.shown_settings(made.settings)
        values = values_of(made, {name: one for name, one in settings.items() if name not in ("edit", "source")})
        if settings.get("reference") or settings.get("continue_from"):
            clips = {name: _sounds(settings.get(name)) for name in ("reference", "continue_from")}
            return "reference", self.forms["reference"].filled({**values, **clips})
        return "custom", self.forms["custom"].filled(values)

    def _answer(self, handle: str, asked: Mapping) -> tuple[str, dict]:
        answer = (self.desk.server.queue.get(handle).made or [{}])[0]
        if "song" not in answer and "codes" not in answer:
            raise UserError("page: this job has no song that a form could take")
        values = song_values(Song.from_json(answer["song"])) if "song" in answer else {}
        if answer.get("codes"):
            values["codes"] = " ".join(map(str, answer["codes"]))
        return "custom", self.forms["custom"].filled(values)

    def _names(self, handle: str, asked: Mapping) -> tuple[None, dict]:
        return None, dict(zip((component for component, _, _ in self.desk.named), self.desk.fresh()))

    def _sound(self, tab: str, name: str, handle: str, asked: Mapping, **more) -> tuple[str, dict]:
        self.desk.server.requests.clip(handle)
        sounds = [{"id": handle, "name": str(asked.get("name") or handle)}]
        return tab, self.forms[tab].filled({name: sounds, **more})


def _sounds(handles: object) -> list[dict]:
    named = handles if isinstance(handles, list | tuple) else [handles] if handles else []
    return [{"id": one, "name": one} for one in named]


def _into(tab: str, name: str, **more) -> Callable:
    return lambda acts, handle, asked: acts._sound(tab, name, handle, asked, **more)


_ACTS = MappingProxyType(
    {
        "reuse": Acts._reuse,
        "answer": Acts._answer,
        "names": Acts._names,
        "edit": _into("edit", "source"),
        "as_reference": _into("reference", "reference"),
        "continue": _into("reference", "continue_from"),
        "understand": _into("planner", "source", verb="understand"),
    }
)


def act_events(desk: Desk, tabs: gr.Tabs, forms: Mapping[str, Form], said: gr.HTML) -> None:
    """Binds the acts of scripts to the forms. `said`: where errors stand."""
    acts = Acts(desk, forms)
    asked = gr.HTML(html_template="<span></span>", js_on_load=_ON_LOAD, elem_id="acts")
    outputs = [tabs, said, *(component for form in forms.values() for component in form.inputs)]

    def act(event: gr.EventData) -> dict:
        found: list = []
        line = desk.said(lambda: found.append(acts.updates(event._data or {})) or strings.FILLED)
        if not found:
            return {said: line}
        [(tab, updates)] = found
        opened = {} if tab is None else {tabs: gr.update(selected=tab)}
        return {**opened, said: "", **updates}

    asked.submit(act, None, outputs, **EVENT)
