"""A field of sounds: uploaded, recorded, or of the library. Its value is a list of {"id": handle, "name": ...}."""

import gradio as gr

from . import strings
from .form import Form

_ON_LOAD = """
const input = element.querySelector("sound-input");
input.addEventListener("sounds", (event) => { props.value = event.detail; trigger("change"); });
const show = () => customElements.whenDefined("sound-input").then(() => input.show(props.value ?? []));
watch("value", show);
show();
"""


def sound_field(form: Form, name: str, *, most: int = 1, regions: str = "", label: str = "") -> gr.HTML:
    """Takes a field of at most `most` sounds into a form; `regions`: the id of a text field, drawn on the waveform."""
    title, info = strings.LABELS[label or name]
    attributes = f'most="{most}" label="{title}" info="{info or ""}" regions="{regions}"'
    made = gr.HTML(
        value=[],
        html_template=f"<sound-input {attributes}></sound-input>",
        js_on_load=_ON_LOAD,
        elem_classes="sound-field",
        apply_default_css=False,
    )
    return form.add(name, made)
