"""A condition encoder's modules, by the names that diffusers' AceStepConditionEncoder gives them.

They hold weights; `condition.py` computes with them, and with diffusers' own.
"""

from types import MappingProxyType

import torch
from torch import nn

from ..nn.blocks import LAYER_DEFAULTS, MLP, Attention, layer_types, windows
from ..nn.network import Config, Network
from ..nn.rms_norm import RMSNorm


class Layer(nn.Module):
    def __init__(self, config: Config, sliding_window: int | None):
        super().__init__()
        self.self_attn = Attention(config, sliding_window)
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp = MLP(config.hidden_size, config.intermediate_size)


class Encoder(nn.Module):
    """A stack of layers over what a linear layer makes of vectors `width` wide."""

    def __init__(self, config: Config, width: int, kinds: list[str], layers: int):
        super().__init__()
        self.embed_tokens = nn.Linear(width, config.hidden_size)
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.head_dim, self.rope_theta = config.head_dim, config.rope_theta
        self.layers = nn.ModuleList(Layer(config, window) for window in windows(config, kinds, layers))


class ConditionEncoder(Network):
    """Text projector, lyric encoder, timbre encoder and the unconditional state [1, 1, D]."""

    DEFAULTS = MappingProxyType(
        LAYER_DEFAULTS
        | {"text_hidden_dim": 1024, "timbre_hidden_dim": 64}
        | {"num_lyric_encoder_hidden_layers": 8, "num_timbre_encoder_hidden_layers": 4}
    )

    def __init__(self, **arguments):
        super().__init__(**arguments)
        config = self.config
        sung, heard = config.num_lyric_encoder_hidden_layers, config.num_timbre_encoder_hidden_layers
        self.text_projector = nn.Linear(config.text_hidden_dim, config.hidden_size, bias=False)
        self.lyric_encoder = Encoder(config, config.text_hidden_dim, layer_types(config, sung), sung)
        # As in diffusers, a config's layer_types are the lyric encoder's.
        alternating = layer_types(Config(layer_types=None), heard)
        self.timbre_encoder = Encoder(config, config.timbre_hidden_dim, alternating, heard)
        self.timbre_encoder.special_token = nn.Parameter(torch.randn(1, 1, config.hidden_size))
        self.null_condition_emb = nn.Parameter(torch.randn(1, 1, config.hidden_size))
        self.register_buffer("silence_latent", torch.zeros(1, 1, config.timbre_hidden_dim))
