"""The memory that a training takes, computed from sizes beforehand.

What is kept for the gradients of one token in one layer is a sum of the layer's widths. How many bytes of each was
counted on small networks, where the count is exact; the CPU's own kernels were counted, a GPU's differ a little.
"""

import re
from dataclasses import dataclass

import torch

from .settings import TARGETS, LoraSettings

# Of an adapter's parameter: itself and its gradient, float32, and what the optimiser remembers of it.
STATE_BYTES = {"adamw": 8 + 8, "adamw8bit": 8 + 2}
TYPICAL_WORDS = 300  # tokens of caption and lyrics that the cross-attention sees


@dataclass(frozen=True)
class Widths:
    """Bytes kept of a layer for each token, times its widths: of the stream, the MLP, all queries, all keys."""

    stream: int
    inner: int
    queries: int
    keys: int
    head: int = 18  # times the number of heads

    def bytes(self, config, more: int = 0) -> int:
        head = config.head_dim
        queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
        wide = self.stream * config.hidden_size + self.inner * config.intermediate_size
        return wide + self.queries * queries + self.keys * keys + self.head * config.num_attention_heads + more


# With an adapter on the attentions, by the bytes of the base's numbers; and what the MLP's and a DoRA's add.
_KEPT = {4: Widths(20, 12, 26, 12), 2: Widths(34, 6, 28, 10)}
_MLP = {4: Widths(4, 4, 0, 0, 0), 2: Widths(8, 4, 0, 0, 0)}
_DORA = {4: Widths(16, 0, 16, 16, 0), 2: Widths(12, 0, 12, 12, 0)}
_WORD = Widths(8, 0, 0, 20, 0)  # of each token of the words, for the keys and values that all tokens see


def adapter_parameters(transformer: torch.nn.Module, settings: LoraSettings) -> int:
    return sum(_parameters(*weight.shape[:2], settings) for weight in _adapted(transformer, settings))


def training_bytes(
    transformer: torch.nn.Module, settings: LoraSettings, frames: int, words: int = TYPICAL_WORDS
) -> int:
    """Beside the base's weights, while it learns from crops of so many latent frames."""
    return state_bytes(transformer, settings) + crop_bytes(transformer, settings, frames, words)


def state_bytes(transformer: torch.nn.Module, settings: LoraSettings) -> int:
    """Of the adapter, its gradients and its optimiser."""
    return STATE_BYTES[settings.optimiser] * adapter_parameters(transformer, settings)


def crop_bytes(transformer: torch.nn.Module, settings: LoraSettings, frames: int, words: int = TYPICAL_WORDS) -> int:
    """What one crop takes on its way through the network and back."""
    config, item, layers = transformer.config, _item(transformer), len(transformer.layers)
    weights = _adapted(transformer, settings)
    kept = _KEPT[item].bytes(config, 4 * settings.rank * len(weights) // layers)
    kept += _MLP[item].bytes(config) if "mlp" in settings.targets else 0
    kept += _DORA[item].bytes(config) if settings.kind == "dora" else 0
    whole = _whole_bytes(transformer, settings) // layers if settings.kind == "lokr" else 0
    tokens = -(-frames // config.patch_size)
    layer = tokens * kept + whole
    stream = tokens * item * config.hidden_size
    # A frugal layer is made again, and then gone back through; else what goes back takes about as much as a layer.
    at_work = 2 * layer if settings.frugal else tokens * kept
    return layers * (stream if settings.frugal else layer) + at_work + layers * words * _WORD.bytes(config)


def weights_bytes(transformer: torch.nn.Module) -> int:
    """Of the base."""
    return sum(parameter.numel() * parameter.element_size() for parameter in transformer.parameters())


def _item(transformer: torch.nn.Module) -> int:
    return next(transformer.parameters()).element_size()


def _adapted(transformer: torch.nn.Module, settings: LoraSettings, but: str = "") -> list[torch.Tensor]:
    """Weights of the layers that the adapter is for, `but` those of such paths."""
    adapted, left = re.compile("|".join(TARGETS[name] for name in settings.targets)), re.compile(but)
    modules = transformer.named_modules()
    return [module.weight for path, module in modules if adapted.fullmatch(path) and not left.fullmatch(path)]


def _whole_bytes(transformer: torch.nn.Module, settings: LoraSettings) -> int:
    """PEFT's LoKr multiplies out the whole change of a weight, float32, and keeps it unless what it reads is the words,
    to which no gradient goes back.
    """
    weights = _adapted(transformer, settings, but=r".*cross_attn\.to_[kv]")
    return 4 * sum(weight.numel() for weight in weights)


def _parameters(rows: int, columns: int, settings: LoraSettings) -> int:
    """Of the adapter on one layer."""
    if settings.kind == "lokr":
        return _lokr_parameters(rows, columns, settings.rank)
    return settings.rank * (rows + columns) + (rows if settings.kind == "dora" else 0)


def _lokr_parameters(rows: int, columns: int, rank: int) -> int:
    from peft.tuners.lokr.layer import factorization

    (rows1, rows2), (columns1, columns2) = factorization(rows), factorization(columns)
    is_low = rank < max(rows2, columns2) / 2
    return rows1 * columns1 + (rank * (rows2 + columns2) if is_low else rows2 * columns2)
