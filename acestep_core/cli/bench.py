"""Ratios of this library to diffusers' own modules: steps of a transformer, decodes of the vocoder, whole songs.

Both sides use the same weights, random ones of the published geometry: the transformers' widths with few of their
layers (all are alike), and the whole vocoder. A ratio above 1 says how many times as fast this library is; it says so
of any machine, which seconds do not. Each side runs in a process of its own, as each would on its own.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from ..console import Console
from ..errors import UserError
from ..system.folders import user_path
from .parser import add_commands

if TYPE_CHECKING:
    from ..bench.ratio import Ratio

# Seconds of a song: those measured in any case, and those added by --full.
STEP_SECONDS = {"2B": ((30.0, 240.0), (600.0,)), "XL": ((), (30.0, 240.0)), "S": ((), (30.0, 240.0))}
VOCODER_SECONDS = ((10.0,), (60.0,))
SONG_SECONDS = ((30.0,), (120.0, 240.0, 600.0))
NATIVE_SECONDS = ((30.0,), (240.0,))
LEARN_SECONDS = {"2B": (60.0,), "XL": (60.0,)}
LAYERS, SONG_LAYERS = 2, 4  # on a CPU
# What songs are made by: all take eight steps in all, theirs always with the 2B alone.
CASCADES = {"M": ("2B",), "M → S": ("2B", "S"), "L → M → S": ("XL", "2B", "S")}
KINDS = ("steps", "vocoder", "songs", "cascades", "training")
USUAL = KINDS[:3]
COMMANDS = {
    "tiny": ("measure the embedded cascade", "bench_tiny"),
    "lora": ("measure an adapter of it", "bench_lora"),
    "distill": ("measure a student of it", "bench_distill"),
    "loading": ("measure how files load", "bench_loading"),
}


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    chosen = next((word for word in argv if word in COMMANDS), None)
    if chosen is None:
        parser.description = "Ratios of speed against diffusers' own modules at equal weights."
        _add_options(parser)
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(metavar="|".join(COMMANDS))
    add_commands(actions, COMMANDS, argv[argv.index(chosen) :] if chosen else ())


def _add_options(parser: argparse.ArgumentParser):
    parser.add_argument(
        "--only",
        action="append",
        choices=KINDS,
        help=f"repeatable; default: {', '.join(USUAL)}; --full adds the others",
    )
    parser.add_argument("--device", metavar="NAME", help="default: the GPU where there is one")
    parser.add_argument(
        "--dtype", choices=["fp32", "bf16"], action="append", help="default: both, of those the device has"
    )
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="of each side (default 5); medians count")
    parser.add_argument(
        "--layers",
        metavar="N",
        help=f"of each transformer, or all as published (default: all on a GPU, else {LAYERS}, {SONG_LAYERS} in songs)",
    )
    parser.add_argument(
        "--seconds", type=float, action="append", metavar="N", help="repeatable; instead of all lengths"
    )
    parser.add_argument("--full", action="store_true", help="longer songs and other widths too; takes many minutes")
    parser.add_argument(
        "--no-grad",
        action="store_true",
        help="in torch.no_grad instead of torch.inference_mode, in which ComfyUI and most servers run everything",
    )
    parser.add_argument("--comfyui", metavar="FOLDER", help="also against the ACE-Step model of the ComfyUI there")
    parser.add_argument(
        "--one-process", action="store_true", help="both sides in this process, where both keep freed memory"
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each ratio")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def run(arguments: argparse.Namespace, console: Console):
    if arguments.repeats < 1:
        raise UserError(f"--repeats: got {arguments.repeats}, expected at least 1")
    for seconds in arguments.seconds or ():
        if not 0 < seconds < float("inf"):
            raise UserError(f"--seconds: got {seconds:g}, expected a positive number")
    _layers(arguments.layers, None)  # a mistake is told before torch is imported
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
        console.note(f"{device} has no instructions for bf16, so that is measured only where --dtype bf16 asks for it")
    for dtype in arguments.dtype or (["fp32", "bf16"] if computes(device, torch.bfloat16) else ["fp32"]):
        for row in _measure(arguments, device, dtype, mode, layers, song_layers):
            console.result(json.dumps(asdict(row)) if arguments.json else _shown(row))


def _layers(told: str | None, default: int | None) -> int | None:
    """None for all."""
    if told == "all":
        return None
    if told is not None and not (told.isdecimal() and int(told)):
        raise UserError(f"--layers: got {told}, expected all or a whole number of at least 1")
    return default if told is None else int(told)


def _measure(arguments, device, dtype_name: str, mode: str, layers: int | None, song_layers: int | None):
    """A Ratio for each thing measured."""
    import torch

    from ..bench import pairs
    from ..bench.contender import Apart, Here
    from ..bench.ratio import compare
    from ..nn.dtypes import DTYPES

    dtype, asked = DTYPES[dtype_name], arguments.only or (KINDS if arguments.full else USUAL)
    place = Here if arguments.one_process else Apart

    def row(name: str, make, dtypes: str = dtype_name, **how) -> "Ratio":
        return compare(name, dtypes, make, arguments.repeats, (device, dtype, mode), place=place, **how)

    def lengths(of: tuple) -> tuple[float, ...]:
        wanted = (*of[0], *(of[1] if arguments.full else ()))
        return tuple(arguments.seconds or ()) if arguments.seconds and wanted else wanted

    for width, of in STEP_SECONDS.items() if "steps" in asked else ():
        for seconds in lengths(of):
            yield row(f"{width} step, {seconds:g} s", partial(pairs.step, width, layers, seconds, device, dtype))
    for seconds in lengths(VOCODER_SECONDS) if "vocoder" in asked else ():
        for theirs in dict.fromkeys((dtype, torch.float32)):
            dtypes = dtype_name if theirs == dtype else f"{dtype_name}/fp32"
            yield row(f"vocoder, {seconds:g} s", partial(pairs.decode, seconds, device, dtype, theirs), dtypes)
    for name, widths in CASCADES.items():
        kind = "songs" if len(widths) == 1 else "cascades"
        for seconds in lengths(SONG_SECONDS) if kind in asked else ():
            for changed in (True, False):
                make = partial(pairs.song, widths, seconds, song_layers, device, dtype, changed)
                yield row(f"{name} {'song' if changed else 'next seed'}, {seconds:g} s", make, same=False)
    for width, of in LEARN_SECONDS.items() if "training" in asked else ():
        for seconds in arguments.seconds or of:
            yield row(f"{width} LoRA, {seconds:g} s", partial(pairs.learn, width, layers, seconds, device, dtype))
    if arguments.comfyui and "steps" in asked:
        yield from _against_comfyui(arguments, lengths(NATIVE_SECONDS), row, layers, device, dtype)


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
