"""Orders whose songs a planner fills in before they are made. The planner is gone when the music's models come."""

import argparse
import dataclasses
from collections.abc import Mapping

from ..checkpoints.cascade_models import find_cascade
from ..checkpoints.checkpoint import read_checkpoint
from ..console import Console
from ..errors import UserError
from ..generation.settings import GenerationSettings
from ..planner.planned_song import reads_codes, settled_length
from .orders import Order, named
from .planning import show_progress

ANY_PLANNER = "auto"


def planned(orders: list[Order], arguments: argparse.Namespace, console: Console) -> list[Order]:
    """The orders with their songs filled in, and with audio codes where the models read them. Raises UserError.

    A song whose file names a planner is planned already.

    A length that is still open afterwards is chosen by a rule over the lyrics.
    """
    planners, made = {}, []
    for number, order in enumerate(orders, start=1):
        with named(order.place):
            if getattr(arguments, "planner", None) and _wants_plan(order.settings):
                title = f"plan {number} of {len(orders)}" if len(orders) > 1 else "plan"
                order = _planned(order, _planner(order.settings, planners, arguments), title, console)
            made.append(dataclasses.replace(order, song=settled_length(order.song)))
    for planner in planners.values():
        planner.release()
    return made


def _wants_plan(settings: GenerationSettings) -> bool:
    if settings.codes is not None:
        return False
    if settings.continue_from is not None or settings.edit is not None:
        raise UserError("--plan: got a clip to go on from too, which leaves no place for a plan; leave one out")
    return True


def _planner(settings: GenerationSettings, planners: dict, arguments: argparse.Namespace):
    name = None if settings.planner == ANY_PLANNER else settings.planner
    if name not in planners:
        from ..planner.planner import Planner

        planners[name] = Planner.load(name, device=arguments.device)
    return planners[name]


def _planned(order: Order, planner, title: str, console: Console) -> Order:
    from ..planner.requests import PlanSong

    seed = order.settings.seed if order.settings.planner_seed is None else order.settings.planner_seed
    codes = _read_codes(order.settings.model_names)
    if not codes:
        console.note("note: these models have no audio tokenizer, so the song is planned without codes")
    console.busy("loading the planner ...")
    for progress in planner.iterate(PlanSong(order.song, codes), seed=seed):
        if progress.result is None:
            show_progress(progress, console, title)
    plan = progress.result
    if plan.decided:
        console.note(f"{title}: {', '.join(plan.lines())}")
    made = {"planner": planner.name, "planner_seed": seed, "codes": plan.codes or None}
    return dataclasses.replace(order, song=plan.song, settings=dataclasses.replace(order.settings, **made))


def _read_codes(model_names: Mapping) -> bool:
    return all(reads_codes(read_checkpoint(stage.path)) for stage in find_cascade(**model_names).stages)
