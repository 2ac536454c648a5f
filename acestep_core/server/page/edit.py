"""The tab Edit: new music out of a song or a recording, by task; only the settings that a task takes are shown."""

import gradio as gr
from gradio.components import Component

from ...editing.edit import DEFAULT_AMOUNT
from ...editing.tasks import TASKS, TRACKS
from . import strings
from .desk import EVENT, Desk
from .drafts import draft_events
from .fields import Fields
from .form import Form
from .settings import song_settings
from .sounds import sound_field
from .values import edit_requests
from .words import song_words

REGIONS_ID, FIRST_TASK = "edit-regions", "repaint"


def edit_tab(desk: Desk) -> Form:
    """The form, whose source others choose."""
    form = Form()
    gr.Markdown(strings.HINTS["edit"], elem_classes="hint lead")
    task = _task(form)
    sound_field(form, "source", regions=REGIONS_ID)
    own = _task_fields(form)
    with gr.Accordion(strings.GROUPS["words"], open=False) as words:
        gr.Markdown(strings.HINTS["edit_words"], elem_classes="hint")
        song_words(desk, form, "edit", changes=True)
    task.change(lambda name: _shown(name, own), task, list(own.values()), **EVENT)
    task.change(lambda name: gr.update(visible=name != "retake"), task, words, **EVENT)
    song_settings(desk, form, previews=False)
    make = gr.Button(strings.BUTTONS["make_edit"], variant="primary", elem_id="edit-make")
    said = gr.HTML(elem_classes="answer")
    desk.makes(make, form, edit_requests, said)
    form.finish()
    draft_events("edit", form)
    return form


def _task(form: Form) -> Component:
    tasks = [(text, name) for name, text in strings.TASKS.items()]
    return Fields(form).choice("task", tasks, "", value=FIRST_TASK, elem_id="edit-task", filterable=False)


def _task_fields(form: Form) -> dict[str, Component]:
    """The settings of all tasks, each under its name in a task's `takes`."""
    fields = Fields(form)
    made = {"regions": fields.text("regions", elem_id=REGIONS_ID)}
    with gr.Row():
        made |= {name: fields.number(name, min_width=130) for name in ("before", "after")}
        made |= {name: fields.number(name, min_width=130) for name in ("strength", "structure", "closeness")}
        made["amount"] = fields.slider("amount", 0, 1, DEFAULT_AMOUNT, 0.01, min_width=180)
        made["codes"] = fields.check("without_codes", min_width=180)
    made["tracks"] = fields.choice("tracks", TRACKS, "", value=[], multiselect=True)
    made["mix"] = fields.check("mix")
    made["from_caption"] = fields.text("from_caption", 2)
    made["from_lyrics"] = fields.text("from_lyrics", 4)
    with gr.Row():
        made |= {name: fields.number(name, min_width=130) for name in ("morph_begin", "morph_end")}
        made["averages"] = fields.number("averages", min_width=110)
    for name, component in made.items():
        component.visible = name in TASKS[FIRST_TASK].takes
    return made


def _shown(task: str, fields: dict[str, Component]) -> list:
    """Updates with which only the settings that a task takes are seen."""
    return [gr.update(visible=name in TASKS[task].takes) for name in fields]
