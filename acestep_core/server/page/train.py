"""The tab Train: datasets of clips with their labels, and adapters that are trained on them."""

import gradio as gr

from ...training.settings import GRADIENT_CHECKPOINTING, KINDS, OPTIMISERS, PRESETS, TARGETS
from . import strings
from .desk import STAGE_MODELS, Desk
from .drafts import draft_events
from .fields import Fields
from .form import Form
from .values import INTERVALS, TRAINED, train_request

_ON_LOAD = """
const sets = element.querySelector("data-sets");
sets.addEventListener("dataset", (event) => { props.value = event.detail; trigger("change"); });
"""
_SWITCHES = (GRADIENT_CHECKPOINTING, "all_times")
_NUMBERS = [name for name, usual in TRAINED.items() if isinstance(usual, int | float | None) and name not in _SWITCHES]


def train_tab(desk: Desk) -> Form:
    """Datasets, the form of a training, and what trainings made."""
    form = Form()
    gr.Markdown(strings.HINTS["train"], elem_classes="hint lead")
    element = "<data-sets></data-sets>"
    form.add("dataset", gr.HTML("", html_template=element, js_on_load=_ON_LOAD, apply_default_css=False))
    fields = Fields(form)
    with gr.Row():
        fields.text("name", max_lines=1, min_width=140)
        names = desk.names(STAGE_MODELS)
        desk.listed(fields.choice("model", names, strings.CHOOSE, min_width=160), STAGE_MODELS, strings.CHOOSE)
        fields.text("trigger", max_lines=1, min_width=140)
    with gr.Row():
        fields.number("train_steps", min_width=110)
        sizes = [(f"{size} GB", str(size)) for size in sorted(PRESETS)]
        fields.choice("vram", sizes, strings.OWN, min_width=140)
    with gr.Accordion(strings.GROUPS["train"], open=False):
        _settings(fields)
    train = gr.Button(strings.BUTTONS["train"], variant="primary", elem_id="train-make")
    said = gr.HTML(elem_classes="answer")
    desk.makes(train, form, lambda values: [train_request(values)], said)
    draft_events("train", form)
    gr.HTML(html_template="<lora-list></lora-list>", js_on_load=None, apply_default_css=False)
    return form


def _settings(fields: Fields) -> None:
    with gr.Row():
        for name in _NUMBERS:
            usual = TRAINED[name]
            fields.number(name, placeholder=strings.AUTO if usual is None else f"{usual:g}", min_width=110)
    with gr.Row():
        for name in INTERVALS:
            fields.number(name, min_width=110)
    fields.text("preserve_captions", 2)
    with gr.Row():
        fields.choice("kind", list(KINDS), strings.OWN, min_width=110)
        fields.choice("optimiser", list(OPTIMISERS), strings.OWN, min_width=110)
        fields.choice("targets", list(TARGETS), "", value=[], multiselect=True, min_width=160)
    with gr.Row():
        for name in _SWITCHES:
            fields.check(name, min_width=180)
