"""The Oobleck autoencoder of diffusers laid out for speed: the same function, from the same weights.

Inside, time comes before channels, [B, N, C], so no convolution has to reorder its input; a 1x1 convolution is a matrix
product; a transposed convolution of kernel 2s and stride s is one of kernel 2 that makes s samples at a time. Weight
norm is folded when the network is made, and a snake needs no memory besides its input.

Every layer takes and returns a Pending: a bias that would need a pass of its own, as after a product in place and after
every convolution on GPUs, is added by the next snake.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from . import triton_ops

# Elements that a snake computes at once, so that on a CPU they stay in its cache.
SNAKE_ELEMENTS = 1 << 19
# From this dilation on, cuDNN chooses in half precision, at many lengths, a kernel 500 times slower than others.
FOLDED_DILATION = 9


class Pending(NamedTuple):
    """A tensor [B, N, C], and a bias [C] that is still to be added to it, or None."""

    x: torch.Tensor
    bias: torch.Tensor | None = None

    def settled(self) -> torch.Tensor:
        return self.x if self.bias is None else self.x + self.bias

    def plus(self, bias: torch.Tensor | None) -> "Pending":
        if bias is None:
            return self
        return Pending(self.x, bias if self.bias is None else self.bias + bias)

    def cut(self, part: slice) -> "Pending":
        return Pending(self.x[:, part], self.bias)


def _weight(module: nn.Module) -> torch.Tensor:
    """The weight of a convolution with its weight norm folded in, as torch's hook computes it."""
    if hasattr(module, "weight_v"):
        return torch._weight_norm(module.weight_v, module.weight_g, 0)
    return module.weight


def _fixed(tensor: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().contiguous(), requires_grad=False)


