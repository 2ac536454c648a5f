"""A worn adapter is the merged one, whatever its kind; taken off, the base is there to the bit."""

import dataclasses

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.lora.adapter import Adapter, read_adapter
from acestep_pack.acestep_core.lora.apply import AdaptedLayer, apply_adapter
from acestep_pack.acestep_core.lora.deltas import tensors_of, with_tensors
from acestep_pack.acestep_core.lora.save import save_adapter
from acestep_pack.acestep_core.nn.module_tree import replace, share
from core_tests.lora_material import (
    CONV,
    LAYERS,
    differ,
    dora,
    draw,
    hadamard,
    kronecker,
    lora,
    low_rank,
    merged,
    near,
    velocity,
)

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture(scope="module")
def model(tiny_family):
    return load_stage_model(tiny_family / "m")


def test_a_shared_tree_has_the_same_leaves_and_replacing_one_does_not_show(model):
    base, leaf = model.transformer, model.transformer.layers[0].self_attn.to_q
    other = share(base)
    assert all(a is b for a, b in zip(base.parameters(), other.parameters(), strict=True))
    assert other.layers[0] is not base.layers[0] and other.config is base.config and other.dtype == base.dtype
    replace(other, "layers.0.self_attn.to_q", torch.nn.Identity())
    assert base.layers[0].self_attn.to_q is leaf and other.layers[0].self_attn.to_q is not leaf
    with pytest.raises(AttributeError, match="to_x"):
        replace(other, "layers.0.self_attn.to_x", torch.nn.Identity())


def test_a_shared_tree_leaves_the_containers_hooks_behind(model):
    base, heard = share(model.transformer), []
    base.layers[0].register_forward_hook(lambda *given: heard.append(1))
    base.layers[0].forward = lambda *given: heard.append(2)
    other = share(base)
    assert not other.layers[0]._forward_hooks and "forward" not in vars(other.layers[0])


@pytest.mark.parametrize("strength", [1.0, 0.5, -0.7])
def test_a_worn_lora_is_the_merged_one(model, strength):
    adapter = lora(model)
    worn, report = apply_adapter(model, adapter, strength)
    near(velocity(worn), velocity(merged(model, adapter, strength)))
    differ(velocity(worn), velocity(model))
    assert set(report.matched) == set(adapter.modules) and report.unmatched == ()


def test_apply_then_remove_is_the_base_to_the_bit(model):
    before, state = velocity(model), {name: p.clone() for name, p in model.transformer.named_parameters()}
    worn, _ = apply_adapter(model, lora(model), 0.8)
    velocity(worn)
    assert torch.equal(velocity(model), before)
    assert all(torch.equal(p, state[name]) for name, p in model.transformer.named_parameters())
    assert not any(isinstance(module, AdaptedLayer) for module in model.transformer.modules())


def test_no_strength_is_no_adapter(model):
    worn, report = apply_adapter(model, lora(model), 0)
    assert worn is model and report.matched


def test_adapters_add_up_in_any_order(model):
    first, second = lora(model), dora(model, Adapter("other", {path: low_rank(model, path, 3) for path in LAYERS}))
    one, _ = apply_adapter(apply_adapter(model, first, 0.5)[0], second, 0.7)
    other, _ = apply_adapter(apply_adapter(model, second, 0.7)[0], first, 0.5)
    near(velocity(one), velocity(other), 1e-5)
    alone = velocity(apply_adapter(model, second, 0.7)[0])
    differ(velocity(one), alone)
    weight = one.transformer.get_submodule(LAYERS[0])
    assert len(weight.branches) == 2 and weight.base is model.transformer.get_submodule(LAYERS[0])


def test_a_dressed_layer_shows_its_bases_attributes(model):
    worn, _ = apply_adapter(model, lora(model))
    dressed, base = (m.transformer.get_submodule(CONV) for m in (worn, model))
    assert dressed.weight is base.weight and dressed.stride == base.stride and dressed.out_channels == base.out_channels
    assert worn.transformer.dtype == torch.float32 and not any(p.requires_grad for p in worn.transformer.parameters())
    with pytest.raises(AttributeError):
        _ = dressed.nonsense


def test_a_worn_model_moves_with_its_adapter(tiny_family):
    half = load_stage_model(tiny_family / "m", dtype=torch.bfloat16)
    worn, _ = apply_adapter(half, lora(half))
    assert velocity(worn).isfinite().all()
    differ(velocity(worn), velocity(half))
    buffers = dict(worn.to(dtype=torch.float32).transformer.named_buffers())
    assert buffers and {buffer.dtype for buffer in buffers.values()} == {torch.float32}


def test_a_magnitude_that_has_hardly_moved_is_worn_in_half_precision(tiny_family):
    half = load_stage_model(tiny_family / "m", dtype=torch.bfloat16)
    delta = low_rank(half, LAYERS[0])
    norm = half.transformer.get_submodule(LAYERS[0]).weight.float().norm(dim=1)[:, None]
    still = dataclasses.replace(delta, b=torch.zeros_like(delta.b), magnitude=1.003 * norm)
    layer = apply_adapter(half, Adapter("a", {LAYERS[0]: still}))[0].transformer.get_submodule(LAYERS[0])
    x = draw(1, 5, delta.a.shape[1]).bfloat16()
    out = layer.base(x)
    added = layer.branches[-1](x, out, layer.base)
    assert (added.float() / out.float() - 0.003).abs().max() < 5e-5


KINDS = {
    "LoKr of factors": lambda model, path: kronecker(model, path, True),
    "LoKr of full products": lambda model, path: kronecker(model, path, False),
    "LoHa": hadamard,
    "LoRA": low_rank,
}


@pytest.mark.parametrize("path", [LAYERS[0], CONV])
def test_a_lora_is_the_same_with_its_kernel_flattened_or_spread_over_more_axes(model, path):
    delta = low_rank(model, path)
    shapes = delta.a.flatten(1), delta.a.reshape(*delta.a.shape, *[1] * (4 - delta.a.dim()))
    for a in shapes:
        worn, _ = apply_adapter(model, Adapter("a", {path: dataclasses.replace(delta, a=a)}))
        assert torch.equal(velocity(worn), velocity(apply_adapter(model, Adapter("a", {path: delta}))[0]))


@pytest.mark.parametrize("magnitude", [None, "rows", "columns"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_its_merged_weight_and_survives_comfyuis_file(model, kind, magnitude):
    adapter = Adapter("a", {path: KINDS[kind](model, path) for path in (*LAYERS, CONV)})
    adapter = dora(model, adapter, magnitude) if magnitude else adapter
    worn, _ = apply_adapter(model, adapter, 0.6)
    near(velocity(worn), velocity(merged(model, adapter, 0.6)))
    read = read_adapter(save_adapter(adapter, "a.safetensors", "comfyui"))
    near(velocity(apply_adapter(model, read, 0.6)[0]), velocity(worn), 1e-5)
    assert read.layout == "comfyui" and read.kind == adapter.kind


def test_deltas_give_and_take_their_tensors(model):
    delta = kronecker(model, LAYERS[0], True)
    assert list(tensors_of(delta)) == ["w1_0", "w2_0", "w2_1"]
    assert torch.equal(with_tensors(delta, tensors_of(delta)).weight(), delta.weight())
