"""What stands in the forms is kept in the visitor's browser, and stands there again when the page is opened anew.

The drafts come back by way of the server, which knows what still fits. Whatever was typed until they are back stays.
"""

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import gradio as gr
from gradio.components import Component

from ...errors import UserError
from ...generation.making import DEFAULT_FORMAT
from . import strings
from .desk import EVENT, Desk
from .form import Form
from .settings import depth_update

NOT_KEPT = ("dataset",)  # the element of datasets remembers its own
FORMAT, DEPTH = "format", "bit_depth"  # the choices of the second are those of the first
_KEEP = "(...values) => window.acestepKeep?.({form}, {names}, values)"
_RESTORE = "(fitting, ...values) => window.acestepRestore({forms}, fitting, values)"
_ON_LOAD = """
document.addEventListener("acestep:drafts", (event) => trigger("submit", event.detail));
window.acestepTakesDrafts = true;
document.dispatchEvent(new Event("acestep:takes-drafts"));
"""


def draft_events(name: str, form: Form) -> None:
    """Keeps the values of a form in the browser after every change. A button makes it as it was at first."""
    kept = _kept(form)
    keep = _KEEP.format(form=json.dumps(name), names=json.dumps(list(kept)))
    gr.on([one.change for one in kept.values()], None, list(kept.values()), None, js=keep, **EVENT)
    usual = _usual(form)
    clear = gr.Button(strings.BUTTONS["clear"], size="sm", elem_classes="quiet", elem_id=f"{name}-clear")
    clear.click(lambda: form.filled({**usual, **_with_depth(usual)}), None, list(kept.values()), **EVENT)


def restore_events(desk: Desk, forms: Mapping[str, Form]) -> None:
    """Fills the forms with the drafts that a script brings, as far as they fit and nothing was typed meanwhile."""
    brought = gr.HTML(html_template="<span></span>", js_on_load=_ON_LOAD, elem_id="drafts")

    def fitting(event: gr.EventData) -> dict:
        return fitting_drafts(desk, forms, event._data)

    usual = json.dumps({name: _usual(form) for name, form in forms.items()})
    fields = [component for form in forms.values() for component in _kept(form).values()]
    checked = brought.submit(fitting, None, brought, **EVENT)
    checked.then(None, [brought, *fields], fields, js=_RESTORE.format(forms=usual), **EVENT)


def fitting_drafts(desk: Desk, forms: Mapping[str, Form], drafts: object) -> dict[str, list[dict]]:
    """Form -> what its fields can take of a draft, whoever wrote it: {name: value or update}, of fields that are filled
    together or not at all.
    """
    given = drafts if isinstance(drafts, Mapping) else {}
    return {name: list(_fitting(desk, form, given.get(name))) for name, form in forms.items()}


def _fitting(desk: Desk, form: Form, draft: object) -> Iterator[dict]:
    given = draft if isinstance(draft, Mapping) else {}
    for name, component in _kept(form).items():
        if name in given and name != DEPTH and _fits(desk, component, given[name]):
            together = _with_depth({FORMAT: given[name], DEPTH: given.get(DEPTH)}) if name == FORMAT else {}
            yield {name: given[name], **together}


def _with_depth(values: Mapping) -> dict[str, object]:
    return {DEPTH: depth_update(values.get(FORMAT, DEFAULT_FORMAT), values.get(DEPTH))} if FORMAT in values else {}


def _usual(form: Form) -> dict[str, object]:
    return {name: component.value for name, component in _kept(form).items()}


def _kept(form: Form) -> dict[str, Component]:
    return {name: component for name, component in form.fields.items() if name not in NOT_KEPT}


def _fits(desk: Desk, component: Component, value: object) -> bool:
    return next(fits for kind, fits in _FITS.items() if isinstance(component, kind))(desk, component, value)


def _is_choice(desk: Desk, choice: gr.Dropdown, value: object) -> bool:
    values = value if choice.multiselect and isinstance(value, list) else [value]
    known = [one for _, one in choice.choices]
    return all(isinstance(one, str) and (choice.allow_custom_value or one in known) for one in values)


def _are_sounds(desk: Desk, field: gr.HTML, value: object) -> bool:
    """Whether all sounds of a field are still there."""
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        return False
    try:
        return all(desk.server.requests.clip(one.get("id")) for one in value)
    except UserError:
        return False


def _is_within(desk: Desk, slider: gr.Slider, value: object) -> bool:
    return type(value) in (int, float) and slider.minimum <= value <= slider.maximum


_FITS = MappingProxyType(
    {
        gr.Textbox: lambda desk, field, value: isinstance(value, str),
        gr.Checkbox: lambda desk, field, value: isinstance(value, bool),
        gr.Slider: _is_within,
        gr.Dropdown: _is_choice,
        gr.HTML: _are_sounds,
    }
)