class Snake(nn.Module):
    """x + sin²(rate · x) · gain on [B, N, C], in float32."""

    def __init__(self, snake: nn.Module):
        super().__init__()
        self.rate = _fixed(snake.alpha.exp().flatten())
        self.gain = _fixed((snake.beta.exp() + 1e-9).reciprocal().flatten())

    def forward(self, given: Pending) -> Pending:
        """The snake of `given` as a new tensor."""
        return self._into(torch.empty_like(given.x), given)

    def in_place(self, given: Pending) -> Pending:
        return self._into(given.x, given)

    def _into(self, target: torch.Tensor, given: Pending) -> Pending:
        x, rate, gain = given.x, self.rate.float(), self.gain.float()
        if triton_ops.usable(x):
            return Pending(triton_ops.snake(x, target, given.bias, rate, gain))
        rows = x.shape[1] if x.device.type != "cpu" else max(1, SNAKE_ELEMENTS // x.shape[-1])
        waves = x.new_empty((len(x), min(rows, x.shape[1]), x.shape[2]), dtype=torch.float32)
        wide = None if x.dtype == torch.float32 else torch.empty_like(waves)
        for source, place in zip(x.split(rows, 1), target.split(rows, 1)):
            if wide is not None:
                source = wide[:, : source.shape[1]].copy_(source)
            if given.bias is not None:
                source = torch.add(source, given.bias, out=place if wide is None else source)
            wave = torch.mul(source, rate, out=waves[:, : source.shape[1]]).sin_().square_()
            if wide is None:
                torch.addcmul(source, wave, gain, out=place)
            else:
                place.copy_(source.addcmul_(wave, gain))
        return Pending(target)


class Convolution(nn.Module):
    """A Conv1d on [B, N, C]."""

    def __init__(self, conv: nn.Conv1d):
        super().__init__()
        weight = _weight(conv)
        self.pointwise = weight.shape[-1] == 1
        self.weight = nn.Parameter(
            weight[..., 0].contiguous()
            if self.pointwise
            else weight[:, :, None].contiguous(memory_format=torch.channels_last),
            requires_grad=False,
        )
        self.bias = None if conv.bias is None else _fixed(conv.bias)
        self.stride, self.padding, self.dilation = conv.stride[0], conv.padding[0], conv.dilation[0]

    def forward(self, given: Pending) -> Pending:
        x, (now, later) = given.settled(), _biases(self, given.x)
        if self.pointwise:
            return Pending(functional.linear(x, self.weight, now), later)
        if x.is_cuda and x.dtype != torch.float32 and self.dilation >= FOLDED_DILATION:
            return Pending(self.folded(x, now), later)
        how = dict(stride=(1, self.stride), padding=(0, self.padding), dilation=(1, self.dilation))
        return Pending(_outside(functional.conv2d(_inside(x), self.weight, now, **how)), later)

    def folded(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """The same convolution without dilation, on an image whose rows are as long as the dilation. For strides of 1
        that keep the length.
        """
        rows = functional.pad(x, (0, 0, 0, -x.shape[1] % self.dilation)).unflatten(1, (-1, self.dilation))
        taps, padding = self.weight.transpose(2, 3), (self.padding // self.dilation, 0)
        image = functional.conv2d(rows.permute(0, 3, 1, 2), taps, bias, padding=padding)
        return image.permute(0, 2, 3, 1).flatten(1, 2)[:, : x.shape[1]].contiguous()

    def onto(self, stream: Pending, given: Pending) -> Pending:
        """`stream` plus the pointwise convolution of `given`, added in place."""
        channels = stream.x.shape[-1]
        stream.x.view(-1, channels).addmm_(given.x.view(-1, channels), self.weight.t())
        return stream.plus(self.bias)


def _biases(layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """A layer's bias as (the part that the layer adds, the part that the next snake adds)."""
    return (None, layer.bias) if triton_ops.usable(x) else (layer.bias, None)


def _inside(x: torch.Tensor) -> torch.Tensor:
    """[B, N, C] as an image [B, C, 1, N] with channels last, without a copy."""
    return x.transpose(1, 2).unsqueeze(2)


def _outside(image: torch.Tensor) -> torch.Tensor:
    return image.squeeze(2).transpose(1, 2).contiguous()


class Upsampling(nn.Module):
    """A ConvTranspose1d of kernel 2s and stride s on [B, N, C].

    Sample j·s + k of its untrimmed output is x[j] · w[k] + x[j - 1] · w[s + k]: a convolution of kernel 2 with s times
    the channels, whose output in memory is the samples in order.
    """

    def __init__(self, conv: nn.ConvTranspose1d):
        super().__init__()
        weight, self.stride, self.trim = _weight(conv), conv.stride[0], conv.padding[0]  # weight [I, O, 2s]
        channels = weight.shape[1]
        first, last = weight.split(self.stride, dim=2)
        taps = torch.stack([last, first], dim=-1)  # [I, O, s, 2]
        taps = taps.permute(2, 1, 0, 3).reshape(self.stride * channels, -1, 1, 2)
        self.weight = nn.Parameter(taps.contiguous(memory_format=torch.channels_last), requires_grad=False)
        self.bias = None if conv.bias is None else _fixed(conv.bias)

    def forward(self, given: Pending) -> Pending:
        x, bias = given.settled(), None if self.bias is None else self.bias.repeat(self.stride)
        if x.is_cuda and x.dtype != torch.float32:  # a matrix product, in which a GPU adds the bias at no cost
            x = functional.pad(x, (0, 0, 1, 1))
            taps = self.weight[:, :, 0].transpose(1, 2).flatten(1)  # [s O, 2 I]
            made = functional.linear(torch.cat([x[:, :-1], x[:, 1:]], dim=2), taps, bias)
        else:
            made = _outside(functional.conv2d(_inside(x), self.weight, bias, padding=(0, 1)))
        made = made.unflatten(2, (self.stride, -1)).flatten(1, 2)
        return Pending(made[:, self.trim : made.shape[1] - self.trim].contiguous())


class Residual(nn.Module):
    def __init__(self, unit: nn.Module):
        super().__init__()
        self.snake1, self.conv1 = Snake(unit.snake1), Convolution(unit.conv1)
        self.snake2, self.conv2 = Snake(unit.snake2), Convolution(unit.conv2)

    def forward(self, stream: Pending) -> Pending:
        """In place, as callers hold `stream` until the block is done; a new tensor would only add memory."""
        return self.conv2.onto(stream, self.snake2.in_place(self.conv1(self.snake1(stream))))


def _residuals(block: nn.Module) -> nn.Sequential:
    return nn.Sequential(*(Residual(unit) for unit in (block.res_unit1, block.res_unit2, block.res_unit3)))


class DecoderBlock(nn.Module):
    def __init__(self, block: nn.Module):
        super().__init__()
        self.snake, self.conv, self.residuals = Snake(block.snake1), Upsampling(block.conv_t1), _residuals(block)

    def forward(self, stream: Pending) -> Pending:
        return self.residuals(self.conv(self.snake.in_place(stream)))


class EncoderBlock(nn.Module):
    def __init__(self, block: nn.Module):
        super().__init__()
        self.residuals, self.snake, self.conv = _residuals(block), Snake(block.snake1), Convolution(block.conv1)

    def forward(self, stream: Pending) -> Pending:
        return self.conv(self.snake.in_place(self.residuals(stream)))


class Half(nn.Module):
    """Encoder or decoder: [B, C, N] -> [B, C', N'], time last again."""

    def __init__(self, network: nn.Module, block: type[nn.Module]):
        super().__init__()
        self.head, self.blocks = Convolution(network.conv1), nn.Sequential(*map(block, network.block))
        self.snake, self.tail = Snake(network.snake1), Convolution(network.conv2)

    def forward(self, x: torch.Tensor, cuts: Sequence[slice] | None = None) -> torch.Tensor:
        """`cuts`: the slices kept before each block, before the last layer, and after it; None keeps everything."""
        *before, last = cuts or [slice(None)] * (len(self.blocks) + 2)
        stream = self.head(Pending(x.transpose(1, 2).contiguous()))
        for block, cut in zip(self.blocks, before):
            stream = block(stream.cut(cut))
        stream = self.tail(self.snake.in_place(stream.cut(before[-1])))
        return stream.cut(last).settled().transpose(1, 2)


class Oobleck(nn.Module):
    """Encoder (samples -> mean and scale of the latents) and decoder (latents -> samples) of an AutoencoderOobleck.

    The weights are copies, folded at their own precision.
    """

    def __init__(self, vae: nn.Module):
        super().__init__()
        with torch.no_grad():
            self.encoder, self.decoder = Half(vae.encoder, EncoderBlock), Half(vae.decoder, DecoderBlock)
        self.eval()
