"""`acestep-cascade understand`: describes an audio file in words."""

import argparse
from collections.abc import Sequence

from ..console import Console
from ..system.files import existing
from .planning import add_planner, run


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.description = "Describe music: caption, lyrics, tempo, key, metre and language."
    parser.set_defaults(run=understand)
    parser.add_argument("file", metavar="FILE", help="an audio file")
    parser.add_argument(
        "--models",
        metavar="NAME",
        help="models with an audio tokenizer, of the planner's family (default: published, or tiny with tiny-planner)",
    )
    add_planner(parser)


def understand(arguments: argparse.Namespace, console: Console):
    existing(arguments.file)
    from ..checkpoints.cascade_models import find_cascade
    from ..generation.planning import cascade_for

    models = find_cascade(arguments.models or cascade_for(arguments.planner))

    def request():
        from .. import audio
        from ..nn.dtypes import pick_device
        from ..planner.audio_codes import question_of_audio
        from ..spec import MAX_SECONDS

        wave = audio.read(arguments.file, MAX_SECONDS)
        return question_of_audio(wave, models, pick_device(arguments.device), arguments.file)

    run(arguments, console, request)
