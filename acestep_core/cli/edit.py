"""`acestep-cascade edit`: songs made of music that is there. torch is imported only when all options are checked."""

import argparse
import dataclasses
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..console import Console
from ..editing.bars import bar_times
from ..editing.edit import DEFAULT_AMOUNT, DEFAULT_STRENGTH, Edit
from ..editing.regions import BarTimes, is_in_bars, parse_region
from ..editing.source_song import result_song, song_of_file, source_song, words_of
from ..editing.tasks import TASKS, TRACKS
from ..errors import UserError
from ..generation.making import SEEDS_DRAWN_BELOW, named
from ..generation.settings import GenerationSettings, read_song
from ..system.files import existing
from .generate import add_memory, add_model_choice, add_output, add_sampling, add_words
from .make import make_orders
from .orders import (
    Request,
    changed,
    check_count,
    of_tags,
    orders_from,
    overridden,
    with_text,
)

_EPILOG = """\
Music outside the regions stays as it is in the source, to the sample. An edit of a file that acestep-cascade made takes
its words from the file's tags. CAPTION stands right behind SOURCE. Models for each task: web/docs/guides/editing.md.
"""
# Options that are fields of Edit under the same name.
_SETTINGS = ("strength", "before", "after", "structure", "closeness", "amount", "from_caption", "from_lyrics", "mix")
_SETTINGS += ("morph_begin", "morph_end", "averages")


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    tasks = "; ".join(f"{task.name}: {task.summary}" for task in TASKS.values())
    parser.description = f"Make songs of music that is there. {tasks}."
    parser.epilog = _EPILOG
    parser.set_defaults(run=edit)
    parser.add_argument("task", nargs="?", choices=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("source", nargs="?", metavar="SOURCE", help="a sound or video file, 1 to 600 s long")
    parser.add_argument("caption", nargs="?", metavar="CAPTION", help="what the result sounds like (default: its tags)")
    parser.add_argument("-o", "--output", metavar="FILE", help="the file to write; its ending gives the format")
    _add_edit(parser.add_argument_group("edit"))
    _add_stems(parser.add_argument_group("stems"))
    _add_variation(parser.add_argument_group("retake and morph"))
    add_words(parser.add_argument_group("words"), "as in the source's tags, else ")
    add_sampling(parser.add_argument_group("sampling"))
    add_model_choice(parser.add_argument_group("models"))
    add_memory(parser.add_argument_group("device and memory"))
    add_output(parser.add_argument_group("output"))


def _add_edit(group):
    strengths = ", ".join(f"{value:g} for {task}" for task, value in DEFAULT_STRENGTH.items())
    group.add_argument(
        "--from",
        dest="from_file",
        metavar="FILE",
        help="make the edit in a file's tags again; no task or source",
    )
    group.add_argument(
        "--region",
        action="append",
        metavar="10-20",
        help='a part of the source to make anew: seconds (10-20, 1:05-1:20, 40-end) or bars ("bars 8-12"); repeatable',
    )
    group.add_argument(
        "--strength", type=float, metavar="0-1", help=f"how far a region may leave the source (default {strengths})"
    )
    group.add_argument("--before", type=float, metavar="S", help="seconds of new music before the source")
    group.add_argument("--after", type=float, metavar="S", help="seconds of new music after the source")
    group.add_argument(
        "--structure", type=float, metavar="0-1", help="share of the steps that follow the source (default 1)"
    )
    group.add_argument(
        "--closeness",
        type=float,
        metavar="0-1",
        help="how much of the source's sound a cover begins with (default 0: none)",
    )
    group.add_argument(
        "--no-codes",
        dest="codes",
        action="store_const",
        const=False,
        help="cover with the source's latents instead of codes: closer in melody, timing and timbre",
    )


def _add_stems(group):
    group.add_argument(
        "--track",
        action="append",
        choices=TRACKS,
        metavar="NAME",
        help=f"the stem to extract or to add; repeatable: one file each ({', '.join(TRACKS)})",
    )
    group.add_argument("--tracks", metavar="A,B", help="the stems of an accompaniment, such as drums,bass")
    group.add_argument(
        "--mix", action="store_const", const=True, help="write an added stem together with the source, not alone"
    )


def _add_variation(group):
    group.add_argument(
        "--amount", type=float, metavar="0-1", help=f"how different a retake is (default {DEFAULT_AMOUNT:g})"
    )
    group.add_argument("--from-caption", metavar="TEXT", help="what the source of a morph sounds like")
    group.add_argument("--from-lyrics", metavar="TEXT", help="the lyrics of the source of a morph")
    group.add_argument(
        "--morph-begin", type=float, metavar="0-1", help="share of the steps before the morph (default 0)"
    )
    group.add_argument(
        "--morph-end", type=float, metavar="0-1", help="share of the steps after which it ends (default 1)"
    )
    group.add_argument("--averages", type=int, metavar="N", help="draws of noise in a step of a morph (default 1)")


def edit(arguments: argparse.Namespace, console: Console):
    check_count(arguments)
    make_orders(orders_from(_requests(arguments, console), arguments), arguments, console)


def _requests(arguments: argparse.Namespace, console: Console) -> list[Request]:
    if arguments.from_file:
        return [_again(arguments, console)]
    if arguments.task is None or arguments.source is None:
        raise UserError(
            "edit: a task and a source are missing, such as acestep-cascade edit repaint song.flac --region 10-20"
        )
    existing(arguments.source)
    if arguments.task == "retake":
        return _retakes(arguments, console)
    return [_request(arguments, tracks, console) for tracks in _tracks(arguments)]


def _again(arguments: argparse.Namespace, console: Console) -> Request:
    if arguments.task is not None:
        raise UserError("edit: got a task and --from; give a task and a source, or the file whose edit is made again")
    made = read_song(arguments.from_file)
    if made.settings.edit is None:
        raise UserError(f"{arguments.from_file}: was made from text; acestep-cascade generate --from makes it again")
    with named(arguments.from_file):
        made.settings.check_source()
    tracks = tuple(arguments.track or ()) or _several_tracks(arguments)
    given = made.settings.edit | _settings(arguments, made.settings.source, tracks, console)
    again = dataclasses.replace(made.settings, edit=given)
    return of_tags(dataclasses.replace(made, settings=again), arguments)


def _settings(arguments: argparse.Namespace, source: str, tracks: tuple[str, ...], console: Console) -> dict:
    """The fields of Edit that options give."""
    given = {name: getattr(arguments, name) for name in (*_SETTINGS, "codes")}
    given = with_text(given, "from_lyrics")
    given |= {"tracks": tracks or None, "regions": _regions(arguments, source, console) or None}
    return {name: value for name, value in given.items() if value is not None}


def _several_tracks(arguments: argparse.Namespace) -> tuple[str, ...]:
    return tuple(name.strip() for name in (arguments.tracks or "").split(",") if name.strip())


def _tracks(arguments: argparse.Namespace) -> list[tuple[str, ...]]:
    """The tracks of each file to make."""
    if arguments.tracks and arguments.track:
        raise UserError("edit: got --track and --tracks; --track makes a file each, --tracks is for complete")
    if arguments.tracks:
        return [_several_tracks(arguments)]
    tracks = list(dict.fromkeys(arguments.track or ()))
    return [tuple(tracks)] if TASKS[arguments.task].many_tracks or not tracks else [(track,) for track in tracks]


def _request(arguments: argparse.Namespace, tracks: tuple[str, ...], console: Console) -> Request:
    source = arguments.source
    edit = Edit(arguments.task, **_settings(arguments, source, tracks, console))
    words = source_song(source, edit)
    with named(source):
        song = result_song(edit, overridden(asdict(words_of(edit, words)), arguments, is_edit=True), words)
    settings = changed(GenerationSettings(source=source, edit=edit.given()), arguments)
    several = len(arguments.track or ()) > 1 and not edit.row.many_tracks
    name = "-".join((Path(source).stem, edit.task, *edit.tracks))
    return Request(song, settings, name=name, suffix=f"_{tracks[0]}" if several else None)


def _regions(arguments: argparse.Namespace, source: str, console: Console) -> tuple:
    texts, bars = arguments.region or (), None
    if any(map(is_in_bars, texts)):
        bars = _bars(arguments, source, console)
    return tuple(parse_region(text, bars) for text in texts)


def _bars(arguments: argparse.Namespace, source: str, console: Console) -> BarTimes:
    known = song_of_file(source)
    song = overridden(asdict(known) if known else {"caption": ""}, arguments, is_edit=True)
    console.busy("measuring the beat ...")
    bars, note = bar_times(source, song)
    console.note(note)
    return bars


def _retakes(arguments: argparse.Namespace, console: Console) -> list[Request]:
    """The song of the source's tags with other noise: one request a retake, of following seeds of that noise."""
    source, seed = arguments.source, arguments.seed
    Edit("retake", **_settings(arguments, source, tuple(arguments.track or ()), console))  # refuses what others take
    made = read_song(source)
    if made.settings.seed is None:
        raise UserError(
            f"{source}: its tags have no seed, of which a retake is a variation; a cover with --closeness 0.5 is near "
            "it"
        )
    first = secrets.randbelow(SEEDS_DRAWN_BELOW) if seed is None else seed
    arguments.seed, arguments.from_file, arguments.source = None, source, None
    request = of_tags(made, arguments)
    requests = [_retake(request, arguments, first + item, source) for item in range(arguments.count)]
    arguments.count = 1
    return requests


def _retake(request: Request, arguments: argparse.Namespace, seed: int, source: str) -> Request:
    own = request.settings.edit or {"task": "retake"}
    amount = DEFAULT_AMOUNT if arguments.amount is None else arguments.amount
    given = {**own, "amount": amount, "retake_seed": seed}
    place = request.settings.source or str(existing(source).resolve())
    settings = dataclasses.replace(request.settings, edit=given, source=place)
    suffix = None if arguments.count > 1 else ""
    return dataclasses.replace(request, settings=settings, name=f"{Path(source).stem}-retake-{seed}", suffix=suffix)
