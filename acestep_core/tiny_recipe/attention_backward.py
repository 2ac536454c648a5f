"""The forward pass of diffusers' ACE-Step transformer for training at small widths: the same function of the same
parameters, in bfloat16. At a width of 256 the flash kernel's backward and float32 norms cost ten times the matrix
products; this form is 3.5 times as fast on a CPU.

x_t `[B, C, T]`, t `[B]`, states `[B, L, D]`, context `[B, 2C, T]` → velocity `[B, C, T]`, float32.
"""

import torch
import torch.nn.functional as F

from ..nn.attention import rotary_table, rotate

HALF = torch.bfloat16


def _normed(x, weight):
    wide = x.float()
    return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6) * weight


def _heads(x, weight, norm, head_dim, rotary=None):
    """[B, N, width] → [B, heads, N, head_dim], normalised and turned where a norm and a rotation are given."""
    x = F.linear(x, weight).unflatten(-1, (-1, head_dim))
    if norm is not None:
        x = _normed(x, norm)
    if rotary is not None:
        x = rotate(x, rotary)
    return x.to(HALF).transpose(1, 2)


def _attend(q, k, v, mask=None):
    # Written out: the flash kernel's backward is slow on a CPU, and these sequences are short.
    groups = q.shape[1] // k.shape[1]
    queries = q.unflatten(1, (k.shape[1], groups)).flatten(2, 3) * q.shape[-1] ** -0.5
    scores = (queries @ k.transpose(-1, -2)).float()
    if mask is not None:
        scores = (scores.unflatten(2, (groups, -1)) + mask).flatten(2, 3)
    seen = scores.softmax(-1).to(HALF) @ v
    return seen.unflatten(2, (groups, -1)).flatten(1, 2).transpose(1, 2).flatten(2)


def block_forward(x, shifts, rotary, mask, states, p, head_dim: int):
    """One block; `p` holds its parameters by their names, matrices in bfloat16."""
    shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (p["scale_shift_table"] + shifts).chunk(6, 1)
    y = (_normed(x, p["self_attn_norm.weight"]) * (1 + scale) + shift).to(HALF)
    q = _heads(y, p["self_attn.to_q.weight"], p["self_attn.norm_q.weight"], head_dim, rotary)
    k = _heads(y, p["self_attn.to_k.weight"], p["self_attn.norm_k.weight"], head_dim, rotary)
    v = _heads(y, p["self_attn.to_v.weight"], None, head_dim)
    x = x + (F.linear(_attend(q, k, v, mask), p["self_attn.to_out.0.weight"]) * gate).to(HALF)
    y = _normed(x, p["cross_attn_norm.weight"]).to(HALF)
    q = _heads(y, p["cross_attn.to_q.weight"], p["cross_attn.norm_q.weight"], head_dim)
    k = _heads(states, p["cross_attn.to_k.weight"], p["cross_attn.norm_k.weight"], head_dim)
    v = _heads(states, p["cross_attn.to_v.weight"], None, head_dim)
    x = x + F.linear(_attend(q, k, v), p["cross_attn.to_out.0.weight"])
    y = (_normed(x, p["mlp_norm.weight"]) * (1 + mlp_scale) + mlp_shift).to(HALF)
    y = F.silu(F.linear(y, p["mlp.gate_proj.weight"])) * F.linear(y, p["mlp.up_proj.weight"])
    return x + (F.linear(y, p["mlp.down_proj.weight"]) * mlp_gate).to(HALF)


class LeanForward:
    """Callable over a transformer whose parameters stay float32 for the optimiser. Returns the velocity, and the
    stream after half of the layers, [B, N, width], for an auxiliary loss.
    """

    def __init__(self, transformer):
        self.transformer = transformer

    def __call__(self, x_t, t, states, context):
        net, config = self.transformer, self.transformer.config
        frames, patch = x_t.shape[-1], config.patch_size
        channels = F.pad(torch.cat([context, x_t], 1), (0, -frames % patch)).to(HALF)
        # Kernel and stride are equal, so the convolution is a matrix product; as bfloat16 conv1d, with patches of 16,
        # oneDNN gave numbers of its own here.
        patches = channels.unflatten(2, (-1, patch)).permute(0, 2, 1, 3).flatten(2)
        x = F.linear(patches, net.proj_in_conv.weight.flatten(1).to(HALF), net.proj_in_conv.bias.to(HALF))
        state, shifts = net.time_embed(t)
        jump, jump_shifts = net.time_embed_r(torch.zeros_like(t))
        states = F.linear(states.to(HALF), net.condition_embedder.weight.to(HALF), net.condition_embedder.bias.to(HALF))
        halfway = x
        rotary = rotary_table(x.shape[1], config.head_dim, config.rope_theta, x_t)
        for depth, layer in enumerate(net.layers):
            halfway = x if depth == len(net.layers) // 2 else halfway
            p = {n: w.to(HALF) if n.endswith(".weight") and w.ndim == 2 else w for n, w in layer.named_parameters()}
            mask = _mask(x.shape[1], layer.self_attn.sliding_window, x_t)
            x = block_forward(x, shifts + jump_shifts, rotary, mask, states, p, config.head_dim)
        shift, scale = (net.scale_shift_table + (state + jump)[:, None]).chunk(2, 1)
        x = _normed(x, net.norm_out.weight) * (1 + scale) + shift
        return net.proj_out_conv(x.transpose(1, 2))[..., :frames], halfway


def _mask(tokens: int, reach: int | None, like: torch.Tensor) -> torch.Tensor:
    """[N, N] added to scores."""
    mask = torch.zeros(tokens, tokens, device=like.device)
    if reach is not None:
        at = torch.arange(tokens, device=like.device)
        mask.masked_fill_((at[:, None] - at).abs() > reach, float("-inf"))
    return mask
