"""What the commands plan, write, rewrite and understand share: options, progress, and the result's form."""

import argparse
import dataclasses
import json
import secrets
from collections.abc import Callable
from pathlib import Path

from ..console import Clock, Console
from ..errors import UserError
from ..generation.making import SEEDS_DRAWN_BELOW
from ..song import Song
from ..spec import MAX_BPM, MAX_SECONDS, MIN_BPM, MIN_SECONDS, PLANNER_DTYPE_NAMES
from ..system.files import check_destination, write_whole
from ..system.folders import user_path
from .orders import with_text

SONG_FIELDS = ("seconds", "lyrics", "language", "bpm", "key", "time_signature")


def add_given(group) -> None:
    """Options for what a song has already; the planner keeps it."""
    free = "(default: the planner decides)"
    group.add_argument("--lyrics", metavar="TEXT|@FILE", help="the lyrics, or @ and a file with them")
    group.add_argument("--language", metavar="CODE", help=f"language of the lyrics, such as en {free}")
    group.add_argument("--bpm", metavar="N", help=f"tempo, {MIN_BPM} to {MAX_BPM} {free}")
    group.add_argument("--key", metavar="KEY", help=f'key, such as "A minor" {free}')
    group.add_argument("--time-signature", metavar="N", help=f"2, 3, 4 or 6 beats in a bar {free}")
    group.add_argument("--seconds", metavar="N", help=f"length, {MIN_SECONDS:g} to {MAX_SECONDS:g}, or auto {free}")


def add_planner(parser: argparse.ArgumentParser) -> None:
    """Options of the planner and of the result."""
    group = parser.add_argument_group("planner")
    group.add_argument("--planner", metavar="NAME", help="a planner by name or path (default: one that is here)")
    group.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same answer (default: random)")
    group.add_argument(
        "--temperature", type=float, metavar="X", help="0: the likeliest words (default: as trained for)"
    )
    group.add_argument("--top-p", type=float, metavar="X", help="share of the likeliest tokens that are drawn from")
    group.add_argument("--top-k", type=int, metavar="N", help="number of the likeliest tokens that are drawn from")
    group.add_argument("--device", metavar="NAME", help="auto (default), cpu, cuda, cuda:1 or mps")
    group.add_argument("--dtype", choices=PLANNER_DTYPE_NAMES, help="default: the files' own, where the device has it")
    group.add_argument("--quantise", choices=["int8", "fp8"], help="hold the weights in 8 bits (needs torchao)")
    group.add_argument("--no-cache", action="store_true", help="answer anew, and do not keep the answer on disk")
    result = parser.add_argument_group("output")
    result.add_argument("-o", "--output", metavar="FILE.json", help="write the answer to this file, and replace it")
    result.add_argument("--json", action="store_true", help="print one line of JSON")
    result.add_argument("-q", "--quiet", action="store_true", help="no progress and no notes")


def given_song(arguments: argparse.Namespace, base: Song) -> Song:
    """A song with the options of `add_given` in its place. Raises UserError."""
    given = {name: getattr(arguments, name) for name in SONG_FIELDS if getattr(arguments, name) is not None}
    return dataclasses.replace(base, **with_text(given, "lyrics"))


def run(arguments: argparse.Namespace, console: Console, make_request: Callable) -> None:
    """Answers a request and shows the result. `make_request` has no arguments and is called with torch at hand."""
    output = _destination(arguments)
    clock, seed = Clock(), secrets.randbelow(SEEDS_DRAWN_BELOW) if arguments.seed is None else arguments.seed
    console.busy("loading the planner ...")
    from ..planner.planner import Planner

    planner = Planner.load(
        arguments.planner,
        device=arguments.device,
        dtype=arguments.dtype,
        quantise=arguments.quantise,
        cache=not arguments.no_cache,
    )
    request = make_request()
    for progress in planner.iterate(request, seed=seed, sampling=_sampling(arguments, planner.usual_sampling(request))):
        if progress.result is None:
            show_progress(progress, console)
    _give(progress.result, planner.name, seed, clock.seconds, output, arguments, console)


def _sampling(arguments: argparse.Namespace, usual):
    given = {name: getattr(arguments, name, None) for name in ("temperature", "top_p", "top_k", "guidance")}
    return usual.with_given(given)


def show_progress(progress, console: Console, title: str = "") -> None:
    """Tokens so far, tokens a second, and the time that is left where it is known."""
    head = f"{title}: " if title else ""
    if progress.of and progress.tokens == progress.of:
        console.bar(f"{head}{progress.phase}", progress.tokens, progress.of, progress.seconds)
    else:
        console.busy(f"{head}{progress.line}")


def _destination(arguments: argparse.Namespace) -> Path | None:
    if arguments.output is None:
        return None
    path = user_path(arguments.output)
    if path.is_dir():
        raise UserError(f"-o {arguments.output}: is a folder, expected a file such as plan.json")
    return check_destination(path)


def _give(plan, name: str, seed: int, seconds: float, output: Path | None, arguments, console: Console) -> None:
    made = {**json.loads(plan.to_json()), "planner": name, "seed": seed}
    if output is not None:
        write_whole(output, json.dumps(made, ensure_ascii=False, indent=1).encode())
    if arguments.json:
        console.result(json.dumps({**made, "made_in_seconds": round(seconds, 2)}, ensure_ascii=False))
        return
    for line in _lines(plan):
        console.result(line)
    if output is not None:
        console.result(f"{output}  made in {seconds:.1f} s, seed {seed}")


def _lines(plan) -> list[str]:
    song = dataclasses.asdict(plan.song)
    lyrics = song.pop("lyrics")
    rows = {**song, "codes": f"{len(plan.codes)} ({plan.codes_digest})" if plan.codes else None, "lyrics": lyrics}
    chosen = {name: "  (decided)" for name in plan.decided}
    return [
        f"{name.replace('_', ' '):<16}{str(value).replace(chr(10), chr(10) + ' ' * 16)}{chosen.get(name, '')}"
        for name, value in rows.items()
        if value is not None
    ]
