"""`acestep-cascade train lora`: a folder of clips -> an adapter of one stage model.

The same command resumes a stopped training. Nothing is loaded before all options are checked.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..console import Clock, Console
from ..errors import UserError
from ..system.folders import user_path
from ..training.captions import own_songs
from ..training.dataset import read_dataset
from ..training.folders import folders
from ..training.lock import locked
from ..training.lora_course import LoraCourse, own_times
from ..training.progress import duration, outline, run_with_notes
from ..training.settings import KINDS, PRESETS, TARGETS, Intervals, LoraSettings, preset
from .train_options import (
    add_course,
    add_kept,
    add_models,
    cache_folder,
    check_named,
    check_resumable,
    given,
    work_folder,
)

_SETTINGS = (
    *("rank", "alpha", "dropout", "targets", "kind", "steps", "learning_rate", "warm_up", "accumulate"),
    *("clip", "weight_decay", "optimiser", "gradient_checkpointing", "crop_seconds", "hold_out"),
    *("all_times", "seed", "preserve"),
)


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.set_defaults(run=run)
    own = LoraSettings()
    parser.description = (
        "Train a LoRA on a folder of clips with labels: song.wav with song.txt or song.json beside it, or one table "
        "for all (CSV, JSONL, dataset.json). Stop it with Ctrl-C at any moment; the same command resumes it."
    )
    parser.add_argument("folder", metavar="FOLDER", help="clips and their labels")
    parser.add_argument("-o", "--output", required=True, metavar="ADAPTER", help="a folder (PEFT) or a .safetensors")
    parser.add_argument("--model", required=True, metavar="NAME", help="the stage model to adapt: a name, file, folder")
    parser.add_argument("--trigger", metavar="WORD", help="a word that every caption begins with")
    parser.add_argument(
        "--vram",
        type=int,
        metavar="GB",
        help=f"rank, crop and gradient checkpointing for {', '.join(map(str, PRESETS))} GB; other options override it",
    )
    _add_adapter(parser.add_argument_group("adapter"), own)
    _add_training(parser.add_argument_group("training"), own)
    kept = parser.add_argument_group("files in ADAPTER.training")
    add_kept(kept, Intervals(), "ADAPTER")
    kept.add_argument(
        "--preview-every",
        type=int,
        default=Intervals.preview,
        metavar="N",
        help="steps between previews: one song with the adapter and without; default never",
    )
    add_models(
        parser.add_argument_group("models"),
        "number format of the base; default: the files' own, bf16 only on a device that computes in it",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, no notes")


def _add_adapter(group: "argparse._ArgumentGroup", default: LoraSettings):
    group.add_argument(
        "--kind",
        choices=tuple(KINDS),
        help="lora (default); dora trains magnitudes too; lokr is the smallest and needs a higher learning rate",
    )
    group.add_argument("--rank", type=int, metavar="N", help=f"default {default.rank}")
    group.add_argument("--alpha", type=float, metavar="A", help="default: the rank, which is scale 1")
    group.add_argument("--dropout", type=float, metavar="P", help=f"default {default.dropout:g}")
    group.add_argument(
        "--targets",
        type=_names,
        metavar="A,B",
        help=f"layers to adapt, from {','.join(TARGETS)}; default {','.join(default.targets)}",
    )


def _add_training(group: "argparse._ArgumentGroup", default: LoraSettings):
    add_course(group, default)
    group.add_argument(
        "--stretch",
        type=float,
        nargs=2,
        metavar=("FROM", "TO"),
        help="the flow times to train at, 1 to 0; default: those of the model's slot in its cascade",
    )
    group.add_argument(
        "--all-times",
        action="store_true",
        default=None,
        help="train a turbo model at all its 20 times, for shift 1 and 2 too; default: the 8 of its own schedule",
    )
    group.add_argument(
        "--preserve",
        type=float,
        metavar="P",
        help="share of the crops, such as 0.25, from songs that the model made itself, at which the adapter is trained "
        f"to change nothing, so that other styles stay as they are; default {default.preserve:g}",
    )
    group.add_argument(
        "--preserve-captions",
        metavar="FILE",
        help="captions of these songs: one caption, or one song as JSON, in each line; default: many styles",
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def run(arguments: argparse.Namespace, console: Console):
    target = _target(arguments.output)
    options = given(arguments, _SETTINGS)
    if arguments.stretch:
        options |= dict(zip(("start", "end"), arguments.stretch, strict=True))
    intervals = Intervals(arguments.save_every, arguments.measure_every, arguments.preview_every, arguments.keep)
    settings = preset(arguments.vram, **options) if arguments.vram is not None else LoraSettings(**options)
    check_resumable(target, settings.steps)
    dataset = read_dataset(arguments.folder, arguments.trigger)
    from ..checkpoints.cascade_models import find_cascade, lone_stage

    found = find_cascade(arguments.model, text=arguments.text_encoder, vocoder=arguments.vocoder)
    lone_stage(found, "model", arguments.model)
    if not arguments.stretch:
        settings = own_times(settings, found)
    songs = _songs_to_make(arguments, settings, found.defaults[0].variant)
    work, at = work_folder(target), {"device": arguments.device, "dtype": arguments.dtype}
    cache = cache_folder(arguments, work)
    course = LoraCourse(found, dataset, settings, intervals, work, cache, arguments.trigger, songs, **at)
    course.check()  # before anything is loaded
    from ..training.distributed import ProcessGroup

    group = ProcessGroup.of_this_process(cpu=arguments.device == "cpu")
    console.quiet = console.quiet or not group.is_main
    with locked(work, group.is_main):
        trainer = _begun(course, group, console)
        run_with_notes(trainer, console)
        if group.is_main:
            console.result(f"{trainer.finish(target)}  {trainer.step} steps, {_best(trainer)}")
        group.close()


def _target(output: str) -> Path:
    target = user_path(output)
    check_named(target, output, "the adapter", "my-style")
    if target.suffix == ".safetensors" and target.is_dir():
        raise UserError(f"{target}: is a folder, expected the name of a file")
    if target.suffix != ".safetensors" and target.is_file():
        raise UserError(f"{target}: is a file, expected a folder or a name that ends in .safetensors")
    return target


def _songs_to_make(arguments: argparse.Namespace, settings: LoraSettings, variant: str) -> list:
    """The songs that the model makes itself for prior preservation. Raises UserError."""
    if arguments.preserve_captions and not settings.preserve:
        raise UserError("--preserve-captions: got a file and no --preserve; give --preserve 0.25 too")
    return own_songs(arguments.preserve_captions, variant, settings.crop_seconds) if settings.preserve else []


def _begun(course: LoraCourse, group, console: Console):
    """The training, with all models loaded and all clips prepared, after notes on it."""
    start = course.begin(group)
    while True:
        try:
            said = next(start)
        except StopIteration as end:
            _note_outline(end.value, console)
            return end.value
        (console.note if said.stays else console.busy)(said.line)


def _note_outline(trainer, console: Console):
    *lines, training = outline(trainer)
    for line in lines:
        console.note(line)
    left = trainer.settings.steps - trainer.step
    about = f"; about {duration(left * trainer.measure_step_seconds(Clock))}" if left else ""
    console.note(f"{training}{about}")


def _best(trainer) -> str:
    best = folders(trainer.work, "best")
    return f"best on the clips held out: {best[-1]}" if best else "no clips held out"
