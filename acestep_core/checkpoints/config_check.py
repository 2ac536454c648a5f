"""Checks a network's config before anything is built of it: the kind and range of values, and that the weights agree.

A size in the config must equal the one that the weights show, so a wrong config costs neither time nor memory.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import CheckpointError
from .shapes import Shapes, geometry_of

_SHOWN = 60
_BELONG = "get the file and the config.json that belong together"


@dataclass(frozen=True)
class Rule:
    """A requirement on a value, in words and as a test."""

    expected: str
    holds: Callable[[Any], bool]


def whole(low: int, high: int) -> Rule:
    """A whole number within these bounds."""
    return Rule(f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def number(low: float, high: float) -> Rule:
    """A finite number within these bounds."""
    return Rule(
        f"a number from {low:g} to {high:g}", lambda value: type(value) in (int, float) and low <= value <= high
    )


def one_of(*choices: str) -> Rule:
    """One of these texts."""
    return Rule(
        f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0],
        lambda value: isinstance(value, str) and value in choices,
    )


def several(rule: Rule, most: int, product: float = math.inf) -> Rule:
    """A list of 1 to `most` values of a rule; of numbers whose product is at most `product`."""
    return Rule(
        f"a list of 1 to {most}, each {rule.expected}",
        lambda value: (
            isinstance(value, list)
            and 1 <= len(value) <= most
            and all(map(rule.holds, value))
            and (product == math.inf or math.prod(value) <= product)
        ),
    )


FLAG = Rule("true or false", lambda value: isinstance(value, bool))
TEXT = Rule("a text", lambda value: isinstance(value, str) and len(value) <= 200)
_SIZE, _COUNT = whole(1, 2**20), whole(1, 1024)
_SIZES = (
    *("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim"),
    *("in_channels", "audio_acoustic_hidden_dim", "patch_size", "encoder_hidden_size", "text_hidden_dim"),
    *("timbre_hidden_dim", "fsq_dim", "pool_window_size", "vocab_size", "decoder_channels", "decoder_input_channels"),
    *("encoder_intermediate_size", "encoder_num_attention_heads", "encoder_num_key_value_heads"),
)
_COUNTS = (
    *("num_hidden_layers", "num_lyric_encoder_hidden_layers", "num_timbre_encoder_hidden_layers"),
    "num_attention_pooler_hidden_layers",
)
_ENDLESS = whole(1, 2**31 - 1)
RULES = MappingProxyType(
    {
        **dict.fromkeys(_SIZES, _SIZE),
        **dict.fromkeys(_COUNTS, _COUNT),
        **dict.fromkeys(("attention_bias", "is_turbo", "use_sliding_window"), FLAG),
        **dict.fromkeys(("sliding_window", "max_position_embeddings"), _ENDLESS),
        "max_window_layers": whole(0, 1024),
        "rope_theta": number(1, 1e12),
        "rms_norm_eps": number(1e-12, 0.1),
        "attention_dropout": number(0, 1),
        "hidden_act": one_of("silu"),
        "layer_types": several(one_of("full_attention", "sliding_attention"), 1024),
        "model_version": TEXT,
        "timbre_fix_frame": whole(1, 100_000),
        "fsq_input_levels": several(whole(2, 64), 16, product=2**20),
        "fsq_input_num_quantizers": whole(1, 16),
        "audio_channels": whole(1, 8),
        "sampling_rate": whole(1000, 768_000),
        "downsampling_ratios": several(whole(1, 256), 16, product=2**20),
        "channel_multiples": several(_COUNT, 16),
    }
)


def check_value(place: object, key: str, value: object, rule: Rule) -> None:
    """Raises CheckpointError, with the place and the key first, for a value that breaks a rule."""
    if not rule.holds(value):
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]} ..."
        raise CheckpointError(f"{place}: {key} is {shown}, expected {rule.expected}; {_BELONG}")


def check_values(config: Mapping[str, Any], place: Path) -> None:
    """Checks every value that has a rule; null counts as not there. Raises CheckpointError."""
    for key, value in config.items():
        if value is not None and key in RULES:
            check_value(place, key, value, RULES[key])


def checked_arguments(part: str, config: Mapping[str, Any], shapes: Shapes, place: Path) -> dict[str, Any]:
    """The constructor arguments in a part's config, nulls left out. Raises CheckpointError for a wrong value.

    `shapes` are those of its weights, by the name in the module.
    """
    arguments = {key: value for key, value in config.items() if value is not None}
    check_values(arguments, place)
    config = {"encoder_hidden_size": arguments.get("hidden_size"), **arguments}  # omitted where both are equal
    for key, value in geometry_of(part, shapes, place).items():
        own = config.get(key)
        if own is None:
            raise CheckpointError(f"{place}: has no {key}; {_BELONG}")
        if own != value:
            raise CheckpointError(f"{place}: {key} is {own} by the config and {value} by the weights; {_BELONG}")
    layers, kinds = arguments.get("num_hidden_layers"), arguments.get("layer_types")
    if layers and kinds and len(kinds) < layers:
        raise CheckpointError(f"{place}: layer_types has {len(kinds)} entries for {layers} layers; {_BELONG}")
    return arguments
