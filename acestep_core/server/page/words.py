"""The fields of a song's words: caption, lyrics with their tools, language, length, tempo, key, metre."""

import html

import gradio as gr

from ...errors import UserError
from ...scoring.lint import Lyrics, lint, tokens_of
from ...song import LANGUAGE_NAMES, TIME_SIGNATURES, Song
from ...spec import DEFAULT_SECONDS, MAX_SECONDS, MIN_SECONDS
from . import strings
from .desk import EVENT, Desk
from .fields import Fields
from .form import Form
from .values import song_of, song_values

NOTES = ("C", "C#", "Db", "D", "Eb", "E", "F", "F#", "Gb", "G", "Ab", "A", "Bb", "B")
KEYS = [f"{note} {mode}" for mode in ("major", "minor") for note in NOTES]
METRES = [(f"{beats}/{8 if beats == '6' else 4}", beats) for beats in TIME_SIGNATURES]
LANGUAGES = sorted((name, code) for code, name in LANGUAGE_NAMES.items())
_INSERT = "(text) => window.acestepInsert({id!r}, {tag!r}, text)"


def song_words(desk: Desk, form: Form, place: str, *, changes: bool = False) -> gr.Column:
    """Fields of words; gives the column of caption and lyrics. `place` begins their ids; `changes`: what is empty stays
    as a source has it.
    """
    fields = Fields(form)
    usual = {"placeholder": strings.PLACEHOLDERS["edit_caption"]} if changes else {}
    with gr.Column() as texts:
        fields.text("caption", 2, elem_id=f"{place}-caption", **usual)
        if not changes:
            _dice(form)
        _lyrics(desk, fields, place, changes)
    with gr.Row():
        fields.number("bpm", min_width=130, elem_id=f"{place}-bpm")
        fields.choice("key", KEYS, strings.AUTO, allow_custom_value=True, min_width=130)
        fields.choice("time_signature", METRES, strings.AUTO, min_width=130)
        fields.choice("language", LANGUAGES, strings.AUTO, min_width=130)
    if not changes:
        length_fields(fields)
    return texts


def length_fields(fields: Fields) -> None:
    """The length of a song: seconds, or by itself."""
    with gr.Row(equal_height=True):
        seconds = fields.slider("seconds", MIN_SECONDS, MAX_SECONDS, DEFAULT_SECONDS, min_width=200)
        auto = fields.check("auto_length", min_width=180)
    auto.change(lambda on: gr.update(interactive=not on), auto, seconds, **EVENT)


def _dice(form: Form) -> None:
    button = gr.Button(strings.BUTTONS["dice"], size="sm", elem_classes="quiet")
    form.later(lambda: button.click(lambda: form.filled(song_values(random_song())), None, form.inputs, **EVENT))


def random_song() -> Song:
    """A song that the band could play."""
    from ..original_routes import random_song as drawn

    return Song(**drawn())


def _lyrics(desk: Desk, fields: Fields, place: str, changes: bool) -> None:
    form, lyrics_id = fields.form, f"{place}-lyrics"
    usual = {"placeholder": strings.PLACEHOLDERS["edit_caption"]} if changes else {}
    if not changes:
        instrumental = fields.check("instrumental", True)
    with gr.Column(visible=changes, elem_classes="lyrics") as box:
        lyrics = fields.text("lyrics", 6, elem_id=lyrics_id, **usual)
        with gr.Row(elem_classes="sections"):
            for section in strings.SECTIONS:
                insert = _INSERT.format(id=lyrics_id, tag=f"[{section}]")
                button = gr.Button(section, size="sm", min_width=60, elem_classes="section")
                button.click(None, lyrics, lyrics, js=insert, **EVENT)
        check = gr.Button(strings.BUTTONS["check"], size="sm", elem_classes="quiet")
        found = gr.HTML()
    if not changes:
        instrumental.change(lambda on: gr.update(visible=not on), instrumental, box, **EVENT)

    def checked(*values) -> str:
        given = {**form.read(values), "instrumental": False}
        return desk.said(lambda: findings({**given, "auto_length": True} if changes else given), is_html=True)

    form.later(lambda: check.click(checked, form.inputs, found, **EVENT))


def findings(values: dict) -> str:
    """Remarks on lyrics as HTML. Raises UserError."""
    if not str(values.get("lyrics") or "").strip():
        raise UserError(strings.LYRICS_NONE)
    song = Song.from_json(song_of(values))
    tokens = tokens_of(song)
    found, facts = lint(song, tokens), Lyrics(song, tokens).facts()
    if not found:
        fine = {"lines": facts["lines"], "syllables": facts["syllables"], "rate": facts["syllables_per_second"]}
        return f'<p class="said fine">{html.escape(strings.LYRICS_FINE.format(**fine))}</p>'
    items = "".join(f"<li>{html.escape(str(one))}</li>" for one in found)
    return f'<ul class="said remarks">{items}</ul>'
