"""The recipe of the embedded tiny family: songs and clips of the band → vocoder → text encoder → transformers L, M, S.

`acestep-cascade train tiny` runs it. No torch is imported here: `--help` must answer at once.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError, shown
from ..system.folders import user_path

_ONLY_ASKED = ("state",)  # a phase that runs where --only names it
_PHASES = ("songs", "vocoder", "text", "latents", "clips", "codes", "planner", "l", "m", "s", "decoder", "export")
_WITH_STEPS = tuple(phase for phase in _PHASES if phase not in ("songs", "latents", "clips", "export"))
THREADS_MOST = 1024
_ONLY = (
    "repeatable; default: all but state, which writes what a training has reached into --out, in half precision, so "
    "that --warm can go on from there"
)
_SOUNDFONT = (
    "play most of the songs with sampled instruments; FILE: .sf2 or .sf3 (default: looked for where Debian has it)"
)
_BUDGET = "train for so long in all, each phase for its share, and keep a state in --out's folder state every minute"
_FORGET = "delete the sounds of songs whose latents are there; the vocoder learns from those that are left"


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.set_defaults(run=run)
    parser.description = (
        "Train the embedded cascade anew, on music that a procedural band plays. Stop it at any moment; the same "
        "command goes on. Phases: " + ", ".join(_PHASES) + "."
    )
    parser.add_argument("--work", metavar="FOLDER", default="tiny-training", help="songs and checkpoints (tens of GB)")
    parser.add_argument("--out", metavar="FOLDER", default="tiny-training/tiny", help="where the family is written")
    parser.add_argument("--warm", metavar="FOLDER", help="begin from a family or a state in this folder, once")
    parser.add_argument("--device", metavar="NAME", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--only", metavar="PHASE", action="append", choices=(*_ONLY_ASKED, *_PHASES), help=_ONLY)
    parser.add_argument("--soundfont", metavar="FILE", nargs="?", const="auto", help=_SOUNDFONT)
    parser.add_argument("--songs", type=int, metavar="N", default=600, help="of the phase songs (default 600)")
    parser.add_argument("--clips", type=int, metavar="N", default=3000, help="of the phase clips (default 3000)")
    parser.add_argument("--disk", type=float, metavar="GB", default=20.0, help="that songs may take (default 20)")
    parser.add_argument("--forget-sounds", action="store_true", help=_FORGET)
    parser.add_argument("--time-budget", type=float, metavar="MINUTES", help=_BUDGET)
    parser.add_argument("--steps", metavar="PHASE=N", action="append", default=[], help="steps of a phase; repeatable")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU (default: all)")
    parser.add_argument("--fused", action="store_true", help="fuse all but matrix products; needs a C++ compiler")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def run(arguments: argparse.Namespace, console):
    steps = dict(_steps(text) for text in arguments.steps)
    if arguments.threads is not None and not 1 <= arguments.threads <= THREADS_MOST:
        raise UserError(f"--threads: got {arguments.threads}, expected 1 to {THREADS_MOST}")
    for name in ("songs", "clips", "disk", "time_budget"):
        value = getattr(arguments, name)
        if value is not None and not value > 0:
            raise UserError(f"--{name.replace('_', '-')}: got {value:g}, expected more than 0")
    import torch

    from ..band.soundfont import find_soundfont, open_soundfont
    from ..nn.dtypes import pick_device
    from ..tiny_recipe.recipe import Recipe
    from ..tiny_recipe.songs import Order

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = str(pick_device(arguments.device))
    font = find_soundfont(arguments.soundfont) if arguments.soundfont else None
    if font:
        open_soundfont(font)  # a mistake is named before anything is played
    places = {"workers": arguments.threads, "most_bytes": arguments.disk * 1e9}
    order = Order(arguments.songs, clips=arguments.clips, **places)
    seconds = arguments.time_budget and 60 * arguments.time_budget
    folders = _folder("work", arguments.work), _folder("out", arguments.out)
    recipe = Recipe(*folders, device, arguments.fused, steps, font, order, arguments.forget_sounds, seconds)
    if arguments.warm:
        from ..tiny_recipe.warm_start import warm_start

        recipe.work.mkdir(parents=True, exist_ok=True)
        warm_start(recipe.work, user_path(arguments.warm))
    recipe.run(tuple(arguments.only or _PHASES), console)


def _folder(name: str, given: str) -> Path:
    path = user_path(given)
    if path.exists() and not path.is_dir():
        raise UserError(f"--{name}: {path} is a file, expected a folder")
    return path


def _steps(text: str) -> tuple[str, int]:
    phase, _, count = text.partition("=")
    if phase not in _WITH_STEPS or not re.fullmatch("0*[1-9][0-9]{0,8}", count):
        raise UserError(
            f"--steps: got {shown(text)}, expected PHASE=N with PHASE one of {', '.join(_WITH_STEPS)} and N at least 1"
        )
    return phase, int(count)
