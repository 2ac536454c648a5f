"""`acestep-cascade bench lora`: how far an adapter moves the embedded cascade towards a style it was not trained on."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ..console import Console
from ..errors import UserError
from ..evaluation.style import CLIPS, PRESERVE, SECONDS, SONGS, STRENGTH, measure_style
from ..system.folders import user_path
from .parser import build_parser

MODEL = "tiny-l"
# The embedded models are small, so their adapters take larger steps than those of the published ones.
TRAINING = (
    *("--steps", "600", "--rank", "16", "--targets", "self,cross,mlp"),
    *("--learning-rate", "1e-3", "--crop", f"{SECONDS:g}"),
)


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.set_defaults(run=run)
    parser.description = f"Train an adapter of {MODEL} on clips of a style that it does not know, and measure both."
    parser.add_argument(
        "--work", metavar="FOLDER", help="where clips and adapter are kept; a training there is resumed"
    )
    parser.add_argument("--clips", type=int, default=CLIPS, metavar="N", help=f"clips to train on (default {CLIPS})")
    parser.add_argument(
        "--songs", type=int, default=SONGS, metavar="N", help=f"songs of each style to measure (default {SONGS})"
    )
    parser.add_argument(
        "--strength", type=float, default=STRENGTH, metavar="S", help=f"strength of the adapter (default {STRENGTH:g})"
    )
    parser.add_argument(
        "--preserve", type=float, default=PRESERVE, metavar="P", help=f"as in train lora (default {PRESERVE:g})"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def run(arguments: argparse.Namespace, console: Console):
    for name in ("clips", "songs"):
        if getattr(arguments, name) < 2:
            raise UserError(f"--{name}: got {getattr(arguments, name)}, expected at least 2")
    with TemporaryDirectory() as temporary:
        work = user_path(arguments.work or temporary)
        figures = measure_style(
            work, arguments.clips, arguments.songs, arguments.strength, arguments.preserve, console, _train
        )
    if arguments.json:
        console.result(json.dumps(figures))
        return
    for name, value in figures.items():
        console.result(f"{name:<64} {value:.4g}")


def _train(folder: Path, adapter: Path, preserve: float, console: Console):
    """Trains as a user would: by the command `train lora`."""
    words = ["train", "lora", str(folder), "--model", MODEL, "--output", str(adapter), *TRAINING]
    words += ["--preserve", f"{preserve:g}"]
    arguments = build_parser(words).parse_args(words)
    arguments.run(arguments, _Notes(console.quiet))


class _Notes(Console):
    """The console of a command within another: its results become notes."""

    def result(self, line: str):
        self.note(line)
