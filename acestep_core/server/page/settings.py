"""The fields of a song's settings: stages and models, adapters, planner and codes, takes and file."""

import gradio as gr

from ...audio.formats import FORMATS, LOSSY
from ...checkpoints.registry import PLANNER, TEXT, VOCODER
from ...generation.making import DEFAULT_FORMAT
from ...spec import DTYPE_NAMES, SLOTS, VOCODER_DTYPE_NAMES
from ..body_schemas import QUANTISED, SOLVERS
from ..requests import COUNT_MOST, PREVIEW_SECONDS_MOST, TAKES_MOST
from . import strings
from .desk import ADAPTERS, CASCADE_NAMES, EVENT, STAGE_MODELS, Desk, seed
from .fields import Fields
from .form import Form
from .values import ADAPTERS as ADAPTER_ROWS
from .values import ALL_STAGES


def song_settings(desk: Desk, form: Form, *, plans: bool = False, previews: bool = True) -> None:
    """Fields of settings, in groups. `plans`: a planner may be asked first; `previews`: a song may be heard early."""
    fields = Fields(form)
    _takes(fields)
    with gr.Accordion(strings.GROUPS["output"], open=False):
        _file(fields, previews)
    with gr.Accordion(strings.GROUPS["choice"], open=False):
        _choice(fields)
    with gr.Accordion(strings.GROUPS["stages"], open=False):
        _stages(desk, fields)
    with gr.Accordion(strings.GROUPS["adapters"], open=False):
        _adapters(desk, fields)
    if plans:
        with gr.Accordion(strings.GROUPS["planning"], open=False):
            _planning(desk, fields)


def _takes(fields: Fields) -> None:
    with gr.Row(equal_height=True):
        fields.slider("count", 1, COUNT_MOST, 1, min_width=200)
        with gr.Row(equal_height=True, elem_classes="with-dice"):
            number = fields.number("seed", min_width=110)
            dice = gr.Button(strings.BUTTONS["any_seed"], size="sm", min_width=44, scale=0, elem_classes="dice")
        dice.click(seed, None, number, **EVENT)


def _choice(fields: Fields) -> None:
    gr.Markdown(strings.HINTS["choice"], elem_classes="hint")
    with gr.Row():
        fields.slider("best_of", 1, TAKES_MOST, 1, min_width=240)
        fields.number("keep", min_width=140)
    with gr.Row():
        fields.number("retry_below", min_width=140)
        fields.number("draft", min_width=140)


def _file(fields: Fields, previews: bool) -> None:
    with gr.Row():
        format = fields.choice("format", list(FORMATS), "", value=DEFAULT_FORMAT, min_width=120)
        depth = fields.choice("bit_depth", _depths(DEFAULT_FORMAT), strings.AUTO, min_width=120)
        fields.number("loudness", min_width=140)
    format.input(depth_update, [format, depth], depth, **EVENT)  # not `change`: who fills the form fills both
    with gr.Row():
        fields.text("title", min_width=140)
        fields.text("artist", min_width=110)
    with gr.Row(equal_height=True):
        fields.check("lrc", min_width=150)
        fields.check("lrc_words", min_width=150)
    with gr.Row(equal_height=True):
        fields.check("keep_latents", min_width=180)
        if previews:
            fields.slider("preview_seconds", 0, PREVIEW_SECONDS_MOST, 0, min_width=180)


def depth_update(format: str, depth: object) -> dict:
    """An update of the bit depth, which stays if the format has it. Choices are pairs: a script may take them too."""
    depths = _depths(format)
    choices = [(strings.AUTO, ""), *zip(depths, depths)]
    return gr.update(choices=choices, value=depth if depth in depths else "")


def _depths(format: str) -> list[str]:
    return [depth for depth in FORMATS[format].subtypes if depth != LOSSY]


def _stages(desk: Desk, fields: Fields) -> None:
    gr.Markdown(strings.HINTS["stages"], elem_classes="hint")
    own = f"{strings.OWN}: {desk.server.default_model}"
    with gr.Row():
        desk.listed(_named(desk, fields, "models", CASCADE_NAMES, own), CASCADE_NAMES, own)
        fields.number("steps", min_width=110)
        fields.text("guidance", max_lines=1, min_width=120)
        fields.choice("solver", SOLVERS, strings.OWN, min_width=110)
    for slot in SLOTS:
        with gr.Row(elem_classes=f"stage stage-{slot}"):
            desk.listed(_named(desk, fields, slot, STAGE_MODELS), STAGE_MODELS)
            fields.number(f"steps_{slot}", placeholder=strings.PLACEHOLDERS["steps_each"], min_width=80)
            fields.text(
                f"guidance_{slot}", max_lines=1, placeholder=strings.PLACEHOLDERS["guidance_each"], min_width=90
            )
    with gr.Row():
        fields.number("boundary_1", min_width=140)
        fields.number("boundary_2", min_width=140)
        fields.check("dcw", min_width=180)
    with gr.Row():
        desk.listed(_named(desk, fields, "text_encoder", TEXT), TEXT)
        desk.listed(_named(desk, fields, "vocoder", VOCODER), VOCODER)
    with gr.Row():
        fields.choice("dtype", DTYPE_NAMES, min_width=130)
        fields.choice("vocoder_dtype", VOCODER_DTYPE_NAMES, min_width=130)
        fields.choice("quantise", QUANTISED, strings.OFF, min_width=130)


def _named(desk: Desk, fields: Fields, name: str, kind: str, none: str = strings.OWN, label: str = ""):
    return fields.choice(name, desk.names(kind), none, label, allow_custom_value=True, min_width=160)


def planner_choice(desk: Desk, fields: Fields) -> None:
    any_planner = strings.ANY_PLANNER
    desk.listed(_named(desk, fields, "planner", PLANNER, any_planner), PLANNER, any_planner)


def _adapters(desk: Desk, fields: Fields) -> None:
    gr.Markdown(strings.HINTS["adapters"], elem_classes="hint")
    stages = [(strings.ALL, ALL_STAGES), *((slot.upper(), slot) for slot in SLOTS)]
    for number in range(1, ADAPTER_ROWS + 1):
        with gr.Row(equal_height=True):
            desk.listed(
                _named(desk, fields, f"adapter_{number}", ADAPTERS, strings.NO_ADAPTER, "adapter"),
                ADAPTERS,
                strings.NO_ADAPTER,
            )
            fields.slider(f"strength_{number}", -2, 2, 1, 0.05, "strength_of", min_width=230)
            fields.choice(f"stage_{number}", stages, "", "stage", value=ALL_STAGES, min_width=140)


def _planning(desk: Desk, fields: Fields) -> None:
    if not desk.has_planner:
        gr.Markdown(strings.HINTS["no_planner"], elem_classes="hint")
    with gr.Row(equal_height=True):
        fields.check("plan", min_width=180)
        planner_choice(desk, fields)
        fields.number("planner_seed", min_width=140)
    with gr.Row():
        fields.text("codes", 2, min_width=240)
        fields.number("codes_strength", min_width=140)
