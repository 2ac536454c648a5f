"""The Triton kernels against plain torch: on a GPU where there is one, else by Triton's interpreter where that is."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when the kernels are made
pytest.importorskip("triton")

from acestep_pack.acestep_core.nn import triton_kernels as fused_kernels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NEAR = {torch.float32: {"atol": 1e-5, "rtol": 1e-5}, torch.bfloat16: {"atol": 0.02, "rtol": 0.01}}
EPS = 1e-6
dtypes = pytest.mark.parametrize("dtype", list(NEAR), ids=str)


def drawn(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def normed(x):
    return x.float() * (x.float().square().mean(-1, keepdim=True) + EPS).rsqrt()


@dtypes
@pytest.mark.parametrize("width", [16, 200, 2560])
@pytest.mark.parametrize("items", [1, 2])
def test_a_modulated_norm(dtype, width, items):
    x, weight = drawn(2, 5, width, dtype=dtype), drawn(width, dtype=dtype, seed=1)
    shift, scale = (part.expand(2, 1, -1) for part in drawn(items, 6, width, dtype=dtype, seed=2)[:, 1:3].split(1, 1))
    out = torch.full_like(x, float("nan"))
    fused_kernels.modulated(x, weight, shift, scale, out, EPS)
    expected = normed(x) * weight.float() * (1 + scale.float()) + shift.float()
    assert torch.allclose(out.float(), expected, **NEAR[dtype])


@dtypes
@pytest.mark.parametrize("width", [16, 48, 128])
@pytest.mark.parametrize("heads", [1, 3])
def test_heads_normed_and_turned(dtype, width, heads):
    x, weight = drawn(2, 7, heads, width, dtype=dtype), drawn(width, dtype=dtype, seed=1)
    cos, sin = drawn(2, 7, 1, width // 2, seed=2)
    out = torch.full_like(x, float("nan"))
    fused_kernels.normed_and_turned(x, weight, cos, sin, out, EPS)
    low, high = (normed(x) * weight.float()).chunk(2, dim=-1)
    expected = torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1)
    assert torch.allclose(out.float(), expected, **NEAR[dtype])


@dtypes
@pytest.mark.parametrize("rows", [1, 37])
@pytest.mark.parametrize("width", [8, 128, 200])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("in_place", [True, False])
def test_a_snake(dtype, rows, width, biased, in_place):
    x, bias = drawn(1, rows, width, dtype=dtype), drawn(width, dtype=dtype, seed=1) if biased else None
    rate, gain = drawn(2, width, seed=2).abs()
    wide = x.float() + (bias.float() if biased else 0)
    expected = wide + (wide * rate).sin().square() * gain
    target = x if in_place else torch.full_like(x, float("nan"))
    fused_kernels.snake(x, target, bias, rate, gain)
    assert torch.allclose(target.float(), expected, **NEAR[dtype])
