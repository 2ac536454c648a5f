"""What all networks of this library have beside their layers: a config, a device, a dtype."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn


class Config(dict):
    """The arguments that a network was made with, defaults filled in; keys are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the config has no {name!r}") from None


class Network(nn.Module):
    """A network that is made with keyword arguments; those that `DEFAULTS` does not name are left out."""

    DEFAULTS: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, **arguments: Any):
        super().__init__()
        known = {key: value for key, value in arguments.items() if key in self.DEFAULTS}
        self.config = Config({**self.DEFAULTS, **known})

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(weight.dtype for weight in self.parameters() if weight.is_floating_point())
