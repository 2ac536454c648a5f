"""Config.json, or the tensors' shapes where there is none -> constructor arguments.

Both ways go through the form of the original config.json, with which a stage model is also saved. Values that shapes do
not show are as published: the window, the rotary base, the norms' epsilon, the quantiser's levels.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from ..errors import CheckpointError
from .config_check import RULES, Rule, check_value, check_values, checked_arguments
from .shapes import Shapes, geometry_of

PUBLISHED = {
    "rope_theta": 1_000_000.0,
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "sliding_window": 128,
    "use_sliding_window": True,
    "max_position_embeddings": 32768,
    "timbre_fix_frame": 750,
    "fsq_input_levels": [8, 8, 8, 5, 5, 5],
    "fsq_input_num_quantizers": 1,
    "pool_window_size": 5,
    "num_attention_pooler_hidden_layers": 2,
}
PUBLISHED_HOP_SAMPLES = 1920
PUBLISHED_RATE_HZ = 48000
_PLAIN_ROPE = Rule(
    'null, or an object whose rope_type is "default"',
    lambda value: value is None or (isinstance(value, dict) and value.get("rope_type", "default") == "default"),
)
_ENCODER_KEYS = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")


class _Config:
    """A config.json. A missing key has its published value; a key without one raises an error that names it."""

    def __init__(self, values: Mapping, path: Path):
        self.values, self.path = values, path

    def __getitem__(self, key: str):
        if self.values.get(key) is not None:
            return self.values[key]
        rope = self.values.get("rope_parameters")  # as newer transformers write it
        if key == "rope_theta" and isinstance(rope, dict) and "rope_theta" in rope:
            return rope["rope_theta"]
        if key in PUBLISHED:
            return PUBLISHED[key]
        raise CheckpointError(
            f"{self.path} has no {key}, expected that of an ACE-Step 1.5 model; "
            "get the config.json that belongs to these weights"
        )

    def encoder(self, key: str):
        return self.values.get(f"encoder_{key}") or self[key]


def stage_arguments(config: Mapping, path: Path) -> dict[str, dict]:
    """Original config.json -> part -> constructor arguments of diffusers' classes. Raises CheckpointError."""
    check_values(config, path)
    get = _Config(config, path)
    # Without a window every layer is as wide as the longest sequence.
    window = get["sliding_window"] if get["use_sliding_window"] else get["max_position_embeddings"]
    common = {k: get[k] for k in ("head_dim", "rope_theta", "attention_bias", "attention_dropout", "rms_norm_eps")}
    common["sliding_window"] = window
    encoder = common | {key: get.encoder(key) for key in _ENCODER_KEYS}
    encoder_hidden = encoder["hidden_size"]
    transformer = common | {key: get[key] for key in _ENCODER_KEYS}
    transformer |= {key: get[key] for key in ("num_hidden_layers", "in_channels", "audio_acoustic_hidden_dim")}
    transformer |= {
        "patch_size": get["patch_size"],
        "layer_types": config.get("layer_types"),
        "encoder_hidden_size": None if encoder_hidden == get["hidden_size"] else encoder_hidden,
        "is_turbo": bool(config.get("is_turbo", False)),
        "model_version": config.get("model_version"),
    }
    condition = encoder | {
        key: get[key]
        for key in (
            "text_hidden_dim",
            "timbre_hidden_dim",
            "num_lyric_encoder_hidden_layers",
            "num_timbre_encoder_hidden_layers",
        )
    }
    pooled = encoder | {
        key: get[key] for key in ("audio_acoustic_hidden_dim", "pool_window_size", "num_attention_pooler_hidden_layers")
    }
    quantised = {"fsq_dim": config.get("fsq_dim") or encoder_hidden}
    quantised |= {key: get[key] for key in ("fsq_input_levels", "fsq_input_num_quantizers")}
    return {
        "transformer": transformer,
        "condition_encoder": condition,
        "audio_tokenizer": pooled | quantised,
        "audio_token_detokenizer": pooled,
    }


def original_config(arguments: Mapping[str, Mapping]) -> dict:
    """Constructor arguments of the parts at hand -> original config.json: the inverse of `stage_arguments`."""
    transformer, condition = arguments["transformer"], arguments["condition_encoder"]
    config = {
        "architectures": ["AceStepConditionGenerationModel"],
        "model_type": "acestep",
        "use_sliding_window": True,
        "timbre_fix_frame": PUBLISHED["timbre_fix_frame"],
    }
    encoder = {f"encoder_{key}": condition[key] for key in _ENCODER_KEYS}
    if all(condition[key] == transformer[key] for key in _ENCODER_KEYS):
        encoder = {}
    for part in reversed(arguments.values()):
        config |= {key: value for key, value in part.items() if not key.startswith("_")}
    config |= {key: value for key, value in transformer.items() if not key.startswith("_")}
    del config["encoder_hidden_size"]
    return config | encoder


def stage_config_from_shapes(parts: Mapping[str, Shapes], path: Path) -> dict:
    """An original config.json by the shapes of the tensors alone (diffusers' names). Raises CheckpointError."""
    main, inner = (geometry_of(part, parts.get(part, {}), path) for part in ("transformer", "condition_encoder"))
    encoder = {f"encoder_{key}": inner.pop(key) for key in _ENCODER_KEYS}
    config = {"model_type": "acestep", **inner, **main}
    config |= {key: value for key, value in encoder.items() if value != main[key.removeprefix("encoder_")]}
    if encoder["encoder_hidden_size"] == main["hidden_size"]:
        del config["encoder_hidden_size"]  # its presence marks an XL
    for part in ("audio_tokenizer", "audio_token_detokenizer"):
        if part in parts:
            own = geometry_of(part, parts[part], path)
            config |= {key: value for key, value in own.items() if key not in inner | main}
    return config


def vae_arguments_from_shapes(shapes: Shapes, path: Path) -> dict:
    """An Oobleck VAE's constructor arguments from its shapes (diffusers' names). Raises CheckpointError.

    No shape shows the sample rate; it is known only for the published hop of 1920 samples.
    """
    arguments = {**geometry_of("vae", shapes, path), "sampling_rate": PUBLISHED_RATE_HZ}
    hop = math.prod(arguments["downsampling_ratios"])
    if hop != PUBLISHED_HOP_SAMPLES:
        raise CheckpointError(
            f"{path} makes a latent frame of {hop} samples, the published vocoder one of {PUBLISHED_HOP_SAMPLES}, so "
            "its sample rate is unknown; put the config.json that belongs to it beside it"
        )
    return arguments


def text_config_from_shapes(shapes: Shapes, path: Path) -> dict:
    """A Qwen3 config.json from the shapes of its tensors (transformers' names). Raises CheckpointError."""
    as_published = {key: PUBLISHED[key] for key in ("rope_theta", "rms_norm_eps", "max_position_embeddings")}
    return {"model_type": "qwen3", **geometry_of("text_encoder", shapes, path), **as_published}


def text_arguments(config: Mapping, shapes: Shapes, path: Path) -> dict:
    """The part of a Qwen3 config.json that decides what the encoder computes. Raises CheckpointError."""
    check_value(path, "rope_parameters", config.get("rope_parameters"), _PLAIN_ROPE)
    check_value(path, "rope_scaling", config.get("rope_scaling"), _PLAIN_ROPE)
    rope = config.get("rope_parameters") or {}
    theta = {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    known = {key: value for key, value in config.items() if key in RULES}
    return checked_arguments("text_encoder", known | theta, shapes, path)
