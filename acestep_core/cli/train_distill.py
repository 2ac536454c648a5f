"""`acestep-cascade train distill`: a large stage model -> a small one with the same velocity at its flow times.

The same command resumes a stopped training. Nothing is loaded before all options are checked.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..console import Clock, Console
from ..errors import UserError
from ..flow.stage_plan import stage_times
from ..song import Song
from ..system.folders import user_path
from ..training.captions import band_songs, in_turn, of_length, read_songs, song_length
from ..training.dataset import Dataset, read_dataset
from ..training.lock import locked
from ..training.progress import clips_line, duration, run_with_notes, steps_line
from ..training.settings import BEGINNINGS, LAST_SLOT, MATCHES, DistillSettings, Intervals, Size
from .train_options import (
    add_course,
    add_kept,
    add_models,
    cache_folder,
    check_named,
    check_resumable,
    dataset_lines,
    given,
    work_folder,
)

MADE_CLIPS = 64

_SETTINGS = (
    *("steps", "learning_rate", "warm_up", "accumulate", "clip", "weight_decay", "gradient_checkpointing"),
    *("crop_seconds", "optimiser", "hold_out", "seed", "guidance", "begin", "match"),
)
_SIZE = ("hidden", "intermediate", "layers", "heads", "kv_heads")


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.set_defaults(run=run)
    parser.description = (
        "Make a small stage model of a large one: it begins as its teacher, pruned, and is trained to give the same "
        "velocity at its flow times, on your clips or, without a folder, on songs that the teacher makes. It keeps the "
        "teacher's condition encoder. Stop it with Ctrl-C at any moment; the same command resumes it."
    )
    parser.add_argument(
        "folder", nargs="?", metavar="FOLDER", help="clips and their labels (default: songs that the teacher makes)"
    )
    parser.add_argument("--teacher", required=True, metavar="NAME", help="the stage model to distil")
    parser.add_argument("--student", required=True, metavar="FOLDER", help="where the new stage model is written")
    songs = parser.add_argument_group("songs that the teacher makes, where no folder is given")
    songs.add_argument(
        "--captions", metavar="FILE", help="one caption, or one song as JSON, in each line (not needed for tiny)"
    )
    songs.add_argument(
        "--made", type=int, default=MADE_CLIPS, metavar="N", help=f"number of songs (default {MADE_CLIPS})"
    )
    size = parser.add_argument_group("size (default: 782 M of a published M, 1.9 M of the tiny one)")
    for name in _SIZE:
        size.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N")
    _add_training(parser.add_argument_group("training"))
    add_kept(parser.add_argument_group("files in FOLDER.training"), Intervals(), "FOLDER")
    add_models(
        parser.add_argument_group("models"),
        "number format of computations and of the saved student (default: bf16 on a GPU)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, no notes")


def _add_training(group: "argparse._ArgumentGroup"):
    add_course(group, DistillSettings())
    group.add_argument(
        "--stretch",
        type=float,
        nargs=2,
        metavar=("FROM", "TO"),
        help="the flow times to train at (default: those of the cascade's last stage)",
    )
    group.add_argument(
        "--guidance",
        type=float,
        metavar="G",
        help="match the teacher guided at this scale, so that the student needs no second pass (default: the plain "
        "velocity with and without condition; the student is then guided as its teacher is)",
    )
    group.add_argument(
        "--begin", choices=BEGINNINGS, help="begin from the pruned teacher (default), or from random weights"
    )
    group.add_argument(
        "--match",
        choices=MATCHES,
        help="the velocity to match: the teacher's, the music's own, or one between "
        "(default: both on clips, the teacher's for a turbo or guided teacher and on songs it makes)",
    )


def run(arguments: argparse.Namespace, console: Console):
    target = user_path(arguments.student)
    check_named(target, arguments.student, "the new model", "my-s")
    if target.is_file():
        raise UserError(f"{target}: is a file, expected a folder for the new model")
    settings = _settings(arguments)
    check_resumable(target, settings.steps)
    intervals = Intervals(arguments.save_every, arguments.measure_every, 0, arguments.keep)
    dataset = read_dataset(arguments.folder) if arguments.folder else None
    from ..checkpoints.cascade_models import find_cascade, lone_stage
    from ..checkpoints.checkpoint import read_checkpoint

    found = find_cascade(arguments.teacher, text=arguments.text_encoder, vocoder=arguments.vocoder)
    teacher = lone_stage(found, "teacher", arguments.teacher)
    checkpoint = read_checkpoint(teacher.path)
    if dataset is None:
        settings = replace(settings, match=settings.match or "teacher")
    own = checkpoint.part("transformer").arguments
    settings = settings.for_teacher(own)
    settings.check_teacher(teacher.name, own, found.defaults[0])
    if not arguments.stretch:
        times = stage_times(found.defaults[0], LAST_SLOT, steps=1)
        settings = replace(settings, start=times[0], end=times[-1])
    songs = None
    if dataset is None:
        variant = checkpoint.defaults.variant
        songs = songs_to_make(arguments.captions, arguments.made, variant, settings.crop_seconds)
    from ..training.distributed import ProcessGroup
    from ..training.objective import flow_times
    from ..training.optimisers import optimiser_class

    # Both raise UserError, before anything is loaded.
    optimiser_class(settings.optimiser)
    flow_times(found.defaults[0], settings.start, settings.end, all_times=True)
    group = ProcessGroup.of_this_process(cpu=arguments.device == "cpu")
    console.quiet = console.quiet or not group.is_main
    with locked(work_folder(target), group.is_main):
        console.busy("loading models ...")
        trainer = _distiller(found, dataset or songs, target, settings, intervals, arguments, group, console)
        _note_outline(trainer, console)
        run_with_notes(trainer, console)
        if group.is_main:
            console.result(f"{trainer.finish(target)}  {trainer.step} steps")
        group.close()


def _settings(arguments: argparse.Namespace) -> DistillSettings:
    options, size = given(arguments, _SETTINGS), given(arguments, _SIZE)
    if size and len(size) < len(_SIZE):
        missing = ", ".join(f"--{name.replace('_', '-')}" for name in _SIZE if name not in size)
        raise UserError(f"size: got {', '.join(size).replace('_', ' ')} only; give {missing} too")
    if size:
        options["size"] = Size(**size)
    if arguments.stretch:
        options |= dict(zip(("start", "end"), arguments.stretch, strict=True))
    return DistillSettings(**options)


def songs_to_make(captions: str | None, count: int, variant: str, seconds: float) -> list[Song]:
    """`count` songs for the teacher to make, of about so many seconds, from a file or the band. Raises UserError."""
    if count < 1:
        raise UserError(f"--made: got {count}, expected at least 1")
    if captions is None and variant != "tiny":
        raise UserError("clips: got none; give a folder of clips, or --captions FILE for songs that the teacher makes")
    if captions is None:
        return band_songs(count, song_length(seconds))
    return in_turn(of_length(read_songs(captions), seconds), count)


def _distiller(found, source, target: Path, settings, intervals, arguments, group, console: Console):
    """The training, with all models loaded and all examples prepared."""
    import torch

    from ..checkpoints.load import load_stage_model, load_text_encoder, load_vocoder
    from ..nn.dtypes import pick_device, pick_dtype
    from ..training.distillation import Distiller

    work = work_folder(target)
    device = torch.device(group.device or pick_device(arguments.device))
    dtype = pick_dtype(arguments.dtype or ("bf16" if device.type == "cuda" else "fp32"))
    at = {"device": device, "dtype": dtype}
    model = replace(load_stage_model(found.stages[0].path, **at), name=found.stages[0].name)
    vocoder = load_vocoder(found.vocoder.path, device=device, dtype=torch.float32)
    text = load_text_encoder(found.text.path, **at)
    make = _prepared if isinstance(source, Dataset) else _generated
    examples = make(model, text, vocoder, source, settings, cache_folder(arguments, work), console)
    del text
    vocoder.to("cpu")
    model.condition_encoder.to("cpu")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    console.busy("pruning the teacher ...")
    return Distiller(model, examples, vocoder.latents, work, settings, dtype, intervals, group)


def _prepared(model, text, vocoder, dataset: Dataset, settings, cache: Path, console: Console) -> list:
    """Examples of clips."""
    from ..training.prepare import Preparation, prepare_examples

    preparation = Preparation(model, text, vocoder, cache, settings.crop_seconds)
    examples, left_out = prepare_examples(
        preparation, dataset, None, lambda number: console.busy(f"prepared clip {number}")
    )
    for line in dataset_lines(dataset, left_out):
        console.note(line)
    return examples


def _generated(model, text, vocoder, songs: list[Song], settings, cache: Path, console: Console) -> list:
    """Examples that the teacher makes."""
    from ..training.generated_clips import generated_examples

    frames, examples = vocoder.latents.frames(settings.crop_seconds), []
    for example in generated_examples(model, text, songs, frames, settings.seed, cache):
        examples.append(example)
        console.busy(f"made song {len(examples)} of {len(songs)}")
    return examples


def _note_outline(trainer, console: Console):
    settings, size = trainer.settings, trainer.settings.size
    count = sum(parameter.numel() for parameter in trainer.parameters.values())
    whole = sum(parameter.numel() for parameter in trainer.model.transformer.parameters())
    console.note(clips_line(trainer))
    console.note(
        f"student: {count / 1e6:.1f} M of the {whole / 1e6:.1f} M parameters of {trainer.model.name}: hidden "
        f"{size.hidden}, intermediate {size.intermediate}, {size.layers} layers, {size.heads}/{size.kv_heads} heads; "
        f"flow times {settings.start:g} to {settings.end:g}"
    )
    left = settings.steps - trainer.step
    about = f"; about {duration(left * trainer.measure_step_seconds(Clock))}" if left else ""
    console.note(f"training: {steps_line(trainer)}{about}")
