"""Layers whose weights stay in main memory and are fetched for each call: a transformer larger than a card's memory."""

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from .lora.tree import replace
from .staging import Staging

if TYPE_CHECKING:
    from diffusers import AceStepTransformer1DModel


class Fetched(nn.Linear):
    """A Linear, x [..., in] -> [..., out], computed where x is. Its weight and bias move with no module. `staging`: by
    which they come to a GPU.
    """

    def __init__(self, layer: nn.Linear, staging: Staging | None = None):
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        # Past nn.Module's own bookkeeping, which would take them along.
        vars(self).update(weight=layer.weight, bias=layer.bias, _staging=staging)
        self.train(layer.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, *(part if part is None else self._at(x, part) for part in (self.weight, self.bias)))

    def _at(self, x: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        return self._staging.take(part) if self._staging and x.is_cuda else part.to(x.device)


def fetch_layers(transformer: "AceStepTransformer1DModel", device: torch.device) -> "AceStepTransformer1DModel":
    """The same transformer, changed in place: its matrices stay where they are, all else goes to the device."""
    staging = Staging(device) if device.type == "cuda" else None
    linears = [path for path, module in transformer.named_modules() if type(module) is nn.Linear]
    for path in linears:
        replace(transformer, path, Fetched(transformer.get_submodule(path), staging))
    return transformer.to(device)
