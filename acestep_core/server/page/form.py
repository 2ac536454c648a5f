"""A form: named components, in the order in which they are made, and what they hold as values by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import gradio as gr
from gradio.components import Component


@dataclass
class Form:
    """The fields of a form by their names."""

    fields: dict[str, Component] = field(default_factory=dict)
    _late: list[Callable[[], object]] = field(default_factory=list)

    def add(self, name: str, component: Component) -> Component:
        """Takes a component in under a name."""
        self.fields[name] = component
        return component

    def __getitem__(self, name: str) -> Component:
        return self.fields[name]

    def later(self, bind: Callable[[], object]) -> None:
        """Binds an event that reads or fills the whole form, once `finish` says that it is whole."""
        self._late.append(bind)

    def finish(self) -> None:
        for bind in self._late:
            bind()
        self._late.clear()

    @property
    def inputs(self) -> list[Component]:
        return list(self.fields.values())

    def read(self, values: Sequence) -> dict[str, object]:
        """Values of `inputs` by name."""
        return dict(zip(self.fields, values, strict=True))

    def filled(self, values: Mapping[str, object]) -> dict[Component, object]:
        """Updates, for an event's outputs, of the fields that have a value."""
        return {self.fields[name]: gr.update(value=value) for name, value in values.items() if name in self.fields}
