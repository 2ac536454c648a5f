"""Qwen3 as a text encoder: its modules by the names that transformers gives them, and its forward pass.

`hidden_states` computes what transformers' Qwen3Model does, operation by operation, from its own modules or from these.
transformers itself is not imported: its import takes longer than a short song.
"""

from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..nn.blocks import MLP
from ..nn.network import Config, Network
from ..nn.rms_norm import RMSNorm

Tables = tuple[torch.Tensor, torch.Tensor]  # cosines and sines [N, head_dim]


class Attention(nn.Module):
    """`sliding_window`: tokens that a token attends to, itself and those before it; None for all."""

    def __init__(self, config: Config, sliding_window: int | None):
        super().__init__()
        width, head, bias = config.hidden_size, config.head_dim, config.attention_bias
        self.head_dim, self.sliding_window = head, sliding_window
        self.q_proj = nn.Linear(width, config.num_attention_heads * head, bias=bias)
        self.k_proj = nn.Linear(width, config.num_key_value_heads * head, bias=bias)
        self.v_proj = nn.Linear(width, config.num_key_value_heads * head, bias=bias)
        self.o_proj = nn.Linear(config.num_attention_heads * head, width, bias=bias)
        self.q_norm = RMSNorm(head, config.rms_norm_eps)
        self.k_norm = RMSNorm(head, config.rms_norm_eps)


class Layer(nn.Module):
    def __init__(self, config: Config, sliding_window: int | None):
        super().__init__()
        self.self_attn = Attention(config, sliding_window)
        self.mlp = MLP(config.hidden_size, config.intermediate_size)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Rotary(nn.Module):
    """Rates of rotation [head_dim / 2], in full precision at any dtype of the weights."""

    def __init__(self, head_dim: int, theta: float):
        super().__init__()
        rates = 1.0 / (theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim))
        self.register_buffer("inv_freq", rates, persistent=False)


class Qwen3(Network):
    """A Qwen3 without its head, to be filled with weights; `config` holds the keys of its config.json."""

    DEFAULTS = MappingProxyType(
        {
            "vocab_size": 151_936,
            "hidden_size": 4096,
            "intermediate_size": 22_016,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "head_dim": 128,
            "rms_norm_eps": 1e-6,
            "attention_bias": False,
            "rope_theta": 10_000.0,
            "max_position_embeddings": 32_768,
            "use_sliding_window": False,
            "sliding_window": 4096,
            "max_window_layers": 28,
            "layer_types": None,
        }
    )

    def __init__(self, **arguments: Any):
        super().__init__(**arguments)
        config = self.config
        # Not drawn, as weights come from a file: torch imports its compiler to draw normal numbers without memory.
        words = torch.empty(config.vocab_size, config.hidden_size)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, _weight=words)
        self.layers = nn.ModuleList(Layer(config, window) for window in _windows(config))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = Rotary(config.head_dim, config.rope_theta)


def _windows(config: Config) -> list[int | None]:
    """The window of each layer: those from `max_window_layers` on have one, unless `layer_types` says otherwise."""
    first, layers = config.max_window_layers, config.num_hidden_layers
    kinds = config.layer_types or ["full_attention"] * min(first, layers) + ["sliding_attention"] * (layers - first)
    window = config.sliding_window if config.use_sliding_window else None
    return [window if kind == "sliding_attention" else None for kind in kinds[:layers]]


def hidden_states(network: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Tokens [1, N] -> the last hidden states [1, N, D] of a Qwen3, its own or transformers'."""
    stream = network.embed_tokens(ids)
    tables = _rotary(network.rotary_emb.inv_freq, stream)
    for layer in network.layers:
        stream = stream + _attention(layer.self_attn, layer.input_layernorm(stream), tables)
        stream = stream + layer.mlp(layer.post_attention_layernorm(stream))
    return network.norm(stream)


def _rotary(rates: torch.Tensor, like: torch.Tensor) -> Tables:
    angles = torch.arange(like.shape[1], device=like.device)[:, None].float() * rates.to(like.device, torch.float32)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def _attention(attn: nn.Module, x: torch.Tensor, tables: Tables) -> torch.Tensor:
    q, k, v = (project(x).unflatten(-1, (-1, attn.head_dim)) for project in (attn.q_proj, attn.k_proj, attn.v_proj))
    q, k = (_turned(norm(part).transpose(1, 2), tables) for norm, part in ((attn.q_norm, q), (attn.k_norm, k)))
    is_grouped = q.shape[1] != k.shape[1]
    mask = _mask(attn.sliding_window, x)
    how = {"attn_mask": mask, "is_causal": mask is None, "enable_gqa": is_grouped}
    seen = functional.scaled_dot_product_attention(q, k, v.transpose(1, 2), **how)
    return attn.o_proj(seen.transpose(1, 2).flatten(2))


def _mask(window: int | None, x: torch.Tensor) -> torch.Tensor | None:
    """True where a token is attended to, [N, N]; None where each attends to all before it."""
    if window is None or window >= x.shape[1]:
        return None
    ones = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device)
    return ones.tril() & ones.triu(1 - window)


def _turned(x: torch.Tensor, tables: Tables) -> torch.Tensor:
    """Heads [1, H, N, d] rotated by their positions, the two halves as pairs."""
    low, high = x.chunk(2, dim=-1)
    return x * tables[0] + torch.cat([-high, low], dim=-1) * tables[1]
