"""The training's forward pass of a stage transformer: what diffusers' own gives, gradients too, fused or not."""

import shutil

import pytest
import torch
from acestep_pack.acestep_core.tiny_recipe import packed

CHANNELS, PATCH, HEARD = 4, 4, 24
GEOMETRY = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=16,
    in_channels=3 * CHANNELS,
    audio_acoustic_hidden_dim=CHANNELS,
    patch_size=PATCH,
    rope_theta=10_000.0,
    sliding_window=4,
    layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    encoder_hidden_size=HEARD,
)
TOKENS, STATES = (11, 5, 19), (3, 7, 2)


@pytest.fixture
def unfused():
    yield
    for name, function in packed.BETWEEN.items():
        setattr(packed.Between, name, staticmethod(function))


@pytest.mark.parametrize("fused", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["as it stands", "fused"])
def test_items_behind_one_another_are_what_diffusers_makes_of_each(fused, unfused):
    if fused:
        if not shutil.which("g++"):
            pytest.skip("no C++ compiler")
        packed.fuse()
    torch.manual_seed(0)
    from diffusers import AceStepTransformer1DModel

    net = AceStepTransformer1DModel(**GEOMETRY)
    torch.nn.init.normal_(net.proj_out_conv.weight, std=0.1)
    frames = [PATCH * count for count in TOKENS]
    x, context, weights = (torch.randn(rows * CHANNELS, sum(frames)) for rows in (1, 2, 1))
    t, states = torch.tensor([0.2, 0.9, 0.5]), [torch.randn(count, HEARD) for count in STATES]

    pack = packed.Pack(TOKENS, STATES)
    ours, halfway, _ = packed.PackedForward(net, torch.float32)(x, t, torch.cat(states), context, pack)
    assert halfway.shape == (sum(TOKENS), GEOMETRY["hidden_size"])
    (ours * weights).sum().backward()
    gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}

    net.zero_grad(set_to_none=True)
    alone = []
    for own, around, at, heard in zip(x.split(frames, 1), context.split(frames, 1), t, states):
        made = net(own.T[None], at[None], at[None], heard[None], around.T[None], return_dict=False)[0]
        alone.append(made[0].T)
    theirs = torch.cat(alone, 1)
    (theirs * weights).sum().backward()

    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)
    expected = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=1e-4 * float(gradient.abs().max()), msg=name)
