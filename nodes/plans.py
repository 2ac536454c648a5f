"""Plans in the graph: a song with audio codes, for Text Encode, and a reference with the codes, for the stages.

Stages compare the two: the text has another instruction where codes are followed.
"""

from dataclasses import dataclass, fields

from ..acestep_core.checkpoints.checkpoint import read_checkpoint
from ..acestep_core.errors import UserError
from ..acestep_core.models.reference import Reference
from ..acestep_core.models.text_encoder import TextStates
from ..acestep_core.planner.planned_song import PlannedSong, check_codes
from ..acestep_core.song import Song
from ..acestep_core.spec import LatentSpec
from .types import ModelHandle


@dataclass(frozen=True)
class PlanOfGraph(PlannedSong):
    """A song with codes, and the planner that wrote them."""

    planner: str = ""
    planner_seed: int | None = None


@dataclass(frozen=True, eq=False)
class PlannedReference(Reference):
    """A reference whose source is the codes of a plan. Equal only to itself."""

    plan: PlannedSong | None = None


@dataclass(frozen=True, eq=False)
class PlannedText(TextStates):
    """The text of a song with codes. Equal only to itself."""

    plan: PlannedSong | None = None


def reference_of(plan: PlannedSong, spec: LatentSpec, clips: Reference | None) -> PlannedReference:
    """A plan's codes as the stages take them, with the timbre of clips. Raises UserError for a clip to continue."""
    clips = clips or Reference()
    if clips.source is not None:
        raise UserError("codes: the reference has a source of its own already; connect one of timbre alone")
    return PlannedReference(clips.timbre, plan.source(spec), clips.variation, plan)


def plan_of(value: object) -> PlannedSong | None:
    """The plan of a reference or of a text; None of any other one."""
    return value.plan if isinstance(value, PlannedReference | PlannedText) else None


def with_plan(states: TextStates, song: object) -> TextStates:
    """Text states that know their plan, where the song has one."""
    if not isinstance(song, PlannedSong):
        return states
    return PlannedText(**{one.name: getattr(states, one.name) for one in fields(TextStates)}, plan=song)


def check_plan(handle: ModelHandle, text: TextStates, reference: Reference | None, frames: int) -> None:
    """Raises UserError where a stage's text, reference and latent are of several plans, and CheckpointError where its
    model cannot read the codes.
    """
    plan, own = plan_of(reference), plan_of(text)
    if plan != own:
        raise UserError(
            "codes: the text and the reference are not of one plan; connect `song` of Plan Song to Text Encode, and "
            "its `reference` to every stage"
        )
    if plan is None:
        return
    if frames != reference.source.frames:
        raise UserError(
            f"codes: got a latent of {frames} frames, expected {reference.source.frames}; connect `song` of Plan Song "
            "to Empty Latent too"
        )
    if handle.place is not None:
        check_codes(plan.codes, handle.model.name, read_checkpoint(handle.place), plan.codebook)


def tags_of_plan(plan: PlannedSong) -> tuple[Song, dict]:
    """The Song for the tags of a file, and the settings that its plan adds to them, as the command line writes them."""
    made = {"codes": list(plan.codes), "codebook": plan.codebook or None}
    made |= {"codes_strength": None if plan.strength == 1 else plan.strength}
    made |= {"planner": getattr(plan, "planner", None), "planner_seed": getattr(plan, "planner_seed", None)}
    return plan.song, {name: value for name, value in made.items() if value not in (None, "")}
