"""`generate --best-of`: takes of each song, the best of which are made whole. torch is imported only here."""

import argparse
import dataclasses

from ..console import Clock, Console
from ..generation.making import named
from ..generation.planning import planner_for
from ..generation.settings import GenerationSettings
from .orders import Order, take_path, takes_of


def add_takes(group) -> None:
    """Options for takes."""
    group.add_argument("--best-of", type=int, default=1, metavar="N", help="make N takes and keep the best")
    group.add_argument("--keep", type=int, default=1, metavar="K", help="keep the best K takes (default 1)")
    group.add_argument(
        "--retry-below", type=float, metavar="X", help="make takes again while the best scores below X, 0 to 1"
    )
    group.add_argument(
        "--draft",
        type=int,
        metavar="N",
        help="steps that a take joins into one; the best is made whole from the same noise (default 2; 1: whole takes)",
    )
    group.add_argument(
        "--judge",
        dest="judge_planner",
        nargs="?",
        const="",
        metavar="PLANNER",
        help="let a planner judge too, this one or one of the models' family: whether it finds the caption in the song",
    )


def wants_takes(arguments: argparse.Namespace) -> bool:
    """Whether songs are chosen among takes. Raises UserError for options that make no sense."""
    return takes_of(arguments).are_wanted


def judging_planner(arguments: argparse.Namespace, settings: GenerationSettings):
    """The planner of --judge for a song of these settings; None without it."""
    if getattr(arguments, "judge_planner", None) is None:
        return None
    from ..planner.planner import Planner

    return Planner.load(arguments.judge_planner or planner_for(settings.model_names), device=arguments.device)


def chosen_orders(cascade, order: Order, prepared, arguments: argparse.Namespace, console: Console) -> list[Order]:
    """The orders of the takes that are kept, the best first. `prepared`: the song and its clips, as `iterate` takes."""
    from ..generation.song_steps import take_steps
    from ..scoring.ranking import reasons

    clock, planner = Clock(), judging_planner(arguments, order.settings)
    with named(order.place):
        for made in take_steps(cascade, prepared, order.settings, takes_of(arguments, planner)):
            console.busy(f"take {made.number} of {made.of} ...")
            if made.take is not None:
                console.note(f"take {made.number} of {made.of}: {made.take.line()}")
    if planner is not None:
        planner.release()
    if made.every[0].total < (arguments.retry_below or 0):
        console.note(f"note: no take reached {arguments.retry_below:g}; the best of {len(made.every)} is kept")
    console.note(f"kept: {reasons(made.every)} ({len(made.every)} takes in {clock.seconds:.0f} s)")
    return [_of_take(order, take.seed, rank, arguments.keep) for rank, take in enumerate(made.kept, start=1)]


def _of_take(order: Order, seed: int, rank: int, keep: int) -> Order:
    path = order.path and take_path(order.path, rank, keep)
    return dataclasses.replace(order, path=path, settings=dataclasses.replace(order.settings, seed=seed))
