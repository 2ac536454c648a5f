"""The memory that a training needs, computed from sizes beforehand.

The activations stored for the gradients of one token in one layer are a sum of the layer's widths. The bytes of each
were counted on small networks, where the count is exact, with the CPU's kernels; those of a GPU differ a little.
"""

import re
from dataclasses import dataclass, replace

import torch

from .settings import TARGETS, LoraSettings

# Bytes of an adapter's parameter: weight and gradient, float32, and the optimiser's moments.
STATE_BYTES = {"adamw": 8 + 8, "adamw8bit": 8 + 2}
SHARE_OF_A_DEVICE = 0.5
SHARE_FOR_ONE_CROP = 0.8  # real needs are up to a tenth higher than computed, and a card's driver takes its part
TYPICAL_TEXT_TOKENS = 300  # of caption and lyrics, in the cross-attention


@dataclass(frozen=True)
class Widths:
    """Bytes stored in a layer for each token and unit of width: of the stream, the MLP, all queries, all keys."""

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


# Keys: bytes of the base's numbers. Values: for adapters on the attentions, then what an MLP and a DoRA add.
_STORED = {4: Widths(20, 12, 26, 12), 2: Widths(34, 6, 28, 10)}
_MLP = {4: Widths(4, 4, 0, 0, 0), 2: Widths(8, 4, 0, 0, 0)}
_DORA = {4: Widths(16, 0, 16, 16, 0), 2: Widths(12, 0, 12, 12, 0)}
_TEXT_TOKEN = Widths(8, 0, 0, 20, 0)  # keys and values of the cross-attention


def adapter_parameters(transformer: torch.nn.Module, settings: LoraSettings) -> int:
    return sum(_parameters(*weight.shape[:2], settings) for weight in _adapted(transformer, settings))


def training_bytes(
    transformer: torch.nn.Module,
    settings: LoraSettings,
    frames: int,
    text_tokens: int = TYPICAL_TEXT_TOKENS,
    crops: int = 1,
) -> int:
    """Bytes beside the base's weights, for `crops` crops at once of so many latent frames."""
    return state_bytes(transformer, settings) + crops * crop_bytes(transformer, settings, frames, text_tokens)


def state_bytes(transformer: torch.nn.Module, settings: LoraSettings) -> int:
    """Bytes of the adapter, its gradients and its optimiser."""
    return STATE_BYTES[settings.optimiser] * adapter_parameters(transformer, settings)


def crop_bytes(
    transformer: torch.nn.Module, settings: LoraSettings, frames: int, text_tokens: int = TYPICAL_TEXT_TOKENS
) -> int:
    """Bytes of activations in the forward and backward pass of one crop."""
    config, item, layers = transformer.config, _item(transformer), len(transformer.layers)
    weights = _adapted(transformer, settings)
    kept = _STORED[item].bytes(config, 4 * settings.rank * len(weights) // layers)
    kept += _MLP[item].bytes(config) if "mlp" in settings.targets else 0
    kept += _DORA[item].bytes(config) if settings.kind == "dora" else 0
    whole = _whole_bytes(transformer, settings) // layers if settings.kind == "lokr" else 0
    tokens = -(-frames // config.patch_size)
    layer = tokens * kept + whole
    stream = tokens * item * config.hidden_size
    # A checkpointed layer is computed again before its backward pass, which needs about as much as the layer itself.
    at_work = 2 * layer if settings.gradient_checkpointing else tokens * kept
    return (
        layers * (stream if settings.gradient_checkpointing else layer)
        + at_work
        + layers * text_tokens * _TEXT_TOKEN.bytes(config)
    )


def crops_together(
    transformer: torch.nn.Module,
    settings: LoraSettings,
    frames: int,
    total_bytes: float,
    text_tokens: int = TYPICAL_TEXT_TOKENS,
) -> int:
    """How many crops of a step go through the weights together: as many as fit into a share of a device, at least one;
    one where each crop has random numbers of its own.
    """
    if settings.is_random:
        return 1
    room = SHARE_OF_A_DEVICE * total_bytes - weights_bytes(transformer) - state_bytes(transformer, settings)
    fitting = int(max(room, 0) // crop_bytes(transformer, settings, frames, text_tokens))
    return max(1, min(settings.accumulate, fitting))


def needs_checkpointing(
    transformer: torch.nn.Module,
    settings: LoraSettings,
    frames: int,
    total_bytes: float,
    text_tokens: int = TYPICAL_TEXT_TOKENS,
) -> bool:
    """Whether one crop fits into a device of `total_bytes` only with gradient checkpointing."""
    stored = replace(settings, gradient_checkpointing=False)
    needed = weights_bytes(transformer) + training_bytes(transformer, stored, frames, text_tokens)
    return needed > SHARE_FOR_ONE_CROP * total_bytes


def weights_bytes(transformer: torch.nn.Module) -> int:
    """Bytes of the base's weights."""
    return sum(parameter.numel() * parameter.element_size() for parameter in transformer.parameters())


def _item(transformer: torch.nn.Module) -> int:
    return next(transformer.parameters()).element_size()


def _adapted(transformer: torch.nn.Module, settings: LoraSettings, but: str = "") -> list[torch.Tensor]:
    """Weights of the layers that are adapted, except those whose paths match `but`."""
    adapted, left = re.compile("|".join(TARGETS[name] for name in settings.targets)), re.compile(but)
    modules = transformer.named_modules()
    return [module.weight for path, module in modules if adapted.fullmatch(path) and not left.fullmatch(path)]


def _whole_bytes(transformer: torch.nn.Module, settings: LoraSettings) -> int:
    """PEFT's LoKr computes the whole change of a weight, float32, and stores it, except for weights that read the text
    states, which need no gradient.
    """
    weights = _adapted(transformer, settings, but=r".*cross_attn\.to_[kv]")
    return 4 * sum(weight.numel() for weight in weights)


def _parameters(rows: int, columns: int, settings: LoraSettings) -> int:
    """Parameters of the adapter on one layer."""
    if settings.kind == "lokr":
        return _lokr_parameters(rows, columns, settings.rank)
    return settings.rank * (rows + columns) + (rows if settings.kind == "dora" else 0)


def _lokr_parameters(rows: int, columns: int, rank: int) -> int:
    from peft.tuners.lokr.layer import factorization

    (rows1, rows2), (columns1, columns2) = factorization(rows), factorization(columns)
    is_low = rank < max(rows2, columns2) / 2
    return rows1 * columns1 + (rank * (rows2 + columns2) if is_low else rows2 * columns2)
