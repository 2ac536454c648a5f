"""What the nodes that ask a planner share: widgets, the way of a request, the text of what was decided."""

import dataclasses

from comfy_api.latest import io

from ..acestep_core.song import AUTO as OPEN
from ..acestep_core.song import Song
from ..acestep_core.spec import MAX_SEED
from .edits import check_plain
from .host import messages
from .planner import answered
from .types import PlannerHandle, PlannerSocket, SongSocket

CATEGORY = "ACE-Step/planner"
TEXT_TOOLTIP = "All values that were decided, one a line, then the lyrics that were written."
FREE = "0 (auto): the planner's choice."


def planner_input() -> io.Input:
    return PlannerSocket.Input("planner", tooltip="From Load Planner.")


def sampling_inputs(temperature: float = 0.85) -> list:
    """Seed, temperature and filters."""
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=min(MAX_SEED, 2**53 - 1),
            control_after_generate=io.ControlAfterGenerate.fixed,
            tooltip="Of the planner's answer. The music has a seed of its own, in Stage L.",
        ),
        io.Float.Input(
            "temperature",
            default=temperature,
            min=0.0,
            max=10.0,
            step=0.05,
            round=0.0001,
            tooltip="0 takes the likeliest token always; more is more varied. Left as it is, words are drawn at the "
            "planner's own temperature, where it has one.",
        ),
        io.Float.Input(
            "top_p",
            default=0.9,
            min=0.0,
            max=1.0,
            step=0.05,
            round=0.0001,
            advanced=True,
            tooltip="Tokens are drawn from the likeliest ones, which have this share together. 1 is off.",
        ),
        io.Int.Input(
            "top_k",
            default=0,
            min=0,
            max=100_000,
            advanced=True,
            tooltip="Tokens are drawn from so many of the likeliest ones. 0 is off.",
        ),
    ]


def length_input() -> io.Boolean.Input:
    return io.Boolean.Input(
        "choose_length",
        default=False,
        tooltip="On: the planner chooses the length, and `seconds` of Song is left aside. Off: it is kept.",
    )


def sampling_of(handle: PlannerHandle, request, **settings):
    """The Sampling of the shared widgets but the seed, and of guidance. Words have the temperature that the planner
    names for them, unless the widget has another than the usual one. Raises UserError.
    """
    usual = handle.planner.usual_sampling(request)
    given = {name: settings[name] for name in ("temperature", "top_p", "top_k", "guidance") if name in settings}
    if given.get("temperature") == usual.temperature:
        del given["temperature"]
    return usual.with_given(given)


def text_of(plan) -> str:
    """What a plan decided, for people: values one a line, then lyrics."""
    lyrics = plan.decided.get("lyrics")
    return "\n".join([*plan.lines(), *(["", lyrics] if lyrics else [])])


def asked(handle: PlannerHandle, request, node_id: str, seed: int, **settings):
    """The SongPlan of a request; what was decided is kept as text on the node."""
    plan = answered(handle, request, seed, sampling_of(handle, request, **settings), node_id)
    messages.keep(plan.lines() or ["the song leaves nothing open"], node_id)
    return plan


def song_to_plan(song, name: str, choose_length: bool) -> Song:
    """Raises UserError for the song of an edit, and for one that has codes already."""
    check_plain(song, name)
    return dataclasses.replace(song, seconds=OPEN) if choose_length else song


def outputs(song: str) -> list:
    return [
        SongSocket.Output("song", display_name="song", tooltip=song),
        io.String.Output("text", display_name="text", tooltip=TEXT_TOOLTIP),
    ]
