"""Ours against ComfyUI's own model of ACE-Step 1.5, in a ComfyUI that lies on this machine.

ComfyUI's model encodes text, lyrics and timbre in every step. This library does so once, before the first step.
"""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import torch

from ..checkpoints.layouts import to_original
from ..errors import UserError
from ..spec import PUBLISHED_LATENTS
from . import published
from .contender import OURS, Run
from .pairs import Drawn, T
from .ratio import Ratio

TEXT_TOKENS, LYRIC_TOKENS = 64, 256
TEXT_WIDTH = 1024


def decoder(
    comfyui: Path, layers: int | None, seconds: float, device: torch.device, dtype: torch.dtype, *, side: str
) -> Run:
    """A step without the condition encoder, [1, C, T] -> [1, C, T]."""
    transformer = published.transformer("2B", layers, device, dtype)
    drawn = Drawn.of(transformer, seconds, device, dtype)
    if side == OURS:
        return drawn.ours(transformer)
    network = _network(comfyui, transformer, device, dtype)
    latents, t = drawn.latents.movedim(1, 2).to(dtype), drawn.t
    return lambda: network.decoder(latents, t, t, None, drawn.states, None, drawn.rows).movedim(1, 2)


def step(
    comfyui: Path, layers: int | None, seconds: float, device: torch.device, dtype: torch.dtype, *, side: str
) -> Run:
    """A step as either side runs it within a song, [1, C, T] -> [1, C, T]."""
    transformer = published.transformer("2B", layers, device, dtype)
    if side == OURS:
        return Drawn.of(transformer, seconds, device, dtype).ours(transformer)
    network = _network(comfyui, transformer, device, dtype)
    made = torch.Generator().manual_seed(published.SEED)
    frames, channels = PUBLISHED_LATENTS.frames(seconds), PUBLISHED_LATENTS.channels
    text, lyrics = (
        torch.randn(1, tokens, TEXT_WIDTH, generator=made).to(device, dtype) for tokens in (TEXT_TOKENS, LYRIC_TOKENS)
    )
    latents, silence = (torch.randn(1, channels, frames, generator=made).to(device, dtype) for _ in range(2))
    t = torch.full((1,), T, device=device, dtype=dtype)
    return lambda: network(latents, t, text, lyric_embed=lyrics, refer_audio=silence, is_covers=False)


def _network(comfyui: Path, transformer, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    """ComfyUI's network with the weights of a transformer of diffusers, and others drawn at random."""
    network_class, operations = _imported(comfyui, device)
    torch.manual_seed(published.SEED)
    layers = len(transformer.layers)
    network = network_class(num_dit_layers=layers, dtype=dtype, device=device, operations=operations).eval()
    for parameter in network.parameters():  # ComfyUI does not initialise them
        torch.nn.init.normal_(parameter, std=0.02)
    missing, unknown = network.load_state_dict(to_original("transformer", transformer.state_dict()), strict=False)
    if unknown or any(name.startswith("decoder.") for name in missing):
        raise UserError(f"{comfyui}: its ACE-Step model has other weights than this library's; take another version")
    return network


def extrapolated(whole: Ratio, layers_alone: Ratio, layers: int) -> Ratio:
    """`whole` extrapolated to the depth of the published network, whose layers are all alike. Our step is proportional
    to the depth. Of `layers_alone` only the ratio is used: the machine's speed may change between two rows.
    """
    deeper = published.layers_of("2B") / layers
    ours = whole.ours_seconds * deeper
    theirs = whole.theirs_seconds + layers_alone.ratio * whole.ours_seconds * (deeper - 1)
    return replace(
        whole,
        name=f"{whole.name}, extrapolated to {published.layers_of('2B')} layers",
        ours_seconds=ours,
        theirs_seconds=theirs,
        ratio=round(theirs / ours, 3),
        **dict.fromkeys(("ours_gb", "theirs_gb", "gflop", "share")),
    )


def check_folder(comfyui: Path) -> None:
    """Raises UserError for a folder that is no ComfyUI, or one from before ACE-Step 1.5."""
    if not (comfyui / "comfy" / "ldm" / "ace" / "ace_step15.py").is_file():
        raise UserError(f"{comfyui}: is no ComfyUI that knows ACE-Step 1.5; give the folder with its main.py")


def _imported(comfyui: Path, device: torch.device) -> tuple[type, type]:
    network, operations = comfyui_modules(comfyui, device, "comfy.ldm.ace.ace_step15", "comfy.ops")
    return network.AceStepConditionGenerationModel, operations.disable_weight_init


def comfyui_modules(comfyui: Path, device: torch.device, *names: str) -> list[ModuleType]:
    """Modules of the ComfyUI in a folder, for a device. Raises UserError where they do not import."""
    check_folder(comfyui)
    sys.path.insert(0, str(comfyui))
    try:
        importlib.import_module("comfy.cli_args").args.cpu = device.type == "cpu"  # read when the others are imported
        return [importlib.import_module(name) for name in names]
    except ImportError as exc:
        raise UserError(f"{comfyui}: does not import ({exc}); run this with the Python that runs ComfyUI") from exc
    finally:
        sys.path.remove(str(comfyui))
