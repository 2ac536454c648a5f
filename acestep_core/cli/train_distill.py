"""`acestep-cascade train distill`: a large stage model -> a small one that does the same on its stretch of flow time.

The same command goes on where it was stopped. Nothing is loaded before all wishes are checked.
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
from ..training.captions import band_songs, in_turn, lasting, of_a_song, read_songs
from ..training.common import begun, check_named, follow, gather, left_out_line, lone_stage, material, told
from ..training.dataset import read_dataset
from ..training.settings import BEGINNINGS, LAST_SLOT, MATCHES, OPTIMISERS, DistillSettings, Rhythm, Size

MADE_CLIPS = 64

_SETTINGS = ("steps", "learning_rate", "warm_up", "accumulate", "clip", "weight_decay", "frugal", "crop_seconds")
_SETTINGS += ("optimiser", "hold_out", "seed", "guidance", "begin", "match")
_SIZE = ("hidden", "intermediate", "layers", "heads", "kv_heads")


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.set_defaults(run=run)
    own = DistillSettings()
    parser.description = (
        "Make a small stage model of a large one: it begins as a cut of its teacher and learns to give the same "
        "velocity on its stretch of flow time, from your clips or, without a folder, from songs that the teacher "
        "makes. It keeps the teacher's condition encoder. Stop it with Ctrl-C at any moment; the same command goes on."
    )
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="clips and their captions (default: songs made)")
    parser.add_argument("--teacher", required=True, metavar="NAME", help="the stage model to learn from")
    parser.add_argument("--student", required=True, metavar="FOLDER", help="where the new stage model is written")
    songs = parser.add_argument_group("songs that the teacher makes, where no folder is given")
    songs.add_argument("--captions", metavar="FILE", help="a caption or a song as JSON a line (tiny: the band's own)")
    songs.add_argument("--made", type=int, default=MADE_CLIPS, metavar="N", help=f"how many (default {MADE_CLIPS})")
    size = parser.add_argument_group("size (default: 782 M of a published M, 1.9 M of the tiny one)")
    for name in _SIZE:
        size.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N")
    how = parser.add_argument_group("training")
    how.add_argument("--stretch", type=float, nargs=2, metavar=("FROM", "TO"), help="default: the cascade's last stage")
    how.add_argument(
        "--guidance",
        type=float,
        metavar="G",
        help="match the teacher guided so strongly, so that the student needs no second pass (default: the plain "
        "velocity with and without condition, to be guided as its teacher is)",
    )
    how.add_argument("--steps", type=int, metavar="N", help=f"default {own.steps}")
    how.add_argument("--learning-rate", type=float, metavar="R", help=f"default {own.learning_rate:g}")
    how.add_argument("--warm-up", type=int, metavar="N", help=f"steps; default {own.warm_up}")
    how.add_argument("--accumulate", type=int, metavar="N", help=f"crops in a step; default {own.accumulate}")
    how.add_argument("--clip", type=float, metavar="N", help=f"the gradient's largest norm; default {own.clip:g}")
    how.add_argument("--weight-decay", type=float, metavar="W", help=f"default {own.weight_decay:g}")
    how.add_argument("--optimiser", choices=OPTIMISERS, help="adamw (default); adamw8bit needs bitsandbytes")
    how.add_argument("--crop", dest="crop_seconds", type=float, metavar="S", help=f"default {own.crop_seconds:g} s")
    how.add_argument("--hold-out", type=float, metavar="P", help=f"share of the clips; default {own.hold_out:g}")
    how.add_argument("--seed", type=int, metavar="N", help=f"default {own.seed}")
    how.add_argument("--frugal", action="store_true", default=None, help="less memory, a third more time")
    how.add_argument("--begin", choices=BEGINNINGS, help="from a cut of the teacher (default), or from nothing")
    how.add_argument(
        "--match",
        choices=MATCHES,
        help="the teacher's velocity, the music's own, or what lies between "
        "(default: both on clips, the teacher's of a turbo or guided teacher and on songs it makes)",
    )
    every = Rhythm()
    kept = parser.add_argument_group("what is kept, in FOLDER.training")
    kept.add_argument("--save-every", type=int, default=every.save, metavar="N", help=f"default {every.save} steps")
    kept.add_argument("--keep", type=int, default=every.keep, metavar="N", help=f"checkpoints; default {every.keep}")
    kept.add_argument("--measure-every", type=int, default=every.measure, metavar="N", help=f"default {every.measure}")
    kept.add_argument("--cache", metavar="FOLDER", help="prepared clips; default FOLDER.training/cache")
    where = parser.add_argument_group("models")
    where.add_argument("--text-encoder", metavar="NAME")
    where.add_argument("--vocoder", metavar="NAME")
    where.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: the GPU where there is one)")
    where.add_argument("--dtype", choices=["fp32", "bf16"], help="to compute in and to store (default: bf16 on a GPU)")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, no notes")


def run(arguments: argparse.Namespace, console: Console):
    target = user_path(arguments.student)
    check_named(target, arguments.student, "the new model", "my-s")
    if target.is_file():
        raise UserError(f"{target}: is a file, expected a folder for the new model")
    settings = _settings(arguments)
    every = Rhythm(arguments.save_every, arguments.measure_every, 0, arguments.keep)
    dataset = read_dataset(arguments.folder) if arguments.folder else None
    from ..checkpoints.cascade_models import find_cascade
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

    # What cannot be is told before anything is loaded.
    optimiser_class(settings.optimiser)
    flow_times(found.defaults[0], settings.start, settings.end, taught=True)
    console.busy("loading models ...")
    group = ProcessGroup.of_this_process(cpu=arguments.device == "cpu")
    console.quiet = console.quiet or not group.leads
    trainer = _distiller(found, dataset or songs, target, settings, every, arguments, group, console)
    _say(trainer, console)
    follow(trainer, console)
    if group.leads:
        console.result(f"{trainer.finish(target)}  {trainer.step} steps")
    group.part()


def _settings(arguments: argparse.Namespace) -> DistillSettings:
    given = {name: getattr(arguments, name) for name in _SETTINGS if getattr(arguments, name) is not None}
    size = {name: getattr(arguments, name) for name in _SIZE if getattr(arguments, name) is not None}
    if size and len(size) < len(_SIZE):
        missing = ", ".join(f"--{name.replace('_', '-')}" for name in _SIZE if name not in size)
        raise UserError(f"size: got {', '.join(size).replace('_', ' ')} only; give {missing} too")
    if size:
        given["size"] = Size(**size)
    if arguments.stretch:
        given |= dict(zip(("start", "end"), arguments.stretch, strict=True))
    return DistillSettings(**given)


def songs_to_make(captions: str | None, count: int, variant: str, seconds: float) -> list[Song]:
    """What the teacher is asked for: songs of about so many seconds, those of a file in turn. Raises UserError."""
    if count < 1:
        raise UserError(f"--made: got {count}, expected at least 1")
    if captions is None and variant != "tiny":
        raise UserError("clips: got none; give a folder of clips, or --captions FILE of what the teacher shall make")
    if captions is None:
        return band_songs(count, of_a_song(seconds))
    return in_turn(lasting(read_songs(captions), seconds), count)


def _distiller(found, source, target: Path, settings, every, arguments, group, console: Console):
    """Everything loaded and what is learnt from prepared."""
    import torch

    from ..checkpoints.load import load_stage_model, load_text_encoder, load_vocoder
    from ..nn.dtypes import pick_device, pick_dtype
    from ..training.distillation import Distiller
    from ..training.generated_clips import generated_examples
    from ..training.prepare import Preparation

    work = target.with_name(f"{target.name}.training")
    device = torch.device(group.device or pick_device(arguments.device))
    dtype = pick_dtype(arguments.dtype or ("bf16" if device.type == "cuda" else "fp32"))
    at = {"device": device, "dtype": dtype}
    model = replace(load_stage_model(found.stages[0].path, **at), name=found.stages[0].name)
    vocoder = load_vocoder(found.vocoder.path, device=device, dtype=torch.float32)
    text = load_text_encoder(found.text.path, **at)
    cache = user_path(arguments.cache) if arguments.cache else work / "cache"
    examples = []
    if isinstance(source, list):
        frames = vocoder.latents.frames(settings.crop_seconds)
        for example in generated_examples(model, text, source, frames, settings.seed, cache):
            examples.append(example)
            console.busy(f"made song {len(examples)} of {len(source)}")
    else:
        preparation = Preparation(model, text, vocoder, cache, settings.crop_seconds)
        examples, left_out = gather(preparation, source, None, lambda number: console.busy(f"prepared clip {number}"))
        for line in (*map(left_out_line, left_out), *(f"note: {note}" for note in source.notes)):
            console.note(line)
        del preparation
    del text
    vocoder.to("cpu")
    model.condition_encoder.to("cpu")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    console.busy("cutting the teacher ...")
    return Distiller(model, examples, vocoder.latents, work, settings, dtype, every, group)


def _say(trainer, console: Console):
    settings, size = trainer.settings, trainer.settings.size
    count = sum(parameter.numel() for parameter in trainer.parameters.values())
    whole = sum(parameter.numel() for parameter in trainer.model.transformer.parameters())
    console.note(material(trainer))
    console.note(
        f"student: {count / 1e6:.1f} M of the {whole / 1e6:.1f} M parameters of {trainer.model.name}: hidden "
        f"{size.hidden}, intermediate {size.intermediate}, {size.layers} layers, {size.heads}/{size.kv_heads} heads; "
        f"flow times {settings.start:g} to {settings.end:g}"
    )
    left = settings.steps - trainer.step
    about = f"; about {told(left * trainer.seconds_of_a_step(Clock))}" if left else ""
    console.note(f"training: {begun(trainer)}{about}")
