"""Orders whose songs a planner fills in before they are made. The planner is gone when the music's models come."""

import argparse
import dataclasses

from ..console import Console
from ..generation.making import named
from ..generation.planning import (
    ANY_PLANNER,
    LEFT_OUT,
    WITHOUT_CODES,
    follow_codes,
    plan_seed,
    planner_for,
    wants_plan,
    with_plan,
    without_foreign_codes,
)
from ..generation.settings import GenerationSettings
from ..planner.planned_song import settled_length
from .orders import Order
from .planning import show_progress


def planned(orders: list[Order], arguments: argparse.Namespace, console: Console) -> list[Order]:
    """The orders with their songs filled in, and with audio codes where the models read them. Raises UserError.

    A song whose file names a planner is planned already.

    A length that is still open afterwards is chosen by a rule over the lyrics.
    """
    planners, made = {}, []
    for number, order in enumerate(orders, start=1):
        with named(order.place):
            if getattr(arguments, "planner", None) and wants_plan(order.settings):
                title = f"plan {number} of {len(orders)}" if len(orders) > 1 else "plan"
                order = _planned(order, _planner(order.settings, planners, arguments), title, console)
            made.append(dataclasses.replace(order, song=settled_length(order.song)))
    for planner in planners.values():
        planner.release()
    return made


def with_codes_to_follow(orders: list[Order], console: Console) -> list[Order]:
    """The orders without audio codes that their models cannot follow, of which notes tell. Raises CheckpointError."""
    kept = []
    for order in orders:
        with named(order.place):
            settings = without_foreign_codes(order.settings)
        if settings is not order.settings:
            console.note(LEFT_OUT.format(planner=order.settings.planner or "the planner"))
        kept.append(dataclasses.replace(order, settings=settings))
    return kept


def _planner(settings: GenerationSettings, planners: dict, arguments: argparse.Namespace):
    name = planner_for(settings.model_names) if settings.planner == ANY_PLANNER else settings.planner
    if name not in planners:
        from ..planner.planner import Planner

        planners[name] = Planner.load(name, device=arguments.device)
    return planners[name]


def _planned(order: Order, planner, title: str, console: Console) -> Order:
    from ..planner.requests import PlanSong

    seed, codes = plan_seed(order.settings), follow_codes(order.settings.model_names, planner.words.codes)
    if not codes:
        console.note(WITHOUT_CODES.format(planner=planner.name))
    console.busy("loading the planner ...")
    for progress in planner.iterate(PlanSong(order.song, codes), seed=seed):
        if progress.result is None:
            show_progress(progress, console, title)
    plan = progress.result
    if plan.decided:
        console.note(f"{title}: {', '.join(plan.lines())}")
    return dataclasses.replace(order, song=plan.song, settings=with_plan(order.settings, plan, planner.name, seed))
