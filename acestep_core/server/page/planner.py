"""The tab Planner: a language model writes, plans, rewrites and understands songs; and sounds become audio codes."""

import gradio as gr
from gradio.components import Component

from ...errors import UserError
from ..listening import CODES
from . import strings
from .desk import CASCADE_NAMES, EVENT, STAGE_MODELS, Desk
from .drafts import draft_events
from .fields import Fields
from .form import Form
from .settings import planner_choice
from .sounds import sound_field
from .values import planner_request
from .words import song_words

FIRST_VERB = "write"
_OF_A_SOUND = ("understand",)


def planner_tab(desk: Desk) -> Form:
    """The form, whose sound others choose."""
    form = Form()
    fields = Fields(form)
    gr.Markdown(strings.HINTS["planner"], elem_classes="hint lead")
    if not desk.has_planner:
        gr.Markdown(strings.HINTS["no_planner"], elem_classes="hint")
    verbs = [(text, name) for name, text in strings.VERBS.items()]
    verb = fields.choice("verb", verbs, "", value=FIRST_VERB, filterable=False, elem_id="planner-verb")
    line = fields.text("line", 2)
    instrumental = fields.check("write_instrumental", label="instrumental")
    with gr.Column() as song:
        texts = song_words(desk, form, "planner")
    texts.visible = False
    with gr.Column(visible=False) as sound:
        _sound(desk, form, fields)
    codes = fields.check("write_codes", True, visible=False)
    _answers(desk, form, fields)
    verb.change(_shown, verb, [line, instrumental, song, texts, sound, codes], **EVENT)
    form.finish()
    draft_events("planner", form)
    return form


def _answers(desk: Desk, form: Form, fields: Fields) -> None:
    with gr.Row():
        planner_choice(desk, fields)
        fields.number("planner_seed", label="seed", placeholder=strings.PLACEHOLDERS["seed"], min_width=110)
    with gr.Accordion(strings.GROUPS["sampling"], open=False), gr.Row():
        for name in ("temperature", "top_p", "top_k", "repetition_penalty", "guidance"):
            fields.number(f"lm_{name}", min_width=110)
    ask = gr.Button(strings.BUTTONS["ask"], variant="primary", elem_id="planner-ask")
    said = gr.HTML(elem_classes="answer")
    desk.makes(ask, form, lambda values: [planner_request(values)], said)


def _sound(desk: Desk, form: Form, fields: Fields) -> None:
    sound_field(form, "source", label="sound")
    gr.Markdown(strings.HINTS["codes"], elem_classes="hint")
    names = [*desk.names(CASCADE_NAMES), *desk.names(STAGE_MODELS)]
    fields.choice("models", names, strings.OWN, allow_custom_value=True)
    button, said = gr.Button(strings.BUTTONS["make_codes"], size="sm"), gr.HTML(elem_classes="answer")
    form.later(lambda: desk.makes(button, form, lambda values: [codes_request(values)], said))


def codes_request(values: dict) -> dict:
    """The request for the codes of a form's sound. Raises UserError."""
    sounds = values.get("source") or []
    if not sounds:
        raise UserError("codes: got no sound; upload or record one, or choose a song of the library")
    return {"kind": CODES, "source": sounds[0]["id"], "models": values.get("models") or None}


def _shown(verb: str) -> list[Component]:
    """Updates with which only what a verb reads is seen."""
    of_sound = verb in _OF_A_SOUND
    writes = verb == "write"
    seen = writes, writes, not of_sound, not writes, of_sound, verb == "plan"
    return [gr.update(visible=one) for one in seen]
