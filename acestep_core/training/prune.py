"""Structured pruning of a transformer: fewer layers, and in each the most important channels, heads and neurons.

Importance is measured on activations: an input counts by its second moment times the squares of the weights that read
it. Then every matrix that lost inputs is refitted by least squares, to keep its outputs as near as possible: with C the
second moments of its input and K the inputs kept, W C[:, K] C[K, K]^-1. Where nothing is removed, every weight is kept
to the bit.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from ..models.transformer import Transformer
    from .settings import Size

SHIFTS = 6  # of a layer, all made by one time_proj
_RIDGE = 1e-3  # of the mean second moment: inputs that are nearly always 0 get no large weight

# A module's path -> the spaces of its inputs and of its outputs; "{}" is the group in the path.
_SPACES = (
    (r"(layers\.\d+\.\w+_attn)\.to_q", "stream", "{}.queries"),
    (r"(layers\.\d+\.self_attn)\.to_[kv]", "stream", "{}.keys"),
    (r"(layers\.\d+\.cross_attn)\.to_[kv]", "states", "{}.keys"),
    (r"(layers\.\d+\.\w+_attn)\.to_out\.0", "{}.queries", "stream"),
    (r"(layers\.\d+)\.mlp\.(?:gate|up)_proj", "stream", "{}.neurons"),
    (r"(layers\.\d+)\.mlp\.down_proj", "{}.neurons", "stream"),
    (r"(time_embed\w*)\.linear_1", None, "{}.clock"),
    (r"(time_embed\w*)\.linear_2", "{}.clock", "stream"),
    (r"(time_embed\w*)\.time_proj", "stream", "shifts"),
    (r"(condition_embedder)", None, "states"),
    (r"(proj_in_conv)", None, "stream"),
    (r"(proj_out_conv)", "stream", None),
    (r"((?:layers\.\d+\.)?\w*norm(?:_out)?)", "stream", "stream"),
)


def prune(teacher: "Transformer", size: "Size", calibrate: Callable[[], None]) -> "Transformer":
    """The teacher pruned to a size, float32, on its device. `calibrate()` runs the teacher on typical inputs.

    Raises UserError where the teacher is smaller than that.
    """
    size.check_within(teacher.config)
    layers = kept_layers(len(teacher.layers), size.layers)
    student = initialised(teacher, size)
    with _recorded_moments(teacher, size) as moments, torch.no_grad():
        calibrate()
    kept = _kept_indices(teacher, size, moments)
    state = teacher.state_dict()
    sources = {name: _source(name, layers) for name in student.state_dict()}
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            parameter.copy_(_pruned(sources[name], state, kept, moments))
    return student


def initialised(teacher: "Transformer", size: "Size") -> "Transformer":
    """A transformer of a size for the teacher's condition encoder, with random weights, float32, on its device."""
    config = {name: value for name, value in teacher.config.items() if not name.startswith("_")}
    width = config["encoder_hidden_size"] or config["hidden_size"]
    config |= {
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "encoder_hidden_size": None if width == size.hidden else width,
        "layer_types": [teacher.layer_types[i] for i in kept_layers(len(teacher.layers), size.layers)],
    }
    student = type(teacher)(**config)
    nn.init.zeros_(student.proj_out_conv.weight)
    return student.to(next(teacher.parameters()).device)


def kept_layers(of: int, count: int) -> tuple[int, ...]:
    """Indices of `count` of so many layers: evenly spread, with the first and the last, and alternating as before, for
    every other layer has window attention (except the last of an odd count).
    """
    if count == 1:
        return (0,)
    even = (i * (of - 1) / (count - 1) for i in range(count - 1))
    return (*(2 * round((at - i % 2) / 2) + i % 2 for i, at in enumerate(even)), of - 1)


def _source(name: str, layers: tuple[int, ...]) -> str:
    """The teacher's name of a student's parameter."""
    return re.sub(r"^layers\.(\d+)", lambda found: f"layers.{layers[int(found[1])]}", name)


def _spaces(path: str) -> tuple[str | None, str | None]:
    for pattern, read, written in _SPACES:
        if found := re.fullmatch(pattern, path):
            return tuple(space and space.format(found[1]) for space in (read, written))
    return None, None


# ---- importance ------------------------------------------------------------------------------------------------------


@contextmanager
def _recorded_moments(teacher: "Transformer", size: "Size"):
    """Path of each module that loses inputs -> second moments of them, summed over calls: [D, D], for norms [D]."""
    moments: dict[str, torch.Tensor] = {}
    hooks = []
    for path, module in teacher.named_modules():
        space = _spaces(path)[0]
        if space and _is_pruned(space, teacher.config, size):
            hooks.append(module.register_forward_pre_hook(_recorder(moments, path, module)))
    try:
        yield moments
    finally:
        for hook in hooks:
            hook.remove()


