"""The recipe of the embedded tiny family: clips of the band → vocoder → text encoder → transformers L, M, S.

`acestep-cascade train tiny` runs it. No torch is imported here: `--help` must answer at once.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError

_PHASES = ("vocoder", "text", "latents", "l", "m", "s", "decoder", "export")


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.set_defaults(run=run)
    parser.description = (
        "Train the embedded cascade anew, on music that a procedural band plays. Stop it at any moment; the same "
        "command goes on. Phases: " + ", ".join(_PHASES) + "."
    )
    parser.add_argument("--work", metavar="FOLDER", default="tiny-training", help="clips and checkpoints (tens of GB)")
    parser.add_argument("--out", metavar="FOLDER", default="tiny-training/tiny", help="where the family is written")
    parser.add_argument("--warm", metavar="FOLDER", help="begin from the weights of a family in this folder, once")
    parser.add_argument("--device", metavar="NAME", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--only", metavar="PHASE", action="append", choices=_PHASES, help="repeatable; default: all")
    parser.add_argument("--steps", metavar="PHASE=N", action="append", default=[], help="steps of a phase; repeatable")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU (default: all)")
    parser.add_argument("--fused", action="store_true", help="fuse the vocoder's activations; needs a C++ compiler")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def run(arguments: argparse.Namespace, console):
    steps = dict(_steps(text) for text in arguments.steps)
    if arguments.threads is not None and arguments.threads < 1:
        raise UserError(f"--threads: got {arguments.threads}, expected at least 1")
    import torch

    from ..nn.dtypes import pick_device
    from ..tiny_recipe.recipe import Recipe

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = str(pick_device(arguments.device))
    recipe = Recipe(Path(arguments.work), Path(arguments.out), device, arguments.fused, steps)
    if arguments.warm:
        from ..tiny_recipe.warm_start import warm_start

        recipe.work.mkdir(parents=True, exist_ok=True)
        warm_start(recipe.work, Path(arguments.warm))
    recipe.run(tuple(arguments.only or _PHASES), console)


def _steps(text: str) -> tuple[str, int]:
    phase, _, count = text.partition("=")
    if phase not in _PHASES or not count.isdecimal() or int(count) < 1:
        raise UserError(
            f"--steps: got {text!r}, expected PHASE=N with PHASE one of {', '.join(_PHASES)} and N at least 1"
        )
    return phase, int(count)
