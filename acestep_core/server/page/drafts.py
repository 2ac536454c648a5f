"""What stands in the forms is kept in the visitor's browser, and stands there again when the page is opened anew."""

import json
from collections.abc import Mapping
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
DEPTH = "bit_depth"  # whose choices are those of the format
_KEEP = "(...values) => window.acestepKeep?.({form}, {names}, values)"


def draft_events(name: str, form: Form) -> None:
    """Keeps the values of a form in the browser after every change. A button makes it as it was at first."""
    kept = _kept(form)
    keep = _KEEP.format(form=json.dumps(name), names=json.dumps(list(kept)))
    gr.on([one.change for one in kept.values()], None, list(kept.values()), None, js=keep, **EVENT)
    usual = {name: component.value for name, component in kept.items()}
    clear = gr.Button(strings.BUTTONS["clear"], size="sm", elem_classes="quiet", elem_id=f"{name}-clear")
    clear.click(lambda: _filled(form, usual), None, list(kept.values()), **EVENT)


def draft_updates(desk: Desk, form: Form, draft: object) -> dict[Component, object]:
    """Updates of the fields for which a draft, whoever wrote it, has a value that they can take."""
    given = draft if isinstance(draft, Mapping) else {}
    kept = {name: one for name, one in _kept(form).items() if name in given}
    fitting = {name: given[name] for name, one in kept.items() if name == DEPTH or _fits(desk, one, given[name])}
    return _filled(form, fitting)


def _filled(form: Form, values: Mapping) -> dict[Component, object]:
    updates = form.filled(values)
    if DEPTH in form.fields:
        updates[form[DEPTH]] = depth_update(values.get("format", DEFAULT_FORMAT), values.get(DEPTH))
    return updates


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
