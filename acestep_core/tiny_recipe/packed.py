"""The forward pass of diffusers' ACE-Step transformer for training at small widths: the same function of the same
parameters, for items of different lengths in one sequence, without padding, its matrices in bfloat16 where the device
has it.

Everything but attention sees one long sequence of tokens. An item attends to its own tokens and its own states, so it
is what it would be by itself, as every song is when it is generated. Attention is written out: at a width of some
hundreds, the flash kernel's backward and float32 norms cost a CPU more than the matrix products.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F

from ..nn.attention import rotary_table, rotate
from ..nn.dtypes import product_dtype

FOLLOWER = 0  # the head that follows the lyrics, see sung.py; the first of its keys' group, too


def follower_layer(layers: int) -> int:
    """The layer of the head that follows the lyrics: the last of the first half."""
    return max(0, layers // 2 - 1)


@dataclass(frozen=True)
class Pack:
    """How many tokens each item of a sequence has, and how many states it hears."""

    tokens: tuple[int, ...]
    heard: tuple[int, ...]
    device: torch.device = torch.device("cpu")

    @cached_property
    def owners(self) -> torch.Tensor:
        """[N], the item of each token."""
        return torch.repeat_interleave(torch.tensor(self.tokens)).to(self.device)

    @cached_property
    def places(self) -> torch.Tensor:
        """[N], the place of each token in its item."""
        return torch.cat([torch.arange(count) for count in self.tokens]).to(self.device)

    def window_mask(self, reach: int) -> torch.Tensor:
        """[blocks, 2 reach, 4 reach], added to scores: whether a token lies within reach, and in the same item. Blocks
        are of 2 reach tokens, their keys begin `reach` tokens before.
        """
        count = -(-len(self.owners) // (2 * reach))
        # Beyond the ends are tokens of no item, which see each other.
        padded = F.pad(self.owners, (reach, 2 * reach * count - len(self.owners) + reach), value=-1)
        query, key = padded[reach:-reach].view(count, 2 * reach, 1), _windows(padded, reach)[:, None]
        place = torch.arange(4 * reach, device=self.device)
        near = (place[reach : 3 * reach, None] - place).abs() <= reach
        return torch.zeros(near.shape, device=self.device).masked_fill(~(near & (query == key)), float("-inf"))


def _windows(x: torch.Tensor, reach: int) -> torch.Tensor:
    """[2 reach (blocks + 1), ...] → [blocks, 4 reach, ...], each two halves further than the one before."""
    halves = x.unflatten(0, (-1, reach))
    last = len(halves) - 3
    return torch.cat([halves[i : last + i : 2] for i in range(4)], 1)


def _normed(x, weight):
    wide = x.float()
    return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6) * weight


def _plain(x, weight):
    return _normed(x, weight).to(x.dtype)


def _moved(x, weight, scale, shift):
    """Normalised, then each token [N, width] by its own scale and shift, [N, width] float32."""
    return (_normed(x, weight) * (1 + scale) + shift).to(x.dtype)


def _turned(x, weight, cos, sin):
    return rotate(_normed(x, weight), (cos, sin)).to(x.dtype)


def _added(x, y, gate):
    return (x + y * gate).to(x.dtype)


def _switched(gate, up):
    return F.silu(gate) * up


class _OfTokens(torch.autograd.Function):
    """Items' values [B, W] → those of their tokens [N, W]. torch's own gradient adds token by token."""

    @staticmethod
    def forward(ctx, values, owners, tokens):
        ctx.tokens = tokens
        return values[owners]

    @staticmethod
    def backward(ctx, grad):
        return torch.stack([part.sum(0) for part in grad.split(ctx.tokens)]), None, None


def _of_tokens(items, pack: Pack, count: int):
    """Values of items [B, count, W] → `count` of tokens [N, W]."""
    return _OfTokens.apply(items.flatten(1), pack.owners, pack.tokens).chunk(count, 1)


# What lies between the matrix products, one function each, so that it can be fused.
BETWEEN = {"plain": _plain, "moved": _moved, "turned": _turned, "added": _added, "switched": _switched}


class Between:
    """Those functions as they are called: as they stand, or fused."""

    plain, moved, turned = staticmethod(_plain), staticmethod(_moved), staticmethod(_turned)
    added, switched = staticmethod(_added), staticmethod(_switched)


def fuse() -> None:
    """Compile what lies between the matrix products; needs a C++ compiler (CPU) or Triton (GPU)."""
    for name, function in BETWEEN.items():  # as it stands: each stage of a training asks for it anew
        setattr(Between, name, staticmethod(torch.compile(function, dynamic=True)))


def _split(x, weight, head_dim):
    """[N, width] → [N, heads, head_dim]."""
    return F.linear(x, weight).unflatten(-1, (-1, head_dim))


def _seen(q, k, v, mask=None):
    """Queries [..., N, H, D] and keys [..., M, K, D] → [..., N, H D]; a mask [..., N, M] is added."""
    groups = q.shape[-2] // k.shape[-2]
    q, k, v = (x.transpose(-2, -3) for x in (q, k, v))
    queries = q.unflatten(-3, (k.shape[-3], groups)).flatten(-3, -2) * q.shape[-1] ** -0.5
    scores = queries @ k.transpose(-1, -2)
    if mask is not None:
        scores = (scores.unflatten(-2, (groups, -1)) + mask[..., None, None, :, :].to(scores.dtype)).flatten(-3, -2)
    seen = scores.softmax(-1) @ v  # the softmax itself is taken in float32, whatever goes in
    return seen.unflatten(-2, (groups, -1)).flatten(-4, -3).transpose(-2, -3).flatten(-2)


def _item_by_item(q, k, v, queries: tuple[int, ...], keys: tuple[int, ...]):
    return torch.cat([_seen(*one) for one in zip(q.split(queries), k.split(keys), v.split(keys))])


def _in_windows(q, k, v, reach: int, mask):
    count, tokens = len(mask), len(q)
    q = F.pad(q, (0, 0, 0, 0, 0, 2 * reach * count - tokens)).unflatten(0, (count, -1))
    k, v = (_windows(F.pad(x, (0, 0, 0, 0, reach, 2 * reach * count - tokens + reach)), reach) for x in (k, v))
    return _seen(q, k, v, mask).flatten(0, 1)[:tokens]


def block_forward(x, shifts, rotary, mask, states, p, head_dim: int, pack: Pack):
    """One block → the stream, and the queries [N, H, D] and keys [S, K, D] of its look at the states. `p` holds its
    parameters by their names, matrices in the dtype of x. `mask`: of windows, or None.
    """
    own = _of_tokens(p["scale_shift_table"] + shifts, pack, 6)
    shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = own
    y = Between.moved(x, p["self_attn_norm.weight"], scale, shift)
    q = Between.turned(_split(y, p["self_attn.to_q.weight"], head_dim), p["self_attn.norm_q.weight"], *rotary)
    k = Between.turned(_split(y, p["self_attn.to_k.weight"], head_dim), p["self_attn.norm_k.weight"], *rotary)
    v = _split(y, p["self_attn.to_v.weight"], head_dim)
    if mask is None:
        seen = _item_by_item(q, k, v, pack.tokens, pack.tokens)
    else:
        seen = _in_windows(q, k, v, mask.shape[-1] // 4, mask)
    x = Between.added(x, F.linear(seen, p["self_attn.to_out.0.weight"]), gate)
    y = Between.plain(x, p["cross_attn_norm.weight"])
    q = Between.plain(_split(y, p["cross_attn.to_q.weight"], head_dim), p["cross_attn.norm_q.weight"])
    k = Between.plain(_split(states, p["cross_attn.to_k.weight"], head_dim), p["cross_attn.norm_k.weight"])
    v = _split(states, p["cross_attn.to_v.weight"], head_dim)
    x = x + F.linear(_item_by_item(q, k, v, pack.tokens, pack.heard), p["cross_attn.to_out.0.weight"])
    y = Between.moved(x, p["mlp_norm.weight"], mlp_scale, mlp_shift)
    y = Between.switched(F.linear(y, p["mlp.gate_proj.weight"]), F.linear(y, p["mlp.up_proj.weight"]))
    return Between.added(x, F.linear(y, p["mlp.down_proj.weight"]), mlp_gate), q, k


class PackedForward:
    """Callable over a transformer whose parameters stay float32 for the optimiser.

    Items' frames lie one behind the other, each item filled up to whole patches with zeros: x_t [C, F], t [B], states
    [S, D], context [2C, F] → velocity [C, F], float32; and for auxiliary losses the stream after half of the layers
    [N, width], and the queries [N, D] and keys [S, D] by which FOLLOWER of the layer before looks at the states.
    """

    def __init__(self, transformer, dtype: torch.dtype | None = None):
        self.transformer, self.dtype = transformer, dtype

    def __call__(self, x_t, t, states, context, pack: Pack):
        net, config, dtype = self.transformer, self.transformer.config, self.dtype or product_dtype(x_t.device)
        channels = torch.cat([context, x_t]).to(dtype)
        patches = channels.unflatten(1, (-1, config.patch_size)).transpose(0, 1).flatten(1)
        # Kernel and stride are equal, so the convolution is a matrix product.
        x = F.linear(patches, net.proj_in_conv.weight.flatten(1).to(dtype), net.proj_in_conv.bias.to(dtype))
        state, shifts = net.time_embed(t)
        jump, jump_shifts = net.time_embed_r(torch.zeros_like(t))
        heard = net.condition_embedder
        states = F.linear(states.to(dtype), heard.weight.to(dtype), heard.bias.to(dtype))
        shifts = shifts + jump_shifts
        rotary = _rotary(pack, config.head_dim, config.rope_theta)
        reaches = [layer.self_attn.sliding_window for layer in net.layers]
        masks = {reach: pack.window_mask(reach) if reach else None for reach in set(reaches)}
        for depth, layer in enumerate(net.layers):
            p = {n: w.to(dtype) if n.endswith(".weight") and w.ndim == 2 else w for n, w in layer.named_parameters()}
            x, q, k = block_forward(x, shifts, rotary, masks[reaches[depth]], states, p, config.head_dim, pack)
            if depth == follower_layer(len(net.layers)):
                halfway, follows = x, (q[:, FOLLOWER], k[:, FOLLOWER])
        shift, scale = _of_tokens(net.scale_shift_table + (state + jump)[:, None], pack, 2)
        x = Between.moved(x, net.norm_out.weight, scale, shift)
        # Again a matrix product: [N, width] → [N, C, patch].
        made = F.linear(x, net.proj_out_conv.weight.flatten(1).T.to(dtype)).float()
        made = made.unflatten(1, (-1, config.patch_size)) + net.proj_out_conv.bias[:, None]
        return made.transpose(0, 1).flatten(1), halfway, follows


def _rotary(pack: Pack, head_dim: int, theta: float):
    longest = max(pack.tokens)
    table = rotary_table(longest, head_dim, theta, torch.empty(0, device=pack.device))
    return tuple(part[pack.places] for part in table)
