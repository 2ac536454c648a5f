"""Tensors cached on disk under a hash of all that they were made from; a damaged file is made again."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ..checkpoints.weights import read_metadata
from ..errors import CheckpointError
from ..system.files import write_whole

CHECKSUM = "sha256"  # in the metadata; of the tensors by name


def read_or_make(
    file: Path, names: Collection[str], make: Callable[[], Mapping[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """The tensors of these names in a file, or, where it is missing or damaged, of `make`; the file then holds them.

    Raises what `make` raises, and AceStepError where the file cannot be written.
    """
    stored = _read(file, names)
    if stored is None:
        stored = {name: tensor.contiguous() for name, tensor in make().items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, save(stored, {CHECKSUM: _checksum(stored)}))
    with torch.inference_mode(False):  # tensors that a host made in that mode could not be trained on
        return {name: tensor.clone() if tensor.is_inference() else tensor for name, tensor in stored.items()}


def _read(file: Path, names: Collection[str]) -> dict[str, torch.Tensor] | None:
    try:
        expected = read_metadata(file).get(CHECKSUM)
        tensors = load_file(file)
    except (OSError, SafetensorError, CheckpointError):
        return None
    is_sound = tensors.keys() == set(names) and all(torch.isfinite(tensor).all() for tensor in tensors.values())
    return tensors if is_sound and expected in (None, _checksum(tensors)) else None  # version 0.1.0 wrote no checksum


def _checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    whole = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        whole.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return whole.hexdigest()
