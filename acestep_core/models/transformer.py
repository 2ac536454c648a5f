"""The diffusion transformer's modules, by the names that diffusers' AceStepTransformer1DModel gives them.

They hold weights and compute no velocity: `velocity.py` does, from these and from diffusers' own. diffusers itself is
not imported for a song: its import takes longer than the steps of a short one.
"""

import math
from types import MappingProxyType

import torch
from torch import nn

from ..nn.blocks import LAYER_DEFAULTS, MLP, Attention, layer_types, windows
from ..nn.network import Config, Network
from ..nn.rms_norm import RMSNorm

SINUSOID_CHANNELS = 256
LONGEST_PERIOD = 10_000


class Sinusoid(nn.Module):
    """Times [B] -> [B, channels], float32: cosines, then sines, of rates from 1 down to 1 / LONGEST_PERIOD."""

    def __init__(self, channels: int):
        super().__init__()
        self.half = channels // 2

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        exponents = -math.log(LONGEST_PERIOD) * torch.arange(self.half, dtype=torch.float32, device=t.device)
        angles = t[:, None].float() * torch.exp(exponents / self.half)
        return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimeEmbedding(nn.Module):
    """The layers of the embedding of a flow time; `scale` multiplies the time first."""

    def __init__(self, width: int):
        super().__init__()
        self.scale = 1000.0
        self.time_sinusoid = Sinusoid(SINUSOID_CHANNELS)
        self.linear_1 = nn.Linear(SINUSOID_CHANNELS, width)
        self.act1 = nn.SiLU()
        self.linear_2 = nn.Linear(width, width)
        self.act2 = nn.SiLU()
        self.time_proj = nn.Linear(width, 6 * width)


class Block(nn.Module):
    """A layer: attention to the music, attention to the condition, MLP; a table of shifts, scales and gates."""

    def __init__(self, config: Config, sliding_window: int | None):
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.self_attn_norm = RMSNorm(width, eps=eps)
        self.self_attn = Attention(config, sliding_window)
        self.cross_attn_norm = RMSNorm(width, eps=eps)
        self.cross_attn = Attention(config)
        self.mlp_norm = RMSNorm(width, eps=eps)
        self.mlp = MLP(width, config.intermediate_size)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, width) / width**0.5)


class Transformer(Network):
    """A diffusion transformer; `config` holds the arguments of diffusers' class."""

    DEFAULTS = MappingProxyType(
        LAYER_DEFAULTS
        | {"num_hidden_layers": 24, "in_channels": 192, "audio_acoustic_hidden_dim": 64, "patch_size": 2}
        | {"encoder_hidden_size": None, "is_turbo": False, "model_version": None}
    )

    def __init__(self, **arguments):
        super().__init__(**arguments)
        config, layers = self.config, self.config.num_hidden_layers
        width, patch = config.hidden_size, config.patch_size
        self.layer_types = layer_types(config, layers)
        self.layers = nn.ModuleList(Block(config, window) for window in windows(config, self.layer_types, layers))
        self.proj_in_conv = nn.Conv1d(config.in_channels, width, patch, stride=patch)
        self.time_embed = TimeEmbedding(width)
        self.time_embed_r = TimeEmbedding(width)
        self.condition_embedder = nn.Linear(config.encoder_hidden_size or width, width)
        self.norm_out = RMSNorm(width, eps=config.rms_norm_eps)
        self.proj_out_conv = nn.ConvTranspose1d(width, config.audio_acoustic_hidden_dim, patch, stride=patch)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, width) / width**0.5)
