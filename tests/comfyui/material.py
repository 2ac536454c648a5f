"""Small files that the tests give to ComfyUI: random models, model files that are none, a clip."""

import io
from pathlib import Path

import numpy as np
import soundfile
import torch
from comfyui_tests import published
from comfyui_tests.install import ROOT
from safetensors.torch import load_file, save_file

FOREIGN = "acestep-tests-picture.safetensors"
DAMAGED = "acestep-tests-damaged.safetensors"
UPSCALER = "acestep-tests-upscaler.safetensors"
CLIP_RATE_HZ = 44100


def lay_out(base: Path) -> None:
    """Writes the model files below base/models, before the server starts and lists them."""
    torch.manual_seed(0)
    _save(base / "models" / "upscale_models" / UPSCALER, upscaler())
    _save(base / "models" / "diffusion_models" / FOREIGN, {"picture.weight": torch.randn(8, 8)})
    _save(base / "models" / "diffusion_models" / DAMAGED, damaged_stage())
    published.lay_out_files(base / "models")


def _save(path: Path, tensors: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


def upscaler(channels: int = 4, scale: int = 2) -> dict:
    """A random image upscaler (SRVGGNetCompact) of a few hundred weights, as ComfyUI's UpscaleModelLoader reads it."""
    out = 3 * scale**2
    return {
        "body.0.weight": torch.randn(channels, 3, 3, 3) * 0.1,
        "body.0.bias": torch.zeros(channels),
        "body.1.weight": torch.full((channels,), 0.25),
        "body.2.weight": torch.randn(channels, channels, 3, 3) * 0.1,
        "body.2.bias": torch.zeros(channels),
        "body.3.weight": torch.full((channels,), 0.25),
        "body.4.weight": torch.randn(out, channels, 3, 3) * 0.1,
        "body.4.bias": torch.zeros(out),
    }


def damaged_stage() -> dict:
    """An embedded stage model without its patches' projection: its names are right, but it cannot be loaded."""
    whole = load_file(ROOT / "acestep_core" / "tiny" / "s" / "model.safetensors")
    return {name: tensor for name, tensor in whole.items() if "proj_in" not in name}


def clip(seconds: float) -> bytes:
    """A stereo WAV file of plucked notes, one in half a second."""
    t = np.arange(int(seconds * CLIP_RATE_HZ)) / CLIP_RATE_HZ
    note = np.floor(t * 2).astype(int)
    pitch_hz = 220 * 2 ** (np.array([0, 4, 7, 12])[note % 4] / 12)
    wave = 0.5 * np.exp(-4 * (t * 2 % 1)) * np.sin(2 * np.pi * pitch_hz * t)
    file = io.BytesIO()
    soundfile.write(file, np.stack([wave, 0.8 * wave], 1), CLIP_RATE_HZ, format="WAV", subtype="PCM_16")
    return file.getvalue()
