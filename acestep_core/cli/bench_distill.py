"""`acestep-cascade bench distill`: what distillation gains over training a small model alone."""

import argparse
import json
from collections.abc import Sequence
from tempfile import TemporaryDirectory

from ..console import Console
from ..errors import UserError
from ..evaluation.distilling import CLIPS, MEASURED, STEPS, TEACHER, measure
from ..system.folders import user_path


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.set_defaults(run=run)
    parser.description = f"Distill a small student of {TEACHER} and compare it with ones trained without a teacher."
    parser.add_argument("--work", metavar="FOLDER", help="where clips and students are kept; clips are made once")
    parser.add_argument("--clips", type=int, default=CLIPS, metavar="N", help=f"clips to train on (default {CLIPS})")
    parser.add_argument(
        "--judged", type=int, default=MEASURED, metavar="N", help=f"clips to measure on (default {MEASURED})"
    )
    parser.add_argument(
        "--steps", type=int, default=STEPS, metavar="N", help=f"steps of each student (default {STEPS})"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def run(arguments: argparse.Namespace, console: Console):
    for name in ("clips", "judged", "steps"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name}: got {getattr(arguments, name)}, expected at least 1")
    with TemporaryDirectory() as temporary:
        work = user_path(arguments.work or temporary)
        rows = measure(work, arguments.clips, arguments.judged, arguments.steps, console)
    if arguments.json:
        console.result(json.dumps(rows))
        return
    console.result("| student | steps | CPU s | to the teacher | to the music |\n|---|---:|---:|---:|---:|")
    for name, (steps, seconds, to_teacher, to_music) in rows.items():
        console.result(f"| {name} | {steps} | {seconds:.0f} | {to_teacher:.4f} | {to_music:.4f} |")