def _is_pruned(space: str, own, size: "Size") -> bool:
    if space.endswith(".queries"):
        return (size.heads, size.kv_heads) != (own.num_attention_heads, own.num_key_value_heads)
    return size.intermediate != own.intermediate_size if space.endswith(".neurons") else size.hidden != own.hidden_size


def _recorder(moments: dict[str, torch.Tensor], path: str, module: nn.Module):
    def record(_, given):
        x = given[0].float()
        x = (x.transpose(1, 2) if isinstance(module, nn.ConvTranspose1d) else x).flatten(0, -2)
        moment = x.square().sum(0) if "norm" in path else x.T @ x
        moments[path] = moments[path] + moment if path in moments else moment

    return record


def _kept_indices(teacher: nn.Module, size: "Size", moments: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Space -> the indices kept, in ascending order."""
    counts = _importance(teacher, moments)
    kept = {}
    for space, count in counts.items():
        if space in ("stream", "states") or space.endswith(".clock"):
            kept[space] = _greatest(count, size.hidden)
        elif space.endswith(".neurons"):
            kept[space] = _greatest(count, size.intermediate)
        else:
            owner = space.removesuffix(".queries")
            kept[space], kept[f"{owner}.keys"] = _heads(count, teacher.get_submodule(owner), size)
    if "stream" in kept:
        width = teacher.config.hidden_size
        kept["shifts"] = torch.cat([kept["stream"] + i * width for i in range(SHIFTS)])
    return kept


def _importance(teacher: nn.Module, moments: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Space -> importance of its indices."""
    counts: dict[str, torch.Tensor] = {}
    for path, moment in moments.items():
        if moment.ndim == 2:
            space, matrix = _spaces(path)[0], _matrix(teacher.get_submodule(path).weight)
            # Normalised, so that every matrix counts alike, whatever its scale.
            share = moment.diagonal() * matrix.square().sum(0)
            counts[space] = counts.get(space, 0) + share / share.sum().clamp(min=1e-30)
    return counts


def _greatest(counts: torch.Tensor, count: int) -> torch.Tensor:
    return counts.topk(count).indices.sort().values


def _heads(counts: torch.Tensor, attention: nn.Module, size: "Size") -> tuple[torch.Tensor, torch.Tensor]:
    """Channels of the queries and of the keys: whole heads, and with a key head the best of its query heads."""
    width, keys = attention.head_dim, attention.kv_heads
    by_head = counts.view(keys, -1, width).sum(-1)
    groups = _greatest(by_head.topk(size.heads // size.kv_heads).values.sum(-1), size.kv_heads)
    inside = [_greatest(by_head[group], size.heads // size.kv_heads) + group * by_head.shape[1] for group in groups]
    return _channels(torch.cat(inside), width), _channels(groups, width)


def _channels(heads: torch.Tensor, width: int) -> torch.Tensor:
    return (heads[:, None] * width + torch.arange(width, device=heads.device)).flatten()


# ---- weights ---------------------------------------------------------------------------------------------------------


def _pruned(name: str, state: Mapping, kept: Mapping[str, torch.Tensor], moments: Mapping) -> torch.Tensor:
    """A weight of the teacher, pruned and refitted, float32."""
    weight = state[name].float()
    path, _, kind = name.rpartition(".")
    if name.endswith("scale_shift_table"):
        return weight[..., kept["stream"]] if "stream" in kept else weight
    read, written = (kept.get(space) for space in _spaces(path))
    if kind == "bias" or weight.ndim == 1:
        weight = weight if written is None else weight[written]
        is_norm = read is not None and path in moments and moments[path].ndim == 1
        # Fewer channels have another mean square, by which the norm divides.
        return weight * (moments[path][read].mean() / moments[path].mean()).sqrt() if is_norm else weight
    if read is not None and path in moments:
        matrix = _refitted(_matrix(weight), read, moments[path])
        weight = matrix if weight.ndim == 2 else matrix.T.reshape(-1, *weight.shape[1:])
    return weight if written is None else weight[written]


def _matrix(weight: torch.Tensor) -> torch.Tensor:
    """A layer's weight as [outputs, inputs]; a transposed convolution's has the inputs first."""
    return weight.float() if weight.ndim == 2 else weight.float().flatten(1).T


def _refitted(matrix: torch.Tensor, read: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    if len(read) == len(moment):
        return matrix
    moment = moment.double()
    inner = moment[read][:, read]
    inner = inner + _RIDGE * inner.diagonal().mean() * torch.eye(len(read), device=inner.device)
    return torch.linalg.solve(inner, moment[read] @ matrix.double().T).T.float()
