"""Ours against ComfyUI's own model of ACE-Step 1.5, in a ComfyUI that lies on this machine.

Its forward encodes text, lyrics and timbre anew in every step; here that is done once in a run, before the first step.
"""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from ..checkpoints.layouts import to_original
from ..errors import UserError
from ..spec import PUBLISHED_LATENTS
from . import published
from .pairs import Drawn, Side, T
from .ratio import Ratio

TEXT_TOKENS, LYRIC_TOKENS = 64, 256
TEXT_WIDTH = 1024
PUBLISHED_LAYERS = 24


@dataclass(frozen=True)
class Native:
    """Its network with random weights, and a transformer of diffusers with the same."""

    network: torch.nn.Module
    transformer: torch.nn.Module

    @classmethod
    def build(cls, comfyui: Path, layers: int, device: torch.device, dtype: torch.dtype) -> "Native":
        """Raises UserError where there is no ComfyUI that knows the model."""
        network_class, operations = _imported(comfyui, device)
        transformer = published.transformer("2B", layers, device, dtype)
        torch.manual_seed(published.SEED)
        network = network_class(num_dit_layers=layers, dtype=dtype, device=device, operations=operations).eval()
        for parameter in network.parameters():  # ComfyUI leaves them as the memory was
            torch.nn.init.normal_(parameter, std=0.02)
        missing, unknown = network.load_state_dict(to_original("transformer", transformer.state_dict()), strict=False)
        if unknown or any(name.startswith("decoder.") for name in missing):
            raise UserError(
                f"{comfyui}: its ACE-Step model has other weights than this library's; take another version"
            )
        return cls(network, transformer)

    def decoder(self, seconds: float, device: torch.device, dtype: torch.dtype) -> tuple[Side, Side]:
        """A step without the condition encoder, [1, C, T] -> [1, C, T]."""
        drawn = Drawn.of(self.transformer, seconds, device, dtype)
        rows, t = drawn.latents.movedim(1, 2).to(dtype), drawn.t

        def theirs() -> torch.Tensor:
            return self.network.decoder(rows, t, t, None, drawn.states, None, drawn.rows).movedim(1, 2)

        return drawn.ours, theirs

    def step(self, seconds: float, device: torch.device, dtype: torch.dtype) -> tuple[Side, Side]:
        """A step as either side runs it within a song, [1, C, T] -> [1, C, T]."""
        ours, _ = self.decoder(seconds, device, dtype)
        made = torch.Generator().manual_seed(published.SEED)
        frames, channels = PUBLISHED_LATENTS.frames(seconds), PUBLISHED_LATENTS.channels
        text, lyrics = (
            torch.randn(1, tokens, TEXT_WIDTH, generator=made).to(device, dtype)
            for tokens in (TEXT_TOKENS, LYRIC_TOKENS)
        )
        latents, silence = (torch.randn(1, channels, frames, generator=made).to(device, dtype) for _ in range(2))
        t = torch.full((1,), T, device=device, dtype=dtype)

        def theirs() -> torch.Tensor:
            return self.network(latents, t, text, lyric_embed=lyrics, refer_audio=silence, is_covers=False)

        return ours, theirs


def extrapolated(step: Ratio, decoder: Ratio, layers: int) -> Ratio:
    """The same step of a network as deep as the published one: its layers are all alike."""
    deeper = PUBLISHED_LAYERS / layers
    ours = deeper * decoder.ours_seconds
    theirs = step.theirs_seconds - decoder.theirs_seconds + deeper * decoder.theirs_seconds
    name = f"{step.name}, extrapolated to {PUBLISHED_LAYERS} layers"
    return Ratio(name, step.dtype, ours, theirs, round(theirs / ours, 3), None, step.repeats, step.theirs)


def check_folder(comfyui: Path) -> None:
    """Raises UserError for a folder that is no ComfyUI, or one from before ACE-Step 1.5."""
    if not (comfyui / "comfy" / "ldm" / "ace" / "ace_step15.py").is_file():
        raise UserError(f"{comfyui}: is no ComfyUI that knows ACE-Step 1.5; give the folder with its main.py")


def _imported(comfyui: Path, device: torch.device) -> tuple[type, type]:
    check_folder(comfyui)
    sys.path.insert(0, str(comfyui))
    try:
        importlib.import_module("comfy.cli_args").args.cpu = device.type == "cpu"  # read when the others are imported
        network = importlib.import_module("comfy.ldm.ace.ace_step15").AceStepConditionGenerationModel
        operations = importlib.import_module("comfy.ops").disable_weight_init
    except ImportError as exc:
        raise UserError(f"{comfyui}: does not import ({exc}); run this with the Python that runs ComfyUI") from exc
    finally:
        sys.path.remove(str(comfyui))
    return network, operations
