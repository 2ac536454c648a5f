"""How a plan becomes a part of a song's settings. No torch."""

import dataclasses
from collections.abc import Mapping

from ..checkpoints.cascade_models import find_cascade
from ..checkpoints.checkpoint import read_checkpoint
from ..errors import UserError
from ..planner.planned_song import reads_codes
from ..planner.song_plan import SongPlan
from .settings import GenerationSettings

ANY_PLANNER = "auto"
WITHOUT_CODES = "note: these models have no audio tokenizer, so the song is planned without codes"


def wants_plan(settings: GenerationSettings) -> bool:
    """Whether a song has yet to be planned. Raises UserError where it has no place for a plan."""
    if settings.codes is not None:
        return False
    if settings.continue_from is not None or settings.edit is not None:
        raise UserError("--plan: got a clip to go on from too, which leaves no place for a plan; leave one out")
    return True


def read_codes(model_names: Mapping) -> bool:
    """Whether every stage of a cascade can follow audio codes. Raises CheckpointError."""
    return all(reads_codes(read_checkpoint(stage.path)) for stage in find_cascade(**model_names).stages)


def plan_seed(settings: GenerationSettings) -> int:
    """The seed of a song's plan: that of the song, unless it has one of its own."""
    return settings.seed if settings.planner_seed is None else settings.planner_seed


def with_plan(settings: GenerationSettings, plan: SongPlan, planner: str, seed: int) -> GenerationSettings:
    """The settings of a song that a planner has filled in."""
    made = {"planner": planner, "planner_seed": seed, "codes": plan.codes or None}
    return dataclasses.replace(settings, **made)
