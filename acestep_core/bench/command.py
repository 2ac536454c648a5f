"""Ratios of this library to diffusers' own modules: steps of a transformer, decodes of the vocoder, whole songs.

Both sides use the same weights, random ones of the published geometry: the transformers' widths with few of their
layers (all are alike), and the whole vocoder. A ratio above 1 says how many times as fast this library is; it says so
of any machine, which seconds do not.
"""

import argparse
import gc
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import Console
from ..errors import UserError
from ..torchaudio_door import settle_torchaudio

if TYPE_CHECKING:
    import torch

    from .ratio import Ratio

# Seconds of a song: those measured in any case, and those added by --full.
STEP_SECONDS = {"2B": ((30.0, 240.0), (600.0,)), "XL": ((), (30.0, 240.0))}
VOCODER_SECONDS = ((10.0,), (60.0,))
SONG_SECONDS = ((30.0,), ())
NATIVE_SECONDS = ((30.0,), (240.0,))
LAYERS, SONG_LAYERS = 2, 4
KINDS = ("steps", "vocoder", "songs")


def add_arguments(parser: argparse.ArgumentParser):
    parser.description = "Ratios of speed against diffusers' own modules at equal weights."
    parser.add_argument("--only", action="append", choices=KINDS, help="repeatable; default: all")
    parser.add_argument("--device", metavar="NAME", help="default: the GPU where there is one")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], action="append", help="default: both")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="of each side (default 5); medians count")
    parser.add_argument(
        "--layers", type=int, metavar="N", help=f"of the transformer (default {LAYERS}, for songs {SONG_LAYERS})"
    )
    parser.add_argument(
        "--no-grad",
        action="store_true",
        help="in torch.no_grad instead of torch.inference_mode, in which ComfyUI and most servers run everything",
    )
    parser.add_argument("--comfyui", metavar="FOLDER", help="also against the ACE-Step model of the ComfyUI there")
    parser.add_argument("--full", action="store_true", help="longer songs and the XL width too; takes many minutes")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each ratio")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def run(arguments: argparse.Namespace, console: Console):
    layers = LAYERS if arguments.layers is None else arguments.layers
    if arguments.repeats < 1 or layers < 1:
        raise UserError(f"--repeats, --layers: got {arguments.repeats}, {layers}, expected at least 1")
    import torch

    from ..generate import pick_device

    settle_torchaudio()
    from diffusers.utils import logging

    logging.set_verbosity_error()  # it warns of casts that change nothing here
    device = pick_device(arguments.device)
    if arguments.comfyui:
        from .native import check_folder

        check_folder(Path(arguments.comfyui).expanduser())
    mode = torch.no_grad if arguments.no_grad else torch.inference_mode
    console.note(
        f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads, {arguments.repeats} repeats, "
        f"torch.{mode.__name__}"
    )
    for name in arguments.dtype or ["fp32", "bf16"]:
        for row in _measure(arguments, device, name, mode()):
            console.result(json.dumps(asdict(row)) if arguments.json else _shown(row))


def _measure(
    arguments: argparse.Namespace, device: "torch.device", dtype_name: str, mode: AbstractContextManager
) -> Iterator["Ratio"]:
    """A Ratio for each thing measured."""
    import torch

    from ..generate import DTYPES
    from . import pairs, published
    from .ratio import compare

    dtype, repeats, asked = DTYPES[dtype_name], arguments.repeats, arguments.only or KINDS
    layers, song_layers = arguments.layers or LAYERS, arguments.layers or SONG_LAYERS

    def lengths(of: tuple) -> tuple[float, ...]:
        return (*of[0], *(of[1] if arguments.full else ()))

    with mode:
        for width, of in STEP_SECONDS.items():
            if "steps" not in asked or not lengths(of):
                continue
            network = published.transformer(width, layers, device, dtype)
            for seconds in lengths(of):
                sides = pairs.steps(network, seconds, device, dtype)
                yield compare(f"{width} step, {seconds:g} s", dtype_name, *sides, repeats)
            del network, sides
            gc.collect()
        for seconds in lengths(VOCODER_SECONDS) if "vocoder" in asked else ():
            yield compare(f"vocoder, {seconds:g} s", dtype_name, *pairs.decodes(seconds, device, dtype), repeats)
            if dtype != torch.float32:
                sides = pairs.decodes(seconds, device, dtype, torch.float32)
                yield compare(f"vocoder, {seconds:g} s", f"{dtype_name}/fp32", *sides, repeats)
        for seconds in lengths(SONG_SECONDS) if "songs" in asked else ():
            for changed in (True, False):
                sides = pairs.songs(seconds, song_layers, device, dtype, changed)
                name = f"song, {seconds:g} s" if changed else f"its next seed, {seconds:g} s"
                yield compare(name, dtype_name, *sides, repeats, same=False)
        if arguments.comfyui and "steps" in asked:
            yield from _against_comfyui(arguments, lengths(NATIVE_SECONDS), device, dtype_name, layers)


def _against_comfyui(
    arguments: argparse.Namespace, lengths: tuple[float, ...], device: "torch.device", dtype_name: str, layers: int
) -> Iterator["Ratio"]:
    from ..generate import DTYPES
    from .native import Native, extrapolated
    from .ratio import compare

    dtype, repeats = DTYPES[dtype_name], arguments.repeats
    native = Native.build(Path(arguments.comfyui).expanduser(), layers, device, dtype)
    for seconds in lengths:
        sides = native.decoder(seconds, device, dtype)
        decoder = compare(f"decoder, {seconds:g} s", dtype_name, *sides, repeats, of="ComfyUI")
        sides = native.step(seconds, device, dtype)
        step = compare(f"step, {seconds:g} s", dtype_name, *sides, repeats, of="ComfyUI", same=False)
        yield from (decoder, step, extrapolated(step, decoder, layers))


def _shown(row: "Ratio") -> str:
    differs = "" if row.max_difference is None else f"; differs by {row.max_difference:.1e}"
    return (
        f"{row.name:<20} {row.dtype:<9} {row.ratio:5.2f} x as fast  "
        f"({row.ours_seconds:.3f} s, {row.theirs} {row.theirs_seconds:.3f} s{differs})"
    )
