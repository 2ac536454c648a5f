"""Layers whose weights stay in main memory and are fetched for each call: a transformer larger than a card's memory."""

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from .module_tree import replace

if TYPE_CHECKING:
    from diffusers import AceStepTransformer1DModel


class StreamedLinear(nn.Linear):
    """A Linear, x [..., in] -> [..., out], computed where x is. Its weight and bias move with no module."""

    def __init__(self, layer: nn.Linear):
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        # Past nn.Module's own bookkeeping, which would take them along.
        vars(self).update(weight=layer.weight, bias=layer.bias)
        self.train(layer.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = (part if part is None else part.to(x.device) for part in (self.weight, self.bias))
        return functional.linear(x, weight, bias)


def stream_layers(transformer: "AceStepTransformer1DModel", device: torch.device) -> "AceStepTransformer1DModel":
    """The same transformer, changed in place: its matrices stay where they are, all else goes to the device."""
    linears = [path for path, module in transformer.named_modules() if type(module) is nn.Linear]
    for path in linears:
        replace(transformer, path, StreamedLinear(transformer.get_submodule(path)))
    return transformer.to(device)
