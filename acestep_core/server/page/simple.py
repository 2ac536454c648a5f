"""The tab Simple: a song from a line."""

import gradio as gr

from ...checkpoints.cascade_models import DEFAULT_CASCADE
from . import strings
from .desk import EVENT, Desk
from .drafts import draft_events
from .fields import Fields
from .form import Form
from .values import simple_request
from .words import LANGUAGES, length_fields, random_song


def simple_tab(desk: Desk) -> Form:
    """A line, and little else."""
    form, with_planner = Form(), desk.has_planner
    fields = Fields(form)
    gr.Markdown(strings.HINTS["simple"], elem_classes="hint lead")
    line = fields.text("line", 3, elem_id="simple-line", autofocus=True)
    dice = gr.Button(strings.BUTTONS["dice"], size="sm", elem_classes="quiet")
    dice.click(lambda: random_song().caption, None, line, **EVENT)
    if with_planner:
        with gr.Row(equal_height=True):
            fields.check("instrumental", min_width=180)
            fields.choice("language", LANGUAGES, strings.AUTO, min_width=180)
    length_fields(fields)
    make = gr.Button(strings.BUTTONS["make"], variant="primary", elem_id="simple-make")
    said = gr.HTML(elem_classes="answer")
    gr.Markdown(strings.HINTS["simple_planner" if with_planner else "simple_alone"], elem_classes="hint")
    if desk.server.default_model == DEFAULT_CASCADE:
        gr.Markdown(strings.HINTS["embedded"], elem_classes="hint")
    queue = desk.makes(make, form, lambda values: [simple_request(values, has_planner=desk.has_planner)], said)
    line.submit(queue, form.inputs, said, **EVENT)
    form.finish()
    draft_events("simple", form)
    return form
