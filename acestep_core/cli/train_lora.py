"""`acestep-cascade train lora`: a folder of clips -> an adapter of one stage model.

The same command goes on where it was stopped. Nothing is loaded before all wishes are checked.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..console import Clock, Console
from ..errors import UserError
from ..lora.facts import TRIGGER_WORDS
from ..system.folders import user_path
from ..training.captions import own_songs
from ..training.common import check_named, follow, gather, left_out_line, lone_stage, outline, own_stretch, told
from ..training.dataset import Dataset, read_dataset
from ..training.folders import folders
from ..training.settings import KINDS, OPTIMISERS, PRESETS, TARGETS, LoraSettings, Rhythm, preset

_SETTINGS = (
    *("rank", "alpha", "dropout", "targets", "kind", "steps", "learning_rate", "warm_up", "accumulate"),
    *("clip", "weight_decay", "optimiser", "frugal", "crop_seconds", "hold_out"),
    *("all_times", "seed", "preserve"),
)


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.set_defaults(run=run)
    own = LoraSettings()
    parser.description = (
        "Train a LoRA on a folder of clips with their words beside them: song.wav with song.txt, song.json, or one CSV "
        "or JSONL for all. Stop it with Ctrl-C at any moment; the same command goes on."
    )
    parser.add_argument("folder", metavar="FOLDER", help="clips and their captions")
    parser.add_argument("-o", "--output", required=True, metavar="ADAPTER", help="a folder (PEFT) or a .safetensors")
    parser.add_argument("--model", required=True, metavar="NAME", help="the stage model to adapt: a name, file, folder")
    parser.add_argument("--trigger", metavar="WORD", help="a word that every caption begins with")
    parser.add_argument(
        "--vram",
        type=int,
        metavar="GB",
        help=f"rank, crop and --frugal for a GPU of {', '.join(map(str, PRESETS))} GB; what is given beside it stays",
    )
    _add_adapter(parser.add_argument_group("adapter"), own)
    _add_training(parser.add_argument_group("training"), own)
    _add_kept(parser.add_argument_group("what is kept, in ADAPTER.training"), Rhythm())
    where = parser.add_argument_group("models")
    where.add_argument("--text-encoder", metavar="NAME")
    where.add_argument("--vocoder", metavar="NAME")
    where.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: the GPU where there is one)")
    where.add_argument(
        "--dtype",
        choices=["fp32", "bf16"],
        help="of the base; default: as in the files, bf16 only on a device that has it",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, no notes")


def _add_adapter(what, own: LoraSettings):
    what.add_argument(
        "--kind",
        choices=tuple(KINDS),
        help="lora (default); dora learns magnitudes too; lokr is the smallest and takes a higher learning rate",
    )
    what.add_argument("--rank", type=int, metavar="N", help=f"default {own.rank}")
    what.add_argument("--alpha", type=float, metavar="A", help="default: the rank, which is scale 1")
    what.add_argument("--dropout", type=float, metavar="P", help=f"default {own.dropout:g}")
    what.add_argument(
        "--targets", type=_names, metavar="A,B", help=f"layers: of {','.join(TARGETS)}; default {','.join(own.targets)}"
    )


def _add_training(how, own: LoraSettings):
    how.add_argument("--steps", type=int, metavar="N", help=f"default {own.steps}")
    how.add_argument("--learning-rate", type=float, metavar="R", help=f"the highest; default {own.learning_rate:g}")
    how.add_argument("--warm-up", type=int, metavar="N", help=f"steps up to it; default {own.warm_up}")
    how.add_argument("--accumulate", type=int, metavar="N", help=f"crops in a step; default {own.accumulate}")
    how.add_argument(
        "--crop",
        dest="crop_seconds",
        type=float,
        metavar="S",
        help=f"the longest stretch that is learnt at once, in whole bars; default {own.crop_seconds:g} s",
    )
    how.add_argument(
        "--optimiser",
        choices=OPTIMISERS,
        help="adamw (default); adamw8bit takes a quarter of its memory and needs bitsandbytes",
    )
    how.add_argument("--clip", type=float, metavar="N", help=f"the gradient's largest norm; default {own.clip:g}")
    how.add_argument("--weight-decay", type=float, metavar="W", help=f"default {own.weight_decay:g}")
    how.add_argument("--hold-out", type=float, metavar="P", help=f"share of the clips; default {own.hold_out:g}")
    how.add_argument(
        "--stretch", type=float, nargs=2, metavar=("FROM", "TO"), help="of flow times, 1 to 0; default the model's own"
    )
    how.add_argument(
        "--all-times",
        action="store_true",
        default=None,
        help="a turbo model learns at all 20 times it knows, for runs with shift 1 or 2 too; default its own 8",
    )
    how.add_argument(
        "--preserve",
        type=float,
        metavar="P",
        help="share of the crops, such as 0.25, that are songs of the model's own, at which it is held to what it does "
        f"without the adapter, so that other styles stay as they are; default {own.preserve:g}",
    )
    how.add_argument(
        "--preserve-captions", metavar="FILE", help="of these songs, a caption or a song as JSON a line; default many"
    )
    how.add_argument("--seed", type=int, metavar="N", help=f"default {own.seed}")
    how.add_argument("--frugal", action=argparse.BooleanOptionalAction, help="less memory, a third more time")


def _add_kept(kept, every: Rhythm):
    kept.add_argument("--save-every", type=int, default=every.save, metavar="N", help=f"default {every.save} steps")
    kept.add_argument("--keep", type=int, default=every.keep, metavar="N", help=f"checkpoints; default {every.keep}")
    kept.add_argument("--measure-every", type=int, default=every.measure, metavar="N", help=f"default {every.measure}")
    kept.add_argument(
        "--preview-every",
        type=int,
        default=every.preview,
        metavar="N",
        help="a song with and without it; default never",
    )
    kept.add_argument("--cache", metavar="FOLDER", help="prepared clips; default ADAPTER.training/cache")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def run(arguments: argparse.Namespace, console: Console):
    target = _target(arguments.output)
    given = {name: getattr(arguments, name) for name in _SETTINGS if getattr(arguments, name) is not None}
    if arguments.stretch:
        given |= dict(zip(("start", "end"), arguments.stretch, strict=True))
    every = Rhythm(arguments.save_every, arguments.measure_every, arguments.preview_every, arguments.keep)
    settings = preset(arguments.vram, **given) if arguments.vram is not None else LoraSettings(**given)
    dataset = read_dataset(arguments.folder, arguments.trigger)
    from ..checkpoints.cascade_models import find_cascade

    found = find_cascade(arguments.model, text=arguments.text_encoder, vocoder=arguments.vocoder)
    stage = lone_stage(found, "model", arguments.model)
    if not arguments.stretch:
        settings = own_stretch(settings, stage.known.slot if stage.known else "", found.defaults[0])
    if arguments.preserve_captions and not settings.preserve:
        raise UserError("--preserve-captions: got a file and no --preserve; give --preserve 0.25 too")
    wanted = ()
    if settings.preserve:
        wanted = own_songs(arguments.preserve_captions, found.defaults[0].variant, settings.crop_seconds)
    from ..training.objective import flow_times
    from ..training.optimisers import optimiser_class

    # What cannot be is told before anything is loaded.
    optimiser_class(settings.optimiser)
    flow_times(found.defaults[0], settings.start, settings.end, settings.all_times)
    console.busy("loading models ...")
    from ..training.distributed import ProcessGroup

    group = ProcessGroup.of_this_process(cpu=arguments.device == "cpu")
    console.quiet = console.quiet or not group.leads
    trainer = _trainer(found, dataset, wanted, target, settings, every, arguments, group, console)
    follow(trainer, console)
    if group.leads:
        console.result(f"{trainer.finish(target)}  {trainer.step} steps, {_best(trainer)}")
    group.part()


def _target(output: str) -> Path:
    target = user_path(output)
    check_named(target, output, "the adapter", "my-style")
    if target.suffix == ".safetensors" and target.is_dir():
        raise UserError(f"{target}: is a folder, expected the name of a file")
    if target.suffix != ".safetensors" and target.is_file():
        raise UserError(f"{target}: is a file, expected a folder or a name that ends in .safetensors")
    return target


def _trainer(found, dataset: Dataset, wanted, target: Path, settings, every, arguments, group, console: Console):
    """Everything loaded, the clips prepared, and said what will be done."""
    import torch

    from ..checkpoints.load import load_stage_model, load_text_encoder, load_vocoder
    from ..nn.dtypes import pick_device, pick_dtype, suitable_dtype
    from ..training.loop import shown_piece
    from ..training.lora import Trainer
    from ..training.prepare import Preparation
    from ..training.preview import Fellows, fellows_of

    work = target.with_name(f"{target.name}.training")
    device = torch.device(group.device or pick_device(arguments.device))
    at = {"device": device, "dtype": suitable_dtype(device, pick_dtype(arguments.dtype))}
    model = replace(load_stage_model(found.stages[0].path, **at), name=found.stages[0].name)
    model.transformer.to("cpu")  # so that the others have a small device's memory for themselves
    vocoder = load_vocoder(found.vocoder.path, device=device, dtype=torch.float32)
    text = load_text_encoder(found.text.path, **at)
    cache = user_path(arguments.cache) if arguments.cache else work / "cache"
    preparation = Preparation(model, text, vocoder, cache, settings.crop_seconds)
    examples = _pieces(preparation, dataset, arguments.trigger, console)
    # Only the transformer, and the vocoder where there are previews, are needed from here on.
    fellows = Fellows()
    if every.preview and group.leads:
        example = shown_piece(examples, settings)
        fellows = fellows_of(found.stages[0], found.defaults[0].boundaries, example, text, **at)
    frames = vocoder.latents.frames(settings.crop_seconds)
    songs = _own_songs(model, text, wanted, frames, settings.seed, cache, device, console) if wanted else ()
    del preparation, text
    model.condition_encoder.to("cpu")
    model.transformer.to(device)
    if not every.preview:
        vocoder.to("cpu")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trainer = Trainer(model, examples, vocoder, work, settings, every, {TRIGGER_WORDS: arguments.trigger}, group, songs)
    trainer.fellows = fellows
    _say(trainer, console)
    return trainer


def _own_songs(model, text, wanted, frames: int, seed: int, cache: Path, device, console: Console) -> list:
    """Pieces that the model makes by itself, for which the whole of it is on the device."""
    from ..training.generated_clips import generated_examples

    model.transformer.to(device)
    songs = []
    for song in generated_examples(model, text, wanted, frames, seed, cache):
        songs.append(song)
        console.busy(f"made song {len(songs)} of {len(wanted)} of the model's own")
    return songs


def _pieces(preparation, dataset: Dataset, trigger: str | None, console: Console) -> list:
    of = len(dataset.clips)
    examples, left_out = gather(
        preparation, dataset, trigger, lambda number: console.busy(f"prepared clip {number} of {of}")
    )
    for left in left_out:
        console.note(left_out_line(left))
    for note in dataset.notes:
        console.note(f"note: {note}")
    return examples


def _say(trainer, console: Console):
    *lines, training = outline(trainer)
    for line in lines:
        console.note(line)
    left = trainer.settings.steps - trainer.step
    about = f"; about {told(left * trainer.seconds_of_a_step(Clock))}" if left else ""
    console.note(f"{training}{about}")


def _best(trainer) -> str:
    best = folders(trainer.work, "best")
    return f"best on the clips held out: {best[-1]}" if best else "no clips held out"
