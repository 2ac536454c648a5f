"""Attention of the music transformers: rotary tables, grouped heads, and sliding windows computed without a full mask.

Queries are [B, H, N, D], keys and values [B, K, N, D] with K dividing H; N tokens. A window w lets token i attend to
j where |i - j| <= w, without an [N, N] mask, so work and memory grow with N and not with its square. `window_of`
chooses the method once a run: flash attention with windows, on GPUs that have it; else chunks of tokens, each with the
keys in its window, one after another on a CPU and batched elsewhere.
"""

import functools
import logging
from dataclasses import dataclass

import torch
from torch.nn import functional

from . import triton_ops
from .rms_norm import inverse_rms, is_plain, normed

logger = logging.getLogger(__name__)

CHUNK_TOKENS = 128  # measured best of 64 to 512 at the published window of 128


def rotary_table(tokens: int, head_dim: int, theta: float, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines [tokens, 1, head_dim / 2], float32, rounded to the dtype of `like`, on its device."""
    rates = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(tokens, dtype=torch.float32), rates)
    return tuple(table[:, None].to(like).float() for table in (angles.cos(), angles.sin()))


def rotate(x: torch.Tensor, table: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Heads [B, N, H, D] rotated by their positions; computed in float32."""
    return _turned(x, x.dtype, *table, *table)


def _turned(x: torch.Tensor, dtype: torch.dtype, low_cos, low_sin, high_cos, high_sin) -> torch.Tensor:
    low, high = (half.float() for half in x.chunk(2, dim=-1))
    turned = torch.addcmul(low * low_cos, high, high_sin, value=-1), torch.addcmul(high * high_cos, low, low_sin)
    return torch.cat([half.to(dtype) for half in turned], dim=-1)


def _normed_and_turned(
    norm: torch.nn.Module, x: torch.Tensor, table: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """Heads [B, N, H, D] normed, then rotated."""
    if is_plain(norm) and triton_ops.usable(x):
        return triton_ops.normed_and_turned(x, norm.weight, *table, norm.eps)
    if not is_plain(norm) or x.device.type != "cpu":
        return rotate(normed(norm, x), table)
    # The norm's weight is multiplied into the table, which is small.
    low, high = ([part * half for part in table] for half in norm.weight.float().chunk(2))
    return _turned(x * inverse_rms(x, norm.eps), x.dtype, *low, *high)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Softmax attention -> [B, H, N, D]. `mask` [N, M], True where attended; or [B, 1, 1, M], added to the scores."""
    groups = q.shape[1] // k.shape[1]
    if groups == 1 or q.device.type == "cpu" or (mask is None and has_flash(q.device, q.dtype, q.shape[3])):
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=groups > 1)
    # Elsewhere fused kernels refuse grouped heads in some cases (float32, a mask): there the queries of a group are
    # concatenated as more tokens of the same head.
    folded = q.unflatten(1, (k.shape[1], groups)).flatten(2, 3)
    mask = mask if mask is None or mask.shape[-2] == 1 else mask.repeat(groups, 1)
    seen = functional.scaled_dot_product_attention(folded, k, v, attn_mask=mask)
    return seen.unflatten(2, (groups, q.shape[2])).flatten(1, 2)


@functools.cache
def has_flash(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether torch has flash attention with windows and grouped heads: tried, as some builds ignore windows."""
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return False
    with torch.inference_mode():
        ramp = torch.linspace(-1, 1, 32 * head_dim, device=device).to(dtype)
        q, k = (ramp[: count * 8 * head_dim].reshape(1, count, 8, head_dim) for count in (4, 2))
        place = torch.arange(8, device=device)
        seen = (place[:, None] - place).abs() <= 1
        wide = (part.float().repeat_interleave(4 // part.shape[1], dim=1) for part in (q, k, k))
        right = functional.scaled_dot_product_attention(*wide, attn_mask=seen)
        try:
            return torch.allclose(_flash(q, k, k, 1).float(), right, rtol=0.02, atol=0.02)
        except torch.OutOfMemoryError:  # not evidence against flash attention: the caller handles it
            raise
        except (RuntimeError, TypeError, AttributeError) as exc:  # no such function in this torch, or another signature
            logger.info("no flash attention with windows here: %s", exc)
            return False


def _flash(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, reach: int) -> torch.Tensor:
    # torch's own function below scaled_dot_product_attention, which takes no window.
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    window = {"window_size_left": reach, "window_size_right": reach}
    flash = torch.ops.aten._flash_attention_forward
    return flash(q, k, v, None, None, q.shape[1], k.shape[1], 0.0, False, False, **window)[0].transpose(1, 2)


def heads(x: torch.Tensor, head_dim: int) -> torch.Tensor:
    """A projection [B, N, heads * D] -> [B, N, heads, D]; the number of heads follows from its width."""
    return x.unflatten(-1, (-1, head_dim))


def out(attn: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """[B, H, N, D] -> [B, N, hidden], through a diffusers attention's output layers."""
    x = x.transpose(1, 2).flatten(2)
    for layer in attn.to_out:
        x = layer(x)
    return x


def self_attention(
    attn: torch.nn.Module, x: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor], window: "Window | None"
) -> torch.Tensor:
    """A diffusers self-attention of the stream [B, N, hidden], within the window if there is one."""
    q = _normed_and_turned(attn.norm_q, heads(attn.to_q(x), attn.head_dim), rotary).transpose(1, 2)
    k = _normed_and_turned(attn.norm_k, heads(attn.to_k(x), attn.head_dim), rotary).transpose(1, 2)
    v = heads(attn.to_v(x), attn.head_dim).transpose(1, 2)
    return out(attn, attend(q, k, v) if window is None else attend_window(q, k, v, window))


@dataclass(frozen=True)
class Window:
    """A window's reach among `tokens`, with masks that are made once. Made by `window_of`."""

    tokens: int
    reach: int
    # [CHUNK_TOKENS, CHUNK_TOKENS + 2 reach], True where attended; key 0 is `reach` tokens before. None for flash.
    band: torch.Tensor | None = None
    # [blocks, 1, CHUNK_TOKENS, CHUNK_TOKENS + 2 reach]; None on a CPU, which runs chunk by chunk.
    blocks: torch.Tensor | None = None


def reach_of(layer: torch.nn.Module) -> int | None:
    """The window of a layer of diffusers; None is full attention."""
    return layer.self_attn.sliding_window


def window_of(tokens: int, reach: int | None, like: torch.Tensor, head_dim: int) -> Window | None:
    """The window of a sequence on the device and in the dtype of `like`, or None for full attention (no reach, or
    one as long as the sequence).
    """
    if reach is None or reach >= tokens - 1:
        return None
    if has_flash(like.device, like.dtype, head_dim):
        return Window(tokens, reach)
    query = torch.arange(CHUNK_TOKENS, device=like.device)[:, None]
    key = torch.arange(-reach, CHUNK_TOKENS + reach, device=like.device)
    band = (query - key).abs() <= reach
    return Window(tokens, reach, band, None if like.device.type == "cpu" else block_masks(tokens, band))


def block_masks(tokens: int, band: torch.Tensor) -> torch.Tensor:
    """The mask of every chunk, without keys outside the song."""
    chunk = len(band)
    starts = torch.arange(0, tokens, chunk, device=band.device)[:, None]
    query = starts + torch.arange(chunk, device=band.device)
    key = starts - (band.shape[1] - chunk) // 2 + torch.arange(band.shape[1], device=band.device)
    inside = (key >= 0) & (key < tokens)
    # Queries past the end are dropped later; they attend to something, as their NaN would reach gradients.
    return (band & (inside[:, None, :] | (query >= tokens)[:, :, None]))[:, None]


def attend_window(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: Window) -> torch.Tensor:
    """Attention within the window -> [B, H, N, D]; equal to attention with a dense mask up to the order of sums."""
    if window.band is None:
        return _flash(q, k, v, window.reach)
    return attend_chunks(q, k, v, window) if window.blocks is None else attend_blocks(q, k, v, window)


def attend_chunks(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: Window) -> torch.Tensor:
    """One call a chunk, which is the fastest way on a CPU."""
    tokens, reach, chunk = window.tokens, window.reach, len(window.band)
    parts = []
    for start in range(0, tokens, chunk):
        end = min(start + chunk, tokens)
        low, high = max(start - reach, 0), min(end + reach, tokens)
        mask = window.band[: end - start, low - start + reach : high - start + reach]
        parts.append(attend(q[:, :, start:end], k[:, :, low:high], v[:, :, low:high], mask))
    return torch.cat(parts, dim=2)


def attend_blocks(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: Window) -> torch.Tensor:
    """One call for all chunks as a batch, which is fast where kernel launches cost."""
    (batch, count, tokens, width), groups, blocks = q.shape, q.shape[1] // k.shape[1], len(window.blocks)
    chunk, seen = window.blocks.shape[2:]
    missing = blocks * chunk - tokens
    q = functional.pad(q, (0, 0, 0, missing)).unflatten(1, (-1, groups)).unflatten(3, (blocks, chunk))
    q = q.permute(0, 3, 1, 2, 4, 5).reshape(batch * blocks, -1, groups * chunk, width)
    k, v = (
        functional.pad(x, (0, 0, window.reach, window.reach + missing))
        .unfold(2, seen, chunk)  # [B, K, blocks, D, seen]
        .permute(0, 2, 1, 4, 3)
        .reshape(batch * blocks, -1, seen, width)
        for x in (k, v)
    )
    mask = window.blocks.repeat(batch, 1, groups, 1)
    made = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    made = made.reshape(batch, blocks, -1, groups, chunk, width).permute(0, 2, 3, 1, 4, 5)
    return made.reshape(batch, count, blocks * chunk, width)[:, :, :tokens]
