"""Speed as ratios: this library against diffusers' own modules, at equal weights, in one alternating run.

Both sides use the same weights, random ones of the published geometry: the transformers' widths with few of their
layers (all are alike), and the whole vocoder. A ratio above 1 says how many times as fast this library is; it says so
of any machine, which seconds do not.
"""

import argparse
import gc
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from .console import Console
from .errors import UserError
from .spec import PUBLISHED_LATENTS
from .torchaudio_door import settle_torchaudio

# Geometry -> what differs from diffusers' defaults, which are the published 2B; seconds of a song, and with --full.
TRANSFORMERS = {
    "2B": ({}, (30.0, 240.0), (600.0,)),
    "XL": (
        {
            "hidden_size": 2560,
            "intermediate_size": 9728,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "encoder_hidden_size": 2048,
        },
        (),
        (30.0, 240.0),
    ),
}
VOCODER_SECONDS, VOCODER_SECONDS_FULL = (10.0,), (60.0,)
LAYERS = 2
CONDITION_TOKENS = 320  # lyrics, timbre and text of an ordinary song
T = 0.75
SEED = 0
VOCODER_RATIOS = (2, 4, 4, 6, 10)


@dataclass(frozen=True)
class Ratio:
    """Median seconds of both sides, how many times as fast ours is, and how far its numbers are from theirs."""

    name: str
    dtype: str
    ours_seconds: float
    diffusers_seconds: float
    ratio: float
    max_difference: float
    repeats: int


def add_arguments(parser: argparse.ArgumentParser):
    parser.description = "Ratios of speed against diffusers' own modules at equal weights."
    parser.add_argument("--device", metavar="NAME", help="default: the GPU where there is one")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], action="append", help="default: both")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="of each side (default 5); medians count")
    parser.add_argument(
        "--layers", type=int, default=LAYERS, metavar="N", help=f"of the transformer (default {LAYERS})"
    )
    parser.add_argument("--full", action="store_true", help="longer songs and the XL width too; takes many minutes")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each ratio")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def run(arguments: argparse.Namespace, console: Console):
    if arguments.repeats < 1 or arguments.layers < 1:
        raise UserError(f"--repeats, --layers: got {arguments.repeats}, {arguments.layers}, expected at least 1")
    import torch

    from .generate import pick_device

    settle_torchaudio()
    from diffusers.utils import logging

    logging.set_verbosity_error()  # it warns of casts that change nothing here
    device = pick_device(arguments.device)
    console.note(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads, {arguments.repeats} repeats")
    with torch.no_grad():
        for name in arguments.dtype or ["fp32", "bf16"]:
            for row in measure(device, name, arguments.layers, arguments.repeats, arguments.full):
                console.result(json.dumps(asdict(row)) if arguments.json else _shown(row))


def measure(device, dtype_name: str, layers: int, repeats: int, full: bool = False) -> Iterator[Ratio]:
    """A Ratio for each thing measured."""
    from .generate import DTYPES

    dtype = DTYPES[dtype_name]
    for width, (geometry, usual, longer) in TRANSFORMERS.items():
        lengths = (*usual, *longer) if full else usual
        transformer = _transformer(geometry, layers, device, dtype) if lengths else None
        for seconds in lengths:
            steps = _steps(transformer, seconds, device, dtype)
            yield _compare(f"{width} step, {seconds:g} s", dtype_name, *steps, repeats)
        del transformer
        gc.collect()
    for seconds in (*VOCODER_SECONDS, *(VOCODER_SECONDS_FULL if full else ())):
        yield _compare(f"vocoder, {seconds:g} s", dtype_name, *_decodes(seconds, device, dtype), repeats)


def _transformer(geometry: dict, layers: int, device, dtype):
    import torch
    from diffusers import AceStepTransformer1DModel

    torch.manual_seed(SEED)
    return AceStepTransformer1DModel(num_hidden_layers=layers, **geometry).to(device, dtype).eval()


def _steps(transformer, seconds: float, device, dtype) -> tuple[Callable, Callable]:
    """One step of either side, [1, C, T] -> [1, C, T]."""
    import torch

    from .condition import Condition
    from .transformer import prepare

    frames, channels = PUBLISHED_LATENTS.frames(seconds), PUBLISHED_LATENTS.channels
    made = torch.Generator().manual_seed(SEED)
    width = transformer.config.encoder_hidden_size or transformer.config.hidden_size
    states = torch.randn(1, CONDITION_TOKENS, width, generator=made).to(device, dtype)
    latents = torch.randn(1, channels, frames, generator=made).to(device)
    context = torch.randn(1, 2 * channels, frames, generator=made).to(device, dtype)
    velocity = prepare(transformer, Condition(states, states[:, :1], context))
    t = torch.full((1,), T, device=device, dtype=dtype)
    rows = context.transpose(1, 2).contiguous()

    def theirs():
        return transformer(
            hidden_states=latents.transpose(1, 2).to(dtype),
            timestep=t,
            timestep_r=t,
            encoder_hidden_states=states,
            context_latents=rows,
            return_dict=False,
        )[0].transpose(1, 2)

    return lambda: velocity(latents, T), theirs


def _decodes(seconds: float, device, dtype) -> tuple[Callable, Callable]:
    """One decode of either side, [1, C, T] -> [1, 2, N]."""
    import torch
    from diffusers import AutoencoderOobleck

    from .vocoder import Vocoder

    torch.manual_seed(SEED)
    rate_hz = PUBLISHED_LATENTS.sample_rate_hz
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it uses torch's older weight norm
        vae = AutoencoderOobleck(downsampling_ratios=list(VOCODER_RATIOS), sampling_rate=rate_hz)
    vae = vae.to(device, dtype).eval()
    vocoder = Vocoder(vae)
    latents = torch.randn(1, PUBLISHED_LATENTS.channels, PUBLISHED_LATENTS.frames(seconds)).to(device, dtype)
    return lambda: vocoder.decode(latents).samples, lambda: vae.decode(latents).sample.float().cpu()


def _compare(name: str, dtype_name: str, ours: Callable, theirs: Callable, repeats: int) -> Ratio:
    """Once to warm up and to compare what they give, then turn by turn: what else the machine does hits both."""
    difference = float((ours().float() - theirs().float()).abs().max())
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for side, function in enumerate((ours, theirs)):
            seconds[side].append(_seconds(function))
    mine, other = (statistics.median(side) for side in seconds)
    return Ratio(name, dtype_name, round(mine, 5), round(other, 5), round(other / mine, 3), difference, repeats)


def _seconds(function: Callable) -> float:
    start = time.perf_counter()
    float(function().flatten()[-1])  # a number on the CPU is there only when the device is done
    return time.perf_counter() - start


def _shown(row: Ratio) -> str:
    return (
        f"{row.name:<16} {row.dtype}  {row.ratio:5.2f} x as fast  "
        f"({row.ours_seconds:.3f} s, diffusers {row.diffusers_seconds:.3f} s; differs by {row.max_difference:.1e})"
    )
