"""Triton kernels of triton_ops.py. Tensors are contiguous, except shift and scale; the arithmetic is float32."""

import torch
import triton
import triton.language as tl

HEADS_AT_ONCE = 16
ROWS_AT_ONCE, CHANNELS_AT_ONCE = 16, 128


def modulated(x, weight, shift, scale, out, eps: float) -> None:
    items, tokens, width = x.shape
    steps, block = (shift.stride(0), scale.stride(0)), triton.next_power_of_2(width)
    _modulated[(items * tokens,)](x, weight, shift, scale, out, tokens, width, *steps, eps, block)


@triton.jit
def _modulated(x, weight, shift, scale, out, tokens, width, shift_step, scale_step, eps, WIDTH: tl.constexpr):
    row = tl.program_id(0)
    item = row // tokens
    column = tl.arange(0, WIDTH)
    inside = column < width
    at = row.to(tl.int64) * width + column
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    inverse = tl.rsqrt(tl.sum(value * value, 0) / width + eps)
    factor = tl.load(scale + item * scale_step + column, mask=inside, other=0.0).to(tl.float32) + 1
    factor *= tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    moved = tl.load(shift + item * shift_step + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, (value * inverse * factor + moved).to(out.dtype.element_ty), mask=inside)


def normed_and_turned(x, weight, cos, sin, out, eps: float) -> None:
    items, tokens, heads, width = x.shape
    rows = items * tokens * heads
    half = width // 2
    _normed_and_turned[(triton.cdiv(rows, HEADS_AT_ONCE),)](
        x, weight, cos, sin, out, rows, tokens, heads, eps, half, triton.next_power_of_2(half), HEADS_AT_ONCE
    )


@triton.jit
def _normed_and_turned(
    x, weight, cos, sin, out, rows, tokens, heads, eps, HALF: tl.constexpr, BLOCK: tl.constexpr, AT_ONCE: tl.constexpr
):
    row = tl.program_id(0) * AT_ONCE + tl.arange(0, AT_ONCE)
    column = tl.arange(0, BLOCK)
    there = column < HALF
    inside = (row < rows)[:, None] & there[None]
    at = row[:, None].to(tl.int64) * (2 * HALF) + column[None]
    low = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    high = tl.load(x + at + HALF, mask=inside, other=0.0).to(tl.float32)
    inverse = tl.rsqrt((tl.sum(low * low, 1) + tl.sum(high * high, 1)) / (2 * HALF) + eps)[:, None]
    low = low * inverse * tl.load(weight + column, mask=there, other=0.0).to(tl.float32)[None]
    high = high * inverse * tl.load(weight + column + HALF, mask=there, other=0.0).to(tl.float32)[None]
    turn = ((row // heads) % tokens)[:, None] * HALF + column[None]
    c, s = tl.load(cos + turn, mask=inside, other=0.0), tl.load(sin + turn, mask=inside, other=0.0)
    tl.store(out + at, (low * c - high * s).to(out.dtype.element_ty), mask=inside)
    tl.store(out + at + HALF, (high * c + low * s).to(out.dtype.element_ty), mask=inside)


def snake(x, target, bias: torch.Tensor | None, rate, gain) -> None:
    width = x.shape[-1]
    rows = x.numel() // width
    grid = triton.cdiv(rows, ROWS_AT_ONCE), triton.cdiv(width, CHANNELS_AT_ONCE)
    _snake[grid](
        x, target, rate if bias is None else bias, rate, gain, rows, width, bias is not None, ROWS_AT_ONCE,
        CHANNELS_AT_ONCE,
    )  # fmt: skip


@triton.jit
def _snake(x, target, bias, rate, gain, rows, width, BIASED: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < width
    inside = (row < rows)[:, None] & there[None]
    at = row[:, None].to(tl.int64) * width + channel[None]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    if BIASED:
        value += tl.load(bias + channel, mask=there, other=0.0).to(tl.float32)[None]
    wave = tl.sin(value * tl.load(rate + channel, mask=there, other=0.0).to(tl.float32)[None])
    value += wave * wave * tl.load(gain + channel, mask=there, other=0.0).to(tl.float32)[None]
    tl.store(target + at, value.to(target.dtype.element_ty), mask=inside)
