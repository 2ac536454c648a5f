"""`acestep-cascade bench tiny`: the quality of the embedded cascade on captions and seeds that it was not trained on.

Clips of the band from held-out seeds are the truth: the vocoder's output is compared with them, and tempo, key and
instruments of songs of their captions are estimated (`evaluation/listening.py`) and compared with them.
"""

import argparse
import json
from collections.abc import Sequence

from ..console import Clock, Console
from ..errors import UserError
from ..system.files import check_destination, write_whole

GROUPS = ("vocoder", "songs", "long", "edits", "cascade")
_SOUNDFONT = "the band plays its clips on sampled instruments too, which may be nearer (without FILE: a known place)"
SONGS, SECONDS = 64, 20.0


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.set_defaults(run=run)
    parser.description = "Measure a cascade of the tiny family on captions and seeds that it was not trained on."
    parser.add_argument("--models", metavar="NAME", default="tiny", help="tiny (default), or a folder of the same form")
    parser.add_argument("--songs", type=int, default=SONGS, metavar="N", help=f"how many captions (default {SONGS})")
    parser.add_argument("--only", action="append", choices=GROUPS, help="repeatable")
    parser.add_argument("--soundfont", metavar="FILE", nargs="?", const="auto", help=_SOUNDFONT)
    own = "instead of the checkpoint's own"
    parser.add_argument("--steps", type=_numbers(int), metavar="A,B,C", help=f"steps of each stage, {own}")
    parser.add_argument("--guidance", type=float, metavar="SCALE", help=own)
    parser.add_argument("--boundaries", type=_numbers(float), metavar="T,T", help=own)
    parser.add_argument("--card", metavar="FILE", help="write the figures into a model card")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def run(arguments: argparse.Namespace, console: Console):
    if arguments.songs < 1:
        raise UserError(f"--songs: got {arguments.songs}, expected at least 1")
    target = check_destination(arguments.card) if arguments.card else None
    from ..band.soundfont import find_soundfont, open_soundfont
    from ..evaluation.embedded_family import card, evaluate

    font = find_soundfont(arguments.soundfont) if arguments.soundfont else None
    if font:
        open_soundfont(font)  # a mistake is named before anything is played
    clock = Clock()
    wanted = tuple(arguments.only or GROUPS)
    settings = {name: getattr(arguments, name) for name in ("steps", "boundaries", "guidance")}
    settings = {name: value for name, value in settings.items() if value is not None}
    figures = evaluate(arguments.models, arguments.songs, SECONDS, wanted, settings, console, font)
    console.note(f"measured in {clock.seconds:.0f} s")
    if arguments.json:
        console.result(json.dumps(figures))
    else:
        for name, value in figures.items():
            console.result(f"{name:<44} {value if isinstance(value, str | int) else format(value, '.4g')}")
    if target:
        write_whole(target, card(figures).encode())


def _numbers(kind: type):
    """A parser of "8,8,8"."""

    def parse(text: str) -> tuple:
        try:
            return tuple(kind(part) for part in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected numbers such as 8,8,8") from None

    return parse
