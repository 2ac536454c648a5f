"""What the tests of adapters share: layers to adapt, adapters drawn at random, and a model that wears one."""

import copy
import dataclasses
import math

import torch
from acestep_pack.acestep_core.lora.adapter import Adapter, Hadamard, Kronecker, LowRank
from acestep_pack.acestep_core.lora.apply import adaptable
from acestep_pack.acestep_core.models.condition import Condition
from acestep_pack.acestep_core.models.velocity import prepare
from safetensors.torch import save_file

CHANNELS, FRAMES = 8, 20
LAYERS = ("layers.0.self_attn.to_q", "layers.1.cross_attn.to_out.0", "layers.1.mlp.down_proj", "time_embed.linear_1")
CONV = "proj_in_conv"


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(math.prod(shape))) * 0.3


def low_rank(model, path, rank=4, scale=2.0):
    weight = adaptable(model.transformer)[path].weight
    return LowRank(draw(rank, *weight.shape[1:]), draw(weight.shape[0], rank, *[1] * (weight.dim() - 2)), scale)


def lora(model, paths=(*LAYERS, CONV), **fields):
    return Adapter("test", {path: low_rank(model, path, **fields) for path in paths})


def velocity(model):
    condition = Condition(draw(1, 6, 32), draw(1, 1, 32), draw(1, 2 * CHANNELS, FRAMES))
    with torch.no_grad():
        return prepare(model.transformer, condition)(draw(1, CHANNELS, FRAMES), 0.6)


def merged(model, adapter, strength=1.0):
    """The model with its weights changed for good: W + strength * (V - W), V rescaled to the magnitude."""
    transformer = copy.deepcopy(model.transformer)
    for path, delta in adapter.modules.items():
        weight = transformer.get_submodule(path).weight
        adapted = weight + delta.weight().reshape(weight.shape)
        if delta.magnitude is not None:
            by_rows = delta.magnitude.shape[0] == len(weight)
            axes = [axis for axis in range(weight.dim()) if axis != (0 if by_rows else 1)]
            norm = adapted.norm(dim=axes, keepdim=True)
            adapted = adapted / norm * delta.magnitude.reshape(norm.shape)
        weight.data += strength * (adapted - weight)
    return dataclasses.replace(model, transformer=transformer)


def near(got, expected, tolerance=1e-4):
    assert (got - expected).abs().max() <= tolerance


def differ(got, expected, by=1e-3):
    assert (got - expected).abs().max() > by


def dora(model, adapter, by="rows"):
    """The adapter with a magnitude near the base's own."""
    modules = {}
    for path, delta in adapter.modules.items():
        weight = adaptable(model.transformer)[path].weight
        norm = (
            weight.flatten(1).norm(dim=1)[:, None]
            if by == "rows"
            else weight.transpose(0, 1).flatten(1).norm(dim=1)[None]
        )
        modules[path] = dataclasses.replace(delta, magnitude=norm * (1 + draw(*norm.shape)))
    return dataclasses.replace(adapter, modules=modules)


def kronecker(model, path, low):
    weight = adaptable(model.transformer)[path].weight
    rows, columns, extra = weight.shape[0], weight.shape[1], weight[0, 0].numel()
    w2 = (
        (draw(rows // 4, 3), draw(3, columns // 2 * extra))
        if low
        else (draw(rows // 4, columns // 2, *weight.shape[2:]),)
    )
    return Kronecker((draw(4, 2),), w2, 0.5 if low else 1.0)


def hadamard(model, path):
    weight = adaptable(model.transformer)[path].weight
    pairs = ((draw(len(weight), 3), draw(3, weight[0].numel())) for _ in range(2))
    return Hadamard(*pairs, 0.5)


A, B, SPELLED = "lora_A.weight", "lora_B.weight", "layers.0.self_attn.q_proj"


def write(model, prefix, lower=A, upper=B, alpha=None, metadata=None, name="a.safetensors"):
    delta = low_rank(model, LAYERS[0])
    tensors = {f"{prefix}.{lower}": delta.a, f"{prefix}.{upper}": delta.b}
    save_file(tensors | ({f"{prefix}.alpha": torch.tensor(float(alpha))} if alpha else {}), name, metadata=metadata)
    return name


PEFT = f"base_model.model.{SPELLED}"
