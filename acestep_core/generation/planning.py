"""How a plan becomes a part of a song's settings. No torch."""

import dataclasses
from collections.abc import Mapping

from ..checkpoints.cascade_models import DEFAULT_CASCADE, find_cascade
from ..checkpoints.checkpoint import read_checkpoint
from ..checkpoints.locate import local_models
from ..checkpoints.registry import KNOWN, PLANNER, TINY_PLANNER, known_model, usual_planner
from ..errors import UserError
from ..planner.planned_song import codebook_of
from ..planner.song_plan import SongPlan
from .settings import GenerationSettings

ANY_PLANNER = "auto"
WITHOUT_CODES = "note: these models follow no codes of {planner}, so the song is planned without codes"
LEFT_OUT = "note: these models follow no codes of {planner}, so the song is made without its codes"


def wants_plan(settings: GenerationSettings) -> bool:
    """Whether a song has yet to be planned. Raises UserError where it has no place for a plan."""
    if settings.codes is not None:
        return False
    if settings.continue_from is not None or settings.edit is not None:
        raise UserError("--plan: got a clip to go on from too, which leaves no place for a plan; leave one out")
    return True


def follow_codes(model_names: Mapping, codebook: int) -> bool:
    """Whether every stage of a cascade can follow the codes of a planner that knows so many. Raises CheckpointError."""
    return all(codebook_of(read_checkpoint(stage.path)) == codebook for stage in find_cascade(**model_names).stages)


def without_foreign_codes(settings: GenerationSettings) -> GenerationSettings:
    """The settings without audio codes that their models cannot follow. Codes of a planner that is not known stay, and
    are checked by the models. Raises CheckpointError.
    """
    if not settings.codes or not settings.codebook or follow_codes(settings.model_names, settings.codebook):
        return settings
    return dataclasses.replace(settings, codes=None, codebook=None, codes_strength=None)


def planner_for(model_names: Mapping) -> str:
    """The planner that is asked where none is named: the embedded one for a cascade of embedded models alone, which
    follow no other codes; for others the usual one of the published ones, be it here or not.
    """
    stages = find_cascade(**model_names).stages
    if all(stage.known is not None and not stage.known.repo for stage in stages):
        return TINY_PLANNER
    return usual_planner(model.name for model in local_models(PLANNER) if model.name != TINY_PLANNER)


def cascade_for(planner: str | None) -> str:
    """The cascade whose audio tokenizer writes the codes that a planner reads: `tiny` for the embedded one. `planner`
    None: the one that is taken here.
    """
    name = planner or usual_planner(model.name for model in local_models(PLANNER))
    return DEFAULT_CASCADE if known_model(name, PLANNER) is KNOWN[TINY_PLANNER] else "published"


def plan_seed(settings: GenerationSettings) -> int:
    """The seed of a song's plan: that of the song, unless it has one of its own."""
    return settings.seed if settings.planner_seed is None else settings.planner_seed


def with_plan(settings: GenerationSettings, plan: SongPlan, planner: str, seed: int) -> GenerationSettings:
    """The settings of a song that a planner has filled in."""
    codes = {"codes": plan.codes or None, "codebook": plan.codebook or None if plan.codes else None}
    return dataclasses.replace(settings, planner=planner, planner_seed=seed, **codes)
