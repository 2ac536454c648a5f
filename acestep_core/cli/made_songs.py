"""Songs that an earlier run has made: a second run of a list leaves them out. No torch."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..audio.song_tags import song_tags
from ..audio.tags import read_tags
from ..checkpoints.cascade_models import find_cascade
from ..console import Console
from ..errors import UserError
from ..generation.making import digests_of
from ..generation.settings import GenerationSettings, read_song
from ..generation.song_files import files_beside
from ..planner.metadata import is_instrumental
from ..song import AUTO, Song
from .orders import Order, take_path, takes_of


def without_made(orders: Sequence[Order], arguments: argparse.Namespace, console: Console) -> list[Order]:
    """The orders without those whose files an earlier run has made, which a note counts."""
    keep, here = takes_of(arguments).keep, arguments.cluster is None  # a cluster's models may lie elsewhere
    left = [order for order in orders if not (is_made(order, keep) and (not here or _is_as_now(order, arguments)))]
    if done := len(orders) - len(left):
        console.note(f"{done} of {len(orders)} songs are made already")
    return left


def is_made(order: Order, keep: int = 1) -> bool:
    """Whether the files of an order, `keep` of them, hold its song, made with its settings; any seed will do where it
    was drawn, or is the best of several.
    """
    return order.replaces and all(_holds(path, order) for path in _paths(order, keep))


def _paths(order: Order, keep: int) -> list[Path]:
    return [take_path(order.path, rank, keep) for rank in range(1, keep + 1)]


def _holds(path: Path, order: Order) -> bool:
    if not path.is_file():
        return False
    try:
        made = read_song(str(path))
    except UserError:
        return False
    return _fits(order.song, made.song) and _settled(made.settings, order) == _settled(order.settings, order)


def _fits(asked: Song, made: Song) -> bool:
    """Whether a song has all that was asked for; a planner, or a rule, may have filled in what was left open."""
    had = asdict(made)
    return all(value in (None, "", AUTO) or had[name] == value for name, value in asdict(asked).items())


def _settled(settings: GenerationSettings, order: Order) -> dict:
    """Settings as tags have them, without those that the making of an order chooses itself."""
    chosen = {"seed"} if order.drawn or order.has_takes else set()
    if order.settings.codes is None:  # a plan writes these
        chosen |= {"planner", "planner_seed", "codes", "codebook"}
    given = json.loads(json.dumps(settings.given()))
    return {name: value for name, value in given.items() if name not in chosen}


def _is_as_now(order: Order, arguments: argparse.Namespace) -> bool:
    """Whether the files of an order were made by the models and adapters of now, with all that is asked for now."""
    digests = digests_of(find_cascade(**order.settings.model_names), order.settings)
    wanted = song_tags(order.song, {}, title=arguments.title, artist=arguments.artist)
    kinds = {"lrc": arguments.lrc and not is_instrumental(order.song.lyrics), "latents": arguments.keep_latents}
    for path in _paths(order, takes_of(arguments).keep):
        tags = read_tags(path)
        if read_song(str(path)).digests != digests or any(tags.get(one) != wanted[one] for one in ("title", "artist")):
            return False
        if not all(file.is_file() for file in files_beside(path, **kinds)):
            return False
    return True
