"""Our forward against diffusers' own, for any geometry; what is computed once; windows whose work grows with a song."""

from copy import deepcopy

import pytest
import torch
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.models.condition import Condition
from acestep_pack.acestep_core.models.velocity import prepare
from acestep_pack.acestep_core.nn import attention
from acestep_pack.acestep_core.nn import rms_norm as norms
from acestep_pack.acestep_core.system.torchaudio_import import settle_torchaudio

settle_torchaudio()


def network(channels=4, patch_size=2, sliding_window=8, **more):
    from diffusers import AceStepTransformer1DModel

    torch.manual_seed(0)
    geometry = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4, "head_dim": 8}
    geometry |= {"num_attention_heads": 4, "num_key_value_heads": 2, "encoder_hidden_size": 12}
    geometry |= {"in_channels": 3 * channels, "audio_acoustic_hidden_dim": channels}
    return AceStepTransformer1DModel(
        **geometry | {"patch_size": patch_size, "sliding_window": sliding_window} | more
    ).eval()


def inputs(frames, channels=4, batch=1, length=7, seed=0):
    draw = torch.Generator().manual_seed(seed)
    condition = Condition(
        torch.randn(batch, length, 12, generator=draw),
        torch.randn(1, 1, 12, generator=draw),
        torch.randn(batch, 2 * channels, frames, generator=draw),
    )
    return condition, torch.randn(batch, channels, frames, generator=draw)


def theirs(model, condition, latents, t, states=None):
    """diffusers' forward, with time last outside."""
    batch = len(latents)
    t = torch.full((batch,), t)
    states = condition.states.expand(batch, -1, -1) if states is None else states
    context = condition.context.expand(batch, -1, -1).transpose(1, 2)
    return model(latents.transpose(1, 2), t, t, states, context).sample.transpose(1, 2)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def watched(monkeypatch):
    """The shapes that every attention call sees: (queries, keys, mask)."""
    calls, real = [], torch.nn.functional.scaled_dot_product_attention

    def watch(q, k, v, attn_mask=None, **more):
        calls.append((q.shape, k.shape, None if attn_mask is None else attn_mask.shape))
        return real(q, k, v, attn_mask=attn_mask, **more)

    monkeypatch.setattr(attention.functional, "scaled_dot_product_attention", watch)
    return calls


# ---- the same numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 40, 401])
@pytest.mark.parametrize("window", [1, 8, 128, 1000])
def test_windows_of_any_reach(frames, window):
    model = network(sliding_window=window)
    condition, latents = inputs(frames)
    got = prepare(model, condition)(latents, 0.7)
    assert torch.allclose(got, theirs(model, condition, latents, 0.7), atol=1e-5)


@pytest.mark.parametrize("patch_size", [1, 2, 4])
@pytest.mark.parametrize("channels", [3, 16])
def test_any_patch_and_channels(patch_size, channels):
    model = network(channels, patch_size)
    condition, latents = inputs(67, channels, batch=2)
    got = prepare(model, condition)(latents, 0.3)
    assert torch.allclose(got, theirs(model, condition, latents, 0.3), atol=1e-5)


