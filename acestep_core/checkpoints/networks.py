"""A part on disk -> a network in memory, each weight held once.

The module is built with its parameters on the meta device, then takes the file's own memory-mapped tensors; where
another device or dtype is wanted, they are converted one at a time. Buffers that are in no file (rotary
tables, quantiser levels) are made by the constructors as ever, in full precision, and are not cast.
"""

import inspect
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from ..errors import CheckpointError
from ..models.autoencoder import Autoencoder
from ..models.condition_encoder import ConditionEncoder
from ..models.qwen3 import Qwen3
from ..models.transformer import Transformer
from ..system.torchaudio_import import settle_torchaudio
from .checkpoint import COMPONENT_CLASSES, Part
from .layouts import PLANNER
from .weights import DTYPES, TensorInfo

_CLASSES = {
    "transformer": Transformer,
    "condition_encoder": ConditionEncoder,
    "vae": Autoencoder,
    "text_encoder": Qwen3,
    PLANNER: Qwen3,
}  # audio tokenizers, which only edits and plans need, are diffusers' own
SILENCE_BUFFER = "silence_latent"  # of the condition encoder; set by hand, its length is the file's own


def build(
    name: str,
    part: Part,
    device: "torch.device | str" = "cpu",
    dtype: torch.dtype | None = None,
    computed_on: "torch.device | str | None" = None,
) -> nn.Module:
    """The network of one part, in eval mode and without gradients, weights strict. Raises CheckpointError.

    `computed_on`: see `placed`; None is the device where it lies.
    """
    _check_dtypes(part.tensors)
    with _parameters_on_meta():
        network = _empty(name, part.arguments)
    _check(network, part.tensors, name)
    place = torch.device(device)
    computed_on = place if computed_on is None else torch.device(computed_on)
    for path, tensors in _by_file(part.tensors).items():
        state = {}
        for key, tensor in _read(path, tensors):
            if key != SILENCE_BUFFER:
                state[key] = placed(tensor, place, dtype, computed_on).reshape(network.get_parameter(key).shape)
        network.load_state_dict(state, strict=False, assign=True)
    for buffer_owner in network.modules():
        for key, buffer in buffer_owner.named_buffers(recurse=False):
            setattr(buffer_owner, key, buffer.to(place))
    return network.eval().requires_grad_(False)


def read_tensor(info: TensorInfo) -> torch.Tensor:
    """One tensor as stored, memory-mapped."""
    return next(_read(info.file, {"": info}))[1]


def placed(
    tensor: torch.Tensor, device: torch.device, dtype: torch.dtype | None, computed_on: torch.device
) -> torch.Tensor:
    """A stored tensor on a device and at a dtype. Without a dtype, float16 becomes float32 if a CPU computes with it,
    because float16 is slow there. `computed_on`: the device that computes with it.
    """
    if dtype is None and tensor.dtype == torch.float16 and computed_on.type == "cpu":
        dtype = torch.float32
    return tensor.to(device=device, dtype=dtype)


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Parameters that this thread registers meanwhile take no memory; buffers are left alone."""
    thread = threading.get_ident()

    def to_meta(module: nn.Module, name: str, parameter: nn.Parameter) -> nn.Parameter | None:
        if parameter is None or threading.get_ident() != thread:
            return None
        return nn.Parameter(parameter.to("meta"), requires_grad=False)

    handle = register_module_parameter_registration_hook(to_meta)
    try:
        yield
    finally:
        handle.remove()


def _empty(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    if name in _CLASSES:
        return _CLASSES[name](**arguments)
    settle_torchaudio()
    from diffusers.pipelines import ace_step

    network_class = getattr(ace_step, COMPONENT_CLASSES[name])
    accepted = inspect.signature(network_class.__init__).parameters
    return network_class(**{key: value for key, value in arguments.items() if key in accepted})


def _check_dtypes(tensors: Mapping[str, TensorInfo]) -> None:
    for info in tensors.values():
        if info.dtype not in DTYPES:
            raise CheckpointError(
                f"{info.file}: {info.name} is stored as {info.dtype}, expected one of {', '.join(DTYPES)}; "
                "quantised files are not read, get the model in bf16, fp16 or fp32"
            )


def _check(network: nn.Module, tensors: Mapping[str, TensorInfo], name: str) -> None:
    """Raises CheckpointError unless the file holds exactly the network's weights."""
    expected = {key: tuple(p.shape) for key, p in network.named_parameters()}
    file = next(iter(tensors.values())).file
    missing = [key for key in expected if key not in tensors]
    foreign = [key for key in tensors if key not in expected and key != SILENCE_BUFFER]
    if missing or foreign:
        lacks = f"lacks {len(missing)} tensors, first {missing[0]}" if missing else ""
        has = f"has {len(foreign)} that do not belong there, first {tensors[foreign[0]].name}" if foreign else ""
        raise CheckpointError(
            f"{file}: the {name} {' and '.join(filter(None, (lacks, has)))} (expected {len(expected)}); "
            "get the file and the config.json that belong together"
        )
    for key, info in tensors.items():
        if key in expected and not _fits(info.shape, expected[key]):
            raise CheckpointError(
                f"{file}: {info.name} has shape {list(info.shape)}, expected {list(expected[key])} by the config; "
                "get the file and the config.json that belong together"
            )


def _fits(got: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return got == expected or (len(got) == 1 and (1, *got, 1) == expected)  # snakes are [C] in stable-audio's layout


def _by_file(tensors: Mapping[str, TensorInfo]) -> dict[Path, dict[str, TensorInfo]]:
    files: dict[Path, dict[str, TensorInfo]] = {}
    for key, info in tensors.items():
        files.setdefault(info.file, {})[key] = info
    return files


def _read(path: Path, tensors: Mapping[str, TensorInfo]) -> Iterator[tuple[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            for key, info in tensors.items():
                yield key, file.get_tensor(info.name)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); fetch the file again") from error
