"""The Oobleck autoencoder's modules, by the names that diffusers' AutoencoderOobleck gives them.

They hold weights as files have them, weight norm in two parts; `nn/oobleck.py` folds and computes them.
"""

import math
from collections.abc import Sequence
from types import MappingProxyType

import torch
from torch import nn

from ..nn.network import Network


class Snake(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(1, channels, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1))


def normed(convolution: nn.Module) -> nn.Module:
    """A convolution whose weight is stored as weight norm has it: lengths `weight_g` and directions `weight_v`."""
    weight = convolution._parameters.pop("weight")
    convolution.weight_g = nn.Parameter(torch.ones(len(weight), 1, 1, device=weight.device))
    convolution.weight_v = nn.Parameter(weight.detach())
    return convolution


class ResidualUnit(nn.Module):
    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.snake1 = Snake(channels)
        self.conv1 = normed(nn.Conv1d(channels, channels, 7, dilation=dilation, padding=3 * dilation))
        self.snake2 = Snake(channels)
        self.conv2 = normed(nn.Conv1d(channels, channels, 1))


class _Block(nn.Module):
    def add_units(self, channels: int) -> None:
        self.res_unit1, self.res_unit2, self.res_unit3 = (ResidualUnit(channels, dilation) for dilation in (1, 3, 9))


class EncoderBlock(_Block):
    def __init__(self, channels: int, made: int, stride: int):
        super().__init__()
        self.add_units(channels)
        self.snake1 = Snake(channels)
        self.conv1 = normed(nn.Conv1d(channels, made, 2 * stride, stride=stride, padding=math.ceil(stride / 2)))


class DecoderBlock(_Block):
    def __init__(self, channels: int, made: int, stride: int):
        super().__init__()
        self.snake1 = Snake(channels)
        padding = math.ceil(stride / 2)
        self.conv_t1 = normed(nn.ConvTranspose1d(channels, made, 2 * stride, stride=stride, padding=padding))
        self.add_units(made)


class Encoder(nn.Module):
    """`widths`: channels before each block and after the last."""

    def __init__(self, audio_channels: int, widths: Sequence[int], strides: Sequence[int], made: int):
        super().__init__()
        self.conv1 = normed(nn.Conv1d(audio_channels, widths[0], 7, padding=3))
        self.block = nn.ModuleList(map(EncoderBlock, widths, widths[1:], strides))
        self.snake1 = Snake(widths[-1])
        self.conv2 = normed(nn.Conv1d(widths[-1], made, 3, padding=1))


class Decoder(nn.Module):
    """`widths`: channels before each block and after the last."""

    def __init__(self, latent_channels: int, widths: Sequence[int], strides: Sequence[int], audio_channels: int):
        super().__init__()
        self.conv1 = normed(nn.Conv1d(latent_channels, widths[0], 7, padding=3))
        self.block = nn.ModuleList(map(DecoderBlock, widths, widths[1:], strides))
        self.snake1 = Snake(widths[-1])
        self.conv2 = normed(nn.Conv1d(widths[-1], audio_channels, 7, padding=3, bias=False))


class Autoencoder(Network):
    """A vocoder's encoder and decoder; `config` holds the arguments of diffusers' class.

    `hop_length`: samples of a latent frame.
    """

    DEFAULTS = MappingProxyType(
        {
            "encoder_hidden_size": 128,
            "downsampling_ratios": [2, 4, 4, 8, 8],
            "channel_multiples": [1, 2, 4, 8, 16],
            "decoder_channels": 128,
            "decoder_input_channels": 64,
            "audio_channels": 2,
            "sampling_rate": 44100,
        }
    )

    def __init__(self, **arguments):
        super().__init__(**arguments)
        config, strides = self.config, list(self.config.downsampling_ratios)
        self.hop_length = math.prod(strides)
        widening = [1, *config.channel_multiples][: len(strides) + 1]
        inner = [config.encoder_hidden_size * times for times in widening]
        self.encoder = Encoder(config.audio_channels, inner, strides, config.encoder_hidden_size)
        narrowing = [config.decoder_channels * times for times in reversed(widening)]
        self.decoder = Decoder(config.decoder_input_channels, narrowing, strides[::-1], config.audio_channels)
