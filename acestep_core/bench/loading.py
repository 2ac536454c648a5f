"""Seconds and memory that loading a stage's model takes, in each file layout, and at another dtype.

The file has the published 2B width, and enough layers for about 2 GB in bf16. It is in the system's file cache, like a
file that was used recently. Loading maps the file: a page is read when it is first used in a computation.
"""

import gc
import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..system.torchaudio_import import settle_torchaudio
from .resident import forget_most_resident, most_resident_bytes

if TYPE_CHECKING:
    import torch

LAYERS = 6
AIO_PREFIX = "model.diffusion_model."


@dataclass(frozen=True)
class Loading:
    """Median seconds; most memory taken meanwhile, as a share of the file."""

    layout: str
    dtype: str
    seconds: float
    file_gb: float
    memory_share: float | None  # None where the system does not report it
    repeats: int


def measure(folder: Path, layers: int, repeats: int, geometry: Mapping | None = None) -> Iterator[Loading]:
    """A row for each layout; one file at a time lies in the folder. `geometry` replaces values of the 2B's."""
    import torch

    settle_torchaudio()
    from diffusers.utils import logging

    logging.set_verbosity_error()  # it warns of casts that change nothing here
    for layout, write in LAYOUTS.items():
        place = folder / layout.replace(" ", "-")
        place.mkdir()
        path = write(place, *_stage(layers, dict(geometry or {})))
        gc.collect()
        for dtype in (None, torch.float32) if layout == "original" else (None,):
            yield _measured(layout, path, dtype, repeats)
        shutil.rmtree(place)


def _measured(layout: str, path: Path, dtype: "torch.dtype | None", repeats: int) -> Loading:
    from ..checkpoints.checkpoint import read_checkpoint
    from ..checkpoints.load import load_stage_model

    size = read_checkpoint(path).size_bytes
    load_stage_model(path, dtype=dtype)  # brings the file and all imports into memory
    seconds, taken = [], []
    for _ in range(repeats):
        gc.collect()
        with _Watch() as watch:
            model = load_stage_model(path, dtype=dtype)
        seconds.append(watch.seconds)
        taken.append(watch.taken_bytes)
        del model
    share = None if None in taken else round(statistics.median(taken) / size, 3)
    name = "bf16" if dtype is None else "bf16 as fp32"
    return Loading(layout, name, round(statistics.median(seconds), 4), round(size / 1e9, 3), share, repeats)


class _Watch:
    """Seconds, and how far this process's memory rises meanwhile (None outside Linux)."""

    def __enter__(self):
        forget_most_resident()
        self._before = most_resident_bytes()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exc):
        self.seconds = time.perf_counter() - self._start
        self.taken_bytes = None if self._before is None else most_resident_bytes() - self._before


# ---- one model in every layout ---------------------------------------------------------------------------------------


def _stage(layers: int, geometry: dict) -> tuple:
    """A transformer and a condition encoder in bf16, with arbitrary weights."""
    import torch
    from diffusers import AceStepTransformer1DModel
    from diffusers.pipelines.ace_step import AceStepConditionEncoder

    with torch.device("meta"):
        networks = AceStepTransformer1DModel(num_hidden_layers=layers, **geometry), AceStepConditionEncoder(**geometry)
    networks = tuple(network.to(torch.bfloat16).to_empty(device="cpu") for network in networks)
    for network in networks:
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.data.fill_(0.01)
    return networks


def _original(folder: Path, transformer, encoder) -> Path:
    import torch

    from ..checkpoints.save import save_stage_model

    return save_stage_model(folder, transformer, encoder, torch.zeros(1, 64, 100), family="2b")


def _sharded(folder: Path, transformer, encoder) -> Path:
    from safetensors.torch import load_file, save_file

    file = _original(folder, transformer, encoder) / "model.safetensors"
    state = load_file(file)
    places = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(state)}
    for shard in sorted(set(places.values())):
        save_file({name: state[name] for name, place in places.items() if place == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    file.unlink()
    return folder


def _diffusers(folder: Path, transformer, encoder) -> Path:
    transformer.save_pretrained(folder / "transformer")
    encoder.save_pretrained(folder / "condition_encoder")
    return folder


def _one_file(prefix: str) -> Callable:
    def write(folder: Path, transformer, encoder) -> Path:
        import torch
        from safetensors.torch import save_file

        from ..checkpoints.layouts import to_original

        state = to_original("transformer", transformer.state_dict())
        state |= to_original("condition_encoder", encoder.state_dict())
        torch.save(torch.zeros(1, 64, 100), folder / "silence_latent.pt")
        save_file({prefix + name: tensor for name, tensor in state.items()}, folder / "turbo.safetensors")
        return folder / "turbo.safetensors"

    return write


LAYOUTS = {
    "original": _original,
    "original sharded": _sharded,
    "diffusers": _diffusers,
    "comfyui": _one_file(""),
    "all-in-one": _one_file(AIO_PREFIX),
}
