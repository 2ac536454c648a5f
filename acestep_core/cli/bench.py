"""`acestep-cascade bench`: the speed of this library as a ratio to diffusers' own modules, on the same machine.

Measured are steps of a transformer, decodes of the vocoder and whole songs; on request edits, cascades, steps of a
training, and codes of a planner. Both sides have the same random weights of the published geometry: the transformers'
widths with few of their layers (all are alike), and the whole vocoder. At a ratio of 2 this library is twice as fast.
Each side runs in a process of its own, so that neither's memory helps the other.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from ..console import Console
from ..errors import UserError
from ..spec import TRAINING_DTYPE_NAMES as BENCH_DTYPES
from ..system.folders import user_path
from .parser import add_commands

if TYPE_CHECKING:
    from ..bench.ratio import Ratio

# Seconds of a song: those always measured, and those that --full adds.
STEP_SECONDS = {"2B": ((30.0, 240.0), (600.0,)), "XL": ((), (30.0, 240.0)), "S": ((), (30.0, 240.0))}
VOCODER_SECONDS = ((10.0,), (60.0,))
SONG_SECONDS = ((30.0,), (120.0, 240.0, 600.0))
EDIT_SECONDS = ((30.0,), ())
NATIVE_SECONDS = ((30.0,), (240.0,))
PLANNER_SECONDS = ((10.0,), (60.0,))
LEARN_SECONDS = {"2B": (60.0,), "XL": (60.0,)}
TOGETHER = ((4, 10.0),)  # crops, and seconds of each
LEARN_RANKS, LEARN_CROPS = (16, 64), 4  # of a whole step of the 2B
LEARN_STEP_SECONDS = {"cuda": 60.0}  # of each crop; elsewhere as long as those of TOGETHER
LAYERS, SONG_LAYERS = 2, 4  # on a CPU; a planner has as many as a song
# Models of the songs: each song takes eight steps in all; diffusers' songs are made by the 2B alone.
CASCADES = {"M": ("2B",), "M → S": ("2B", "S"), "L → M → S": ("XL", "2B", "S")}
KINDS = ("steps", "vocoder", "songs", "edits", "cascades", "training", "planner")
USUAL = KINDS[:3]
COMMANDS = {
    "tiny": ("measure the quality of the embedded cascade", "bench_tiny"),
    "lora": ("train an adapter of it and measure the adapter", "bench_lora"),
    "distill": ("distill a stage of it and measure the student", "bench_distill"),
    "loading": ("measure how fast model files load", "bench_loading"),
    "cluster": ("compare workers of a Ray cluster on this machine with one process", "bench_cluster"),
    "cards": ("reckon songs and trainings on graphics cards from 8 to 80 GB", "bench_cards"),
}


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    chosen = next((word for word in argv if word in COMMANDS), None)
    if chosen is None:
        parser.description = (
            "Compare the speed of this library with that of diffusers' own modules, transformers and ComfyUI, at equal "
            "weights."
        )
        _add_options(parser)
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(metavar="|".join(COMMANDS))
    add_commands(actions, COMMANDS, argv[argv.index(chosen) :] if chosen else ())


def _add_options(parser: argparse.ArgumentParser):
    parser.add_argument(
        "--only",
        action="append",
        choices=KINDS,
        help=f"what to measure; repeatable (default: {', '.join(USUAL)}; with --full all)",
    )
    parser.add_argument("--device", metavar="NAME", help="default: a GPU if there is one")
    parser.add_argument(
        "--dtype", choices=BENCH_DTYPES, action="append", help="repeatable (default: each that the device computes in)"
    )
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="runs of each side, of which the median counts (default 5)"
    )
    parser.add_argument(
        "--layers",
        metavar="N",
        help=f"layers of each transformer, or all (default: all on a GPU, else {LAYERS}, and {SONG_LAYERS} in songs)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        action="append",
        metavar="N",
        help="length of the music; repeatable (default: several lengths)",
    )
    parser.add_argument("--full", action="store_true", help="longer songs and all widths too; takes many minutes")
    parser.add_argument(
        "--no-grad",
        action="store_true",
        help="under torch.no_grad (default: torch.inference_mode, as in ComfyUI and most servers)",
    )
    parser.add_argument(
        "--comfyui", metavar="FOLDER", help="compare with the ACE-Step models of the ComfyUI in this folder too"
    )
    parser.add_argument(
        "--one-process", action="store_true", help="run both sides in this process, in which both keep freed memory"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON for each ratio")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def run(arguments: argparse.Namespace, console: Console):
    if arguments.repeats < 1:
        raise UserError(f"--repeats: got {arguments.repeats}, expected at least 1")
    for seconds in arguments.seconds or ():
        if not 0 < seconds < float("inf"):
            raise UserError(f"--seconds: got {seconds:g}, expected a positive number")
    _layers(arguments.layers, None)  # a mistake is an error before torch is imported
    if arguments.comfyui:
        from ..bench.native import check_folder

        check_folder(user_path(arguments.comfyui))
    import torch

    from ..nn.dtypes import computes, pick_device

    device, mode = pick_device(arguments.device), "no_grad" if arguments.no_grad else "inference_mode"
    few = (None, None) if device.type == "cuda" else (LAYERS, SONG_LAYERS)
    layers, song_layers = (_layers(arguments.layers, default) for default in few)
    console.note(
        f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads, {arguments.repeats} repeats, "
        f"torch.{mode}"
    )
    if not computes(device, torch.bfloat16):
        console.note(f"{device} has no instructions for bf16, so bf16 is measured only with --dtype bf16")
    for dtype in arguments.dtype or (BENCH_DTYPES if computes(device, torch.bfloat16) else BENCH_DTYPES[:1]):
        for row in _measure(arguments, device, dtype, mode, layers, song_layers):
            console.result(json.dumps(asdict(row)) if arguments.json else _shown(row))


def _layers(given: str | None, default: int | None) -> int | None:
    """None for all."""
    if given == "all":
        return None
    if given is not None and not (given.isdecimal() and int(given)):
        raise UserError(f"--layers: got {given}, expected all or a whole number of at least 1")
    return default if given is None else int(given)


def _measure(arguments, device, dtype_name: str, mode: str, layers: int | None, song_layers: int | None):
    """A Ratio for each thing measured."""
    import torch

    from ..bench import pairs, songs
    from ..bench.contender import Apart, Here
    from ..bench.ratio import compare
    from ..nn.dtypes import DTYPES

    dtype, kinds = DTYPES[dtype_name], arguments.only or (KINDS if arguments.full else USUAL)
    place = Here if arguments.one_process else Apart

    def row(name: str, make, dtypes: str = dtype_name, **how) -> "Ratio":
        return compare(name, dtypes, make, arguments.repeats, (device, dtype, mode), place=place, **how)

    def lengths(of: tuple) -> tuple[float, ...]:
        wanted = (*of[0], *(of[1] if arguments.full else ()))
        return tuple(arguments.seconds or ()) if arguments.seconds and wanted else wanted

    for width, of in STEP_SECONDS.items() if "steps" in kinds else ():
        for seconds in lengths(of):
            yield row(f"{width} step, {seconds:g} s", partial(pairs.step, width, layers, seconds, device, dtype))
    for seconds in lengths(VOCODER_SECONDS) if "vocoder" in kinds else ():
        for theirs in dict.fromkeys((dtype, torch.float32)):
            dtypes = dtype_name if theirs == dtype else f"{dtype_name}/fp32"
            yield row(f"vocoder, {seconds:g} s", partial(pairs.decode, seconds, device, dtype, theirs), dtypes)
    for name, widths in CASCADES.items():
        kind = "songs" if len(widths) == 1 else "cascades"
        for seconds in lengths(SONG_SECONDS) if kind in kinds else ():
            for changed in (True, False):
                make = partial(songs.song, widths, seconds, song_layers, device, dtype, changed)
                yield row(f"{name} {'song' if changed else 'next seed'}, {seconds:g} s", make, same=False)
    for seconds in lengths(EDIT_SECONDS) if "edits" in kinds else ():
        yield row(f"encoding, {seconds:g} s", partial(pairs.encode, seconds, device, dtype))
        for task in songs.EDITS:
            make = partial(songs.edit, task, seconds, song_layers, device, dtype)
            yield row(f"{task}, {seconds:g} s", make, same=False)
    for width, of in LEARN_SECONDS.items() if "training" in kinds else ():
        for seconds in arguments.seconds or of:
            yield row(f"{width} LoRA, {seconds:g} s", partial(pairs.learn, width, layers, seconds, device, dtype))
    for width in LEARN_SECONDS if "training" in kinds else ():
        for crops, seconds in TOGETHER:
            make = partial(pairs.learn_together, width, layers, crops, seconds, device, dtype)
            yield row(f"{width} LoRA, {crops} x {seconds:g} s", make, of="one by one")
    for rank in LEARN_RANKS if "training" in kinds else ():
        for seconds in arguments.seconds or (LEARN_STEP_SECONDS.get(device.type, TOGETHER[0][1]),):
            make = partial(pairs.learn_step, "2B", layers, rank, LEARN_CROPS, seconds, device, dtype)
            yield row(f"2B LoRA step, rank {rank}, {LEARN_CROPS} x {seconds:g} s", make)
    for seconds in lengths(PLANNER_SECONDS) if "planner" in kinds else ():
        yield from _planner_rows(arguments, seconds, row, song_layers, device, dtype)
    if arguments.comfyui and "steps" in kinds:
        yield from _against_comfyui(arguments, lengths(NATIVE_SECONDS), row, layers, device, dtype)


def _planner_rows(arguments, seconds: float, row, layers: int | None, device, dtype) -> Iterator["Ratio"]:
    from ..bench import planners

    for guided in (False, True):
        name = f"{planners.WIDTH} codes, {seconds:g} s" + (", guided" if guided else "")
        make = partial(planners.against_transformers, layers, seconds, guided, device, dtype)
        yield row(name, make, of="transformers", same=False)
    if arguments.comfyui:
        folder = user_path(arguments.comfyui).resolve()
        make = partial(planners.against_comfyui, folder, layers, seconds, device, dtype)
        yield row(name, make, of="ComfyUI", same=False)


def _against_comfyui(arguments, lengths, row, layers: int | None, device, dtype) -> Iterator["Ratio"]:
    from ..bench import native, published

    folder = user_path(arguments.comfyui).resolve()
    for seconds in lengths:
        decoder = partial(native.decoder, folder, layers, seconds, device, dtype)
        step = partial(native.step, folder, layers, seconds, device, dtype)
        alone = row(f"decoder, {seconds:g} s", decoder, of="ComfyUI")
        whole = row(f"step, {seconds:g} s", step, of="ComfyUI", same=False)
        yield from (alone, whole)
        if layers is not None and layers < published.layers_of("2B"):
            yield native.extrapolated(whole, alone, layers)


def _shown(row: "Ratio") -> str:
    memory = "" if row.ours_gb is None else f"; {row.ours_gb:.1f} GB, {row.theirs} {row.theirs_gb:.1f} GB"
    work = "" if row.gflop is None else f"; {row.gflop:.0f} GFLOP at {row.share:.0%} of what the machine reaches"
    differs = "" if row.max_difference is None else f"; differs by {row.max_difference:.1e}"
    return (
        f"{row.name:<20} {row.dtype:<9} {row.ratio:5.2f} x as fast  "
        f"({row.ours_seconds:.3f} s, {row.theirs} {row.theirs_seconds:.3f} s{memory}{work}{differs})"
    )
