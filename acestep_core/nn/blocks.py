"""Layers that transformer and condition encoders share: the modules alone, by the names that diffusers gives them.

What they compute is in attention.py and rms_norm.py, which take diffusers' own modules as well.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from .network import Config
from .rms_norm import RMSNorm

LAYER_DEFAULTS = {
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "rope_theta": 1_000_000.0,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "rms_norm_eps": 1e-6,
    "sliding_window": 128,
    "layer_types": None,
}


class Attention(nn.Module):
    """Projections and norms of an attention with grouped heads. `sliding_window`: tokens to each side, None for all."""

    def __init__(self, config: Config, sliding_window: int | None = None):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = (
            config[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim")
        )
        self.sliding_window = sliding_window
        width, bias = config.hidden_size, config.attention_bias
        self.to_q = nn.Linear(width, self.heads * self.head_dim, bias=bias)
        self.to_k = nn.Linear(width, self.kv_heads * self.head_dim, bias=bias)
        self.to_v = nn.Linear(width, self.kv_heads * self.head_dim, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(self.heads * self.head_dim, width, bias=bias)])
        self.norm_q = RMSNorm(self.head_dim, eps=config.rms_norm_eps)
        self.norm_k = RMSNorm(self.head_dim, eps=config.rms_norm_eps)


class MLP(nn.Module):
    """SwiGLU (Shazeer 2020): [..., hidden] -> [..., hidden]."""

    def __init__(self, hidden: int, intermediate: int):
        super().__init__()
        self.gate_proj = nn.Linear(hidden, intermediate, bias=False)
        self.up_proj = nn.Linear(hidden, intermediate, bias=False)
        self.down_proj = nn.Linear(intermediate, hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


def layer_types(config: Config, layers: int) -> list[str]:
    """The kind of attention of each layer: the config's, else every other one with a window, the first one too."""
    return list(config.layer_types or (("sliding_attention", "full_attention")[i % 2] for i in range(layers)))


def windows(config: Config, kinds: Sequence[str], layers: int) -> list[int | None]:
    """The window of each layer, None for full attention."""
    return [config.sliding_window if kind == "sliding_attention" else None for kind in kinds[:layers]]
