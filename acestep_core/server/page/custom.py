"""The tab Custom: a song with every setting that it can have."""

import gradio as gr

from . import strings
from .desk import Desk
from .drafts import draft_events
from .form import Form
from .settings import song_settings
from .values import request_of
from .words import song_words


def custom_tab(desk: Desk) -> Form:
    """The form, which others fill."""
    form = Form()
    gr.Markdown(strings.HINTS["custom"], elem_classes="hint lead")
    song_words(desk, form, "custom")
    song_settings(desk, form, plans=True)
    make = gr.Button(strings.BUTTONS["make"], variant="primary", elem_id="custom-make")
    said = gr.HTML(elem_classes="answer")
    desk.makes(make, form, lambda values: [request_of(values)], said)
    form.finish()
    draft_events("custom", form)
    return form
