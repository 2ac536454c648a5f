"""The memory that a training takes, computed from sizes beforehand. Not measured: it errs on the large side."""

import re

import torch

from .settings import TARGETS, LoraSettings

STATE_BYTES = 16  # of an adapter's parameter: itself, its gradient and AdamW's two moments, float32
# Copies of a layer's inner streams that are kept for the gradients, of the width of its input and of its MLP.
WIDE, WIDEST = 16, 4


def adapter_parameters(transformer: torch.nn.Module, settings: LoraSettings) -> int:
    return sum(settings.rank * sum(weight.shape[:2]) for weight in _adapted(transformer, settings))


def training_bytes(transformer: torch.nn.Module, settings: LoraSettings, frames: int) -> int:
    """Beside the base's weights, while it learns from crops of so many latent frames."""
    config, item = transformer.config, next(transformer.parameters()).element_size()
    tokens = -(-frames // config.patch_size)
    adapted = len(_adapted(transformer, settings)) / len(transformer.layers)
    # PEFT hands every adapted layer's input to the adapter as float32.
    layer = item * (WIDE * config.hidden_size + WIDEST * config.intermediate_size) + 4 * adapted * config.hidden_size
    kept = item * config.hidden_size if settings.frugal else layer  # of each layer
    return round(
        STATE_BYTES * adapter_parameters(transformer, settings) + tokens * (kept * len(transformer.layers) + 2 * layer)
    )


def _adapted(transformer: torch.nn.Module, settings: LoraSettings) -> list[torch.Tensor]:
    """Weights of the layers that the adapter is for."""
    pattern = re.compile("|".join(TARGETS[name] for name in settings.targets))
    return [module.weight for path, module in transformer.named_modules() if pattern.fullmatch(path)]
