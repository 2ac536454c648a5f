"""`acestep-cascade bench loading`: seconds and memory that loading a stage's model takes, in each layout."""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..bench.loading import LAYERS, Loading, measure
from ..console import Console
from ..errors import UserError


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.set_defaults(run=run)
    parser.add_argument(
        "--layers", type=int, default=LAYERS, metavar="N", help=f"layers of the transformer (default {LAYERS})"
    )
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="runs, of which the median counts (default 5)"
    )
    parser.add_argument(
        "--folder", metavar="FOLDER", help="where the file is made (default: the system's temporary folder)"
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each layout")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def run(arguments: argparse.Namespace, console: Console):
    if arguments.repeats < 1 or arguments.layers < 1:
        raise UserError(f"--repeats, --layers: got {arguments.repeats}, {arguments.layers}, expected at least 1")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for row in measure(Path(folder), arguments.layers, arguments.repeats):
            console.result(json.dumps(asdict(row)) if arguments.json else _shown(row))


def _shown(row: Loading) -> str:
    share = "" if row.memory_share is None else f"  {row.memory_share:5.2f} x the file in memory"
    return f"{row.layout:<17} {row.dtype:<13} {row.file_gb:5.2f} GB  {row.seconds:7.3f} s{share}"
