"""`acestep-cascade bench cluster`: songs a minute of workers on this machine, against one process."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..console import Console
from ..errors import UserError
from ..generation.making import Machine
from ..system.threads import usable_cpus

if TYPE_CHECKING:
    from ..cluster.throughput import Throughput

SONGS, WORKERS, SECONDS = 20, 2, 10.0


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.set_defaults(run=run)
    parser.description = (
        "Compare the songs a minute of several Ray workers on this machine with those of one process. Each has one "
        "thread, or one GPU; all make the same songs, by turns."
    )
    parser.add_argument("--songs", type=int, default=SONGS, metavar="N", help=f"songs of a turn (default {SONGS})")
    parser.add_argument("--workers", type=int, default=WORKERS, metavar="N", help=f"default {WORKERS}")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, metavar="N", help=f"length of each song (default {SECONDS:g})"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, metavar="N", help="turns of each side, of which the median counts (default 3)"
    )
    parser.add_argument("--models", default="tiny", help="tiny (default), published, a folder, or one model")
    parser.add_argument("--device", metavar="NAME", help="default: a GPU if there is one")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def run(arguments: argparse.Namespace, console: Console):
    for name in ("songs", "workers", "repeats"):
        if (given := getattr(arguments, name)) < 1:
            raise UserError(f"--{name}: got {given}, expected at least 1")
    from ..cluster.ray_workers import check_ray
    from ..cluster.throughput import measure, tasks_of

    check_ray()
    tasks = tasks_of(arguments.songs, arguments.seconds, arguments.models)
    if arguments.workers > usable_cpus():
        console.note(f"note: {arguments.workers} workers on {usable_cpus()} CPU cores wait for one another")
    console.busy("starting the workers ...")
    machine = Machine(arguments.device, text_cache=False)  # else the second turn would find its texts encoded
    row = measure(tasks, machine, arguments.workers, arguments.repeats)
    console.result(json.dumps(asdict(row)) if arguments.json else _shown(row))


def _shown(row: "Throughput") -> str:
    took = f"{row.workers_seconds:.1f} s, one process {row.one_seconds:.1f} s"
    return (
        f"{row.workers} workers: {row.ratio:.2f} x the songs a minute of one process  "
        f"({row.songs} songs of {row.song_seconds:g} s: {took}; {row.equal} of {row.songs} files equal; "
        f"workers ready after {row.ready_seconds:.1f} s)"
    )
