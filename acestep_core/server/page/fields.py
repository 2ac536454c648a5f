"""Fields of forms by their names: each has the label of the table of texts, and nothing chosen means: no setting."""

from collections.abc import Sequence

import gradio as gr
from gradio.components import Component

from . import strings
from .form import Form

Choices = Sequence["str | tuple[str, str]"]


class Fields:
    """Makes components and takes them into a form."""

    def __init__(self, form: Form):
        self.form = form

    def text(self, name: str, lines: int = 1, label: str = "", **more) -> Component:
        options = {"lines": lines, "max_lines": max(lines, 20), "placeholder": strings.PLACEHOLDERS.get(name)}
        return self._added(name, gr.Textbox, label, **{**options, **more})

    def number(self, name: str, label: str = "", **more) -> Component:
        """A number that may be left out: Gradio's own field of numbers is never empty."""
        placeholder = strings.PLACEHOLDERS.get(name, strings.PLACEHOLDERS.get(label, strings.OWN))
        return self._added(name, gr.Textbox, label, **{"placeholder": placeholder, "max_lines": 1, **more})

    def slider(self, name: str, low: float, high: float, value: float, step: float = 1, label: str = "", **more):
        options = {"minimum": low, "maximum": high, "step": step, "value": value}
        return self._added(name, gr.Slider, label, **options, **more)

    def check(self, name: str, value: bool = False, label: str = "", **more) -> Component:
        return self._added(name, gr.Checkbox, label, value=value, elem_classes="check", **more)

    def choice(self, name: str, choices: Choices, none: str = strings.OWN, label: str = "", **more) -> Component:
        """One of several; the first says nothing."""
        listed = [(none, ""), *choices] if none else list(choices)
        return self._added(
            name, gr.Dropdown, label, choices=listed, **{"value": listed[0][1] if none else None, **more}
        )

    def _added(self, name: str, kind: type, label: str, **options) -> Component:
        usual, info = strings.LABELS[label or name]
        return self.form.add(name, kind(label=usual, info=info, **options))
