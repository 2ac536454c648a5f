"""Linear layers whose weights stay in main memory and are copied for each call, for transformers larger than a GPU."""

import torch
from torch import nn
from torch.nn import functional

from .module_tree import replace


class StreamedLinear(nn.Linear):
    """A Linear, x [..., in] -> [..., out], computed on the device of x. `to` does not move its weight and bias."""

    def __init__(self, layer: nn.Linear):
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        # Set past nn.Module's bookkeeping, through which `to` would move them.
        vars(self).update(weight=layer.weight, bias=layer.bias)
        self.train(layer.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = (part if part is None else part.to(x.device) for part in (self.weight, self.bias))
        return functional.linear(x, weight, bias)


def stream_layers(transformer: nn.Module, device: torch.device) -> nn.Module:
    """The transformer, changed in place: its matrices stay where they are, everything else moves to the device."""
    linears = [path for path, module in transformer.named_modules() if type(module) is nn.Linear]
    for path in linears:
        replace(transformer, path, StreamedLinear(transformer.get_submodule(path)))
    return transformer.to(device)
