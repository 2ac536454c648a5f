"""The tab Reference: a song that sounds like clips, or goes on where a clip ends."""

import gradio as gr

from . import strings
from .desk import Desk
from .drafts import draft_events
from .form import Form
from .settings import song_settings
from .sounds import sound_field
from .values import request_of
from .words import song_words

CLIPS_MOST = 4


def reference_tab(desk: Desk) -> Form:
    """The form, whose sounds others choose."""
    form = Form()
    gr.Markdown(strings.HINTS["reference"], elem_classes="hint lead")
    sound_field(form, "reference", most=CLIPS_MOST)
    sound_field(form, "continue_from")
    song_words(desk, form, "reference")
    song_settings(desk, form)
    make = gr.Button(strings.BUTTONS["make"], variant="primary", elem_id="reference-make")
    said = gr.HTML(elem_classes="answer")
    desk.makes(make, form, lambda values: [request_of(values)], said)
    form.finish()
    draft_events("reference", form)
    return form