@pytest.mark.parametrize(
    "more",
    [
        {"num_attention_heads": 2},
        {"layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]},
        {"encoder_hidden_size": None, "hidden_size": 12},
        {"rope_theta": 500.0, "attention_bias": True},
    ],
    ids=["no groups", "layer types", "one width", "rope and bias"],
)
def test_other_geometries(more):
    model = network(**more)
    condition, latents = inputs(300)
    got = prepare(model, condition)(latents, 0.5)
    assert torch.allclose(got, theirs(model, condition, latents, 0.5), atol=1e-5)


def test_one_condition_serves_a_batch():
    model = network()
    condition, _ = inputs(50)
    _, latents = inputs(50, batch=3)
    velocity = prepare(model, condition)
    together = velocity(latents, 0.4)
    for i in range(3):
        assert torch.allclose(velocity(latents[i : i + 1], 0.4), together[i : i + 1], atol=1e-5)
    each = velocity(latents, torch.tensor([0.4, 0.2, 0.9]))
    assert torch.allclose(velocity(latents[1:2], 0.2), each[1:2], atol=1e-5)


def test_null_is_the_null_state_attended_all_along():
    model = network()
    condition, latents = inputs(301, batch=2)
    states = condition.null.expand(2, 7, -1)
    got = prepare(model, condition).null(latents, 0.6)
    assert torch.allclose(got, theirs(model, condition, latents, 0.6, states), atol=1e-5)


@pytest.mark.parametrize("t", [0.6, torch.tensor([0.6, 0.2])])
def test_with_and_without_condition_come_of_one_pass(t):
    model = network()
    condition, latents = inputs(301, batch=2)
    velocity, passes = prepare(model, condition), []
    model.layers[0].mlp.register_forward_pre_hook(lambda *_: passes.append(0))
    told, untold = velocity.with_null(latents, t)
    assert len(passes) == 1
    assert torch.allclose(told, velocity(latents, t), atol=1e-5)
    assert torch.allclose(untold, velocity.null(latents, t), atol=1e-5)


def test_bfloat16_gives_back_the_latents_own_dtype():
    model, condition, latents = network().bfloat16(), *inputs(60)
    exact = prepare(network(), condition)(latents, 0.7)
    got = prepare(model, condition)(latents, 0.7)
    assert got.dtype == torch.float32
    assert float((got - exact).norm() / exact.norm()) < 0.03


def test_layers_are_called_so_adapters_work():
    class Adapted(torch.nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base = base
            self.more = torch.nn.Linear(base.in_features, base.out_features)

        def forward(self, x):
            return self.base(x) + self.more(x)

    plain, adapted = network(), network()
    for block in adapted.layers:
        for attn in (block.self_attn, block.cross_attn):
            attn.to_q, attn.to_k, attn.to_v = Adapted(attn.to_q), Adapted(attn.to_k), Adapted(attn.to_v)
            attn.to_out[0] = Adapted(attn.to_out[0])
        block.mlp.down_proj = Adapted(block.mlp.down_proj)
    condition, latents = inputs(90)
    got = prepare(adapted, condition)(latents, 0.5)
    assert torch.allclose(got, theirs(adapted, condition, latents, 0.5), atol=1e-5)
    assert not torch.allclose(got, prepare(plain, condition)(latents, 0.5), atol=1e-2)
    null = prepare(adapted, condition).null(latents, 0.5)
    states = condition.null.expand(1, 7, -1)
    assert torch.allclose(null, theirs(adapted, condition, latents, 0.5, states), atol=1e-5)


def test_the_network_is_left_as_it_was():
    model = network()
    before = deepcopy(model.state_dict())
    processors = [type(block.self_attn.processor) for block in model.layers]
    condition, latents = inputs(40)
    prepare(model, condition).null(latents, 0.5)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert processors == [type(block.self_attn.processor) for block in model.layers]
    assert not model._forward_hooks and not any(module._forward_hooks for module in model.modules())


# ---- what it costs ---------------------------------------------------------------------------------------------------


def seen(calls):
    """Pairs of one query and one key that were computed, an item and head."""
    return sum(q[2] * k[2] for q, k, _ in calls)


def test_sliding_layers_are_linear_in_the_length_of_the_song(watched):
    model = network(layer_types=["sliding_attention"] * 4, sliding_window=128)
    pairs, largest = {}, 0
    for tokens in (1500, 3000, 6000):  # 3000 tokens are 240 s of the published models
        condition, latents = inputs(2 * tokens, length=1)
        velocity = prepare(model, condition)
        watched.clear()
        velocity(latents, 0.5)
        windowed = [call for call in watched if call[2] is not None]
        pairs[tokens] = seen(windowed)
        largest = max(mask[-2] * mask[-1] for _, _, mask in windowed)
        assert pairs[tokens] <= 4 * tokens * (2 * 128 + 128)
        assert largest <= 128 * (128 + 2 * 128)  # never a mask of [tokens, tokens]
    assert pairs[6000] - pairs[3000] == pytest.approx(2 * (pairs[3000] - pairs[1500]), rel=0.01)


def test_full_layers_see_everything_without_a_mask(watched):
    model = network(layer_types=["full_attention"] * 4)
    condition, latents = inputs(600)
    velocity = prepare(model, condition)
    watched.clear()
    velocity(latents, 0.5)
    assert [mask for _, _, mask in watched] == [None] * 8
    assert seen(watched) == 4 * (300 * 300 + 300 * 7)


def test_what_is_constant_is_computed_once():
    model = network()
    counts = {}
    for name in ("condition_embedder", "time_embed_r.linear_1", "layers.0.cross_attn.to_k", "layers.3.cross_attn.to_v"):
        model.get_submodule(name).register_forward_hook(
            lambda *_, name=name: counts.__setitem__(name, counts.get(name, 0) + 1)
        )
    condition, latents = inputs(40)
    velocity = prepare(model, condition)
    for t in (0.9, 0.8, 0.7):
        velocity(latents, t)
    assert set(counts.values()) == {1}
    for t in (0.9, 0.8, 0.7):
        velocity.null(latents, t)
    assert counts == {
        "condition_embedder": 2,
        "time_embed_r.linear_1": 1,
        "layers.0.cross_attn.to_k": 1,
        "layers.3.cross_attn.to_v": 2,
    }


def test_the_stream_is_contiguous():
    model = network()
    layouts = []
    for block in model.layers:
        for part in (block.self_attn_norm, block.mlp_norm):
            part.register_forward_pre_hook(lambda _, given: layouts.append(given[0].is_contiguous()))
    condition, latents = inputs(40)
    prepare(model, condition)(latents, 0.5)
    assert len(layouts) == 8 and all(layouts)


def test_null_does_not_attend(watched):
    model = network(layer_types=["full_attention"] * 4)
    condition, latents = inputs(40)
    velocity = prepare(model, condition)
    watched.clear()
    velocity.null(latents, 0.5)
    assert len(watched) == 4


# ---- norms by themselves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("change", [None, "hooked", "replaced"])
def test_norms_are_the_modules_own(dtype, change):
    from diffusers.models.normalization import RMSNorm

    norm, made = RMSNorm(64, eps=1e-6), torch.Generator().manual_seed(0)
    norm.weight.data.normal_(generator=made)
    x, shift, scale = (torch.randn(2, n, 64, generator=made) for n in (9, 1, 1))
    if change == "hooked":
        norm.register_forward_hook(lambda _, given, out: 2 * out)
    elif change == "replaced":
        norm.forward = lambda x: 3 * x
    plain = norm(x)
    norm, x, shift, scale = norm.to(dtype), x.to(dtype), shift.to(dtype), scale.to(dtype)
    near = {"atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.05}
    assert norms.normed(norm, x).dtype == dtype and torch.allclose(norms.normed(norm, x).float(), plain, **near)
    expected = plain * (1 + scale.float()) + shift.float()
    assert torch.allclose(norms.modulated(norm, x, shift, scale).float(), expected, **near)


# ---- attention by itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 127, 128, 300, 513])
@pytest.mark.parametrize("reach", [1, 20, 128, 200])
@pytest.mark.parametrize("groups", [1, 3])
def test_chunks_and_blocks_equal_a_dense_mask(tokens, reach, groups):
    draw = torch.Generator().manual_seed(tokens)
    q = torch.randn(2, 2 * groups, tokens, 8, generator=draw)
    k, v = torch.randn(2, 2, 2, tokens, 8, generator=draw).unbind()
    window = attention.window_of(tokens, reach, q, 8)
    place = torch.arange(tokens)
    dense = (place[:, None] - place).abs() <= reach
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=dense, enable_gqa=True)
    if window is None:
        assert dense.all()
        return
    assert torch.allclose(attention.attend_window(q, k, v, window), expected, atol=1e-5)
    masks = attention.block_masks(tokens, window.band)
    blocks = attention.Window(tokens, reach, window.band, masks)
    assert torch.allclose(attention.attend_window(q, k, v, blocks), expected, atol=1e-5)


def test_blocks_let_no_nan_into_gradients():
    with torch.enable_grad():
        q, k, v = (torch.randn(1, 2, 130, 8, requires_grad=True) for _ in range(3))
        band = attention.window_of(130, 3, q, 8).band
        window = attention.Window(130, 3, band, attention.block_masks(130, band))
        attention.attend_window(q, k, v, window).sum().backward()
    assert all(bool(x.grad.isfinite().all()) for x in (q, k, v))


# ---- mistakes --------------------------------------------------------------------------------------------------------


def test_a_condition_of_another_model():
    condition, latents = inputs(40)
    with pytest.raises(UserError, match="states of width 12 and 8 channels of context, expected 20 and 8"):
        prepare(network(encoder_hidden_size=20), condition)
    with pytest.raises(UserError, match="expected 12 and 6"):
        prepare(network(channels=3), condition)


def test_latents_of_another_length():
    condition, _ = inputs(40)
    with pytest.raises(UserError, match="latents: got 50 frames, expected 40"):
        prepare(network(), condition)(torch.zeros(1, 4, 50), 0.5)
