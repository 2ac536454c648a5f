"""Geometry: config.json, or the tensors' shapes where only they are there -> constructor arguments.

One form in between, the original config.json: shapes are turned into one, and a stage model is saved with one.
What shapes cannot tell is as published: head counts follow from head_dim, which is the width of q_norm; the window, the
rotary base, the norms' epsilon and the quantiser's levels are constants of the architecture.
"""

from collections.abc import Mapping
from pathlib import Path

from ..errors import CheckpointError
from .weights import TensorInfo

Shapes = Mapping[str, tuple[int, ...]]

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
_ENCODER_KEYS = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")


class _Config:
    """A config.json that says what it lacks."""

    def __init__(self, values: Mapping, path: Path):
        self.values, self.path = values, path

    def __getitem__(self, key: str):
        if self.values.get(key) is not None:
            return self.values[key]
        if key == "rope_theta" and "rope_theta" in (self.values.get("rope_parameters") or {}):
            return self.values["rope_parameters"]["rope_theta"]  # as newer transformers write it
        if key in PUBLISHED:
            return PUBLISHED[key]
        raise CheckpointError(
            f"{self.path}: config.json has no {key}, expected that of an ACE-Step 1.5 model; "
            "get the config.json that belongs to these weights"
        )

    def encoder(self, key: str):
        return self.values.get(f"encoder_{key}") or self[key]


def stage_arguments(config: Mapping, path: Path) -> dict[str, dict]:
    """Original config.json -> part -> constructor arguments of diffusers' classes. Raises CheckpointError."""
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
    """An original config.json told by the tensors' shapes alone (diffusers names). Raises CheckpointError."""
    try:
        return _stage_config_from_shapes(parts)
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{path} lacks tensors of an ACE-Step 1.5 model (looked for {error}); "
            "get the whole file, or a folder with its config.json"
        ) from error


def _stage_config_from_shapes(parts: Mapping[str, Shapes]) -> dict:
    dit, encoder = parts["transformer"], parts["condition_encoder"]
    hidden, encoder_hidden = dit["condition_embedder.weight"]
    patch_in, patch_out = dit["proj_in_conv.weight"], dit["proj_out_conv.weight"]
    main = _attention_geometry(dit, "layers.0")
    inner = _attention_geometry(encoder, "lyric_encoder.layers.0")
    config = {"hidden_size": hidden, "num_hidden_layers": _layers(dit, "layers."), **main, "model_type": "acestep"}
    config |= {
        "in_channels": patch_in[1],
        "patch_size": patch_in[2],
        "audio_acoustic_hidden_dim": patch_out[1],
        "text_hidden_dim": encoder["text_projector.weight"][1],
        "timbre_hidden_dim": encoder["timbre_encoder.embed_tokens.weight"][1],
        "num_lyric_encoder_hidden_layers": _layers(encoder, "lyric_encoder.layers."),
        "num_timbre_encoder_hidden_layers": _layers(encoder, "timbre_encoder.layers."),
    }
    config |= {f"encoder_{key}": inner[key] for key in _ENCODER_KEYS[1:] if inner[key] != main[key]}
    if encoder_hidden != hidden:
        config["encoder_hidden_size"] = encoder_hidden
    if "audio_tokenizer" in parts:
        config["fsq_dim"] = parts["audio_tokenizer"]["quantizer.project_in.weight"][1]
        config["num_attention_pooler_hidden_layers"] = _layers(parts["audio_tokenizer"], "attention_pooler.layers.")
    if "audio_token_detokenizer" in parts:
        config["pool_window_size"] = parts["audio_token_detokenizer"]["special_tokens"][1]
    return config


def _attention_geometry(shapes: Shapes, layer: str) -> dict:
    (head_dim,) = shapes[f"{layer}.self_attn.norm_q.weight"]
    return {
        "head_dim": head_dim,
        "num_attention_heads": shapes[f"{layer}.self_attn.to_q.weight"][0] // head_dim,
        "num_key_value_heads": shapes[f"{layer}.self_attn.to_k.weight"][0] // head_dim,
        "intermediate_size": shapes[f"{layer}.mlp.gate_proj.weight"][0],
    }


def _layers(shapes: Shapes, prefix: str) -> int:
    return 1 + max(int(name[len(prefix) :].split(".")[0]) for name in shapes if name.startswith(prefix))


def vae_arguments_from_shapes(shapes: Shapes, path: Path) -> dict:
    """An Oobleck VAE's constructor arguments from its shapes (diffusers names). Raises CheckpointError.

    The sample rate is in no shape: only the published hop of 1920 samples tells it.
    """
    try:
        width, audio_channels, _ = shapes["encoder.conv1.weight_v"]
        blocks = [shapes[f"encoder.block.{i}.conv1.weight_v"] for i in range(_layers(shapes, "encoder.block."))]
        arguments = {
            "encoder_hidden_size": width,
            "downsampling_ratios": [kernel // 2 for _, _, kernel in blocks],
            "channel_multiples": [out // width for out, _, _ in blocks],
            "decoder_channels": shapes["decoder.conv2.weight_v"][1],
            "decoder_input_channels": shapes["decoder.conv1.weight_v"][1],
            "audio_channels": audio_channels,
            "sampling_rate": PUBLISHED_RATE_HZ,
        }
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is no whole Oobleck VAE (looked for {error}); fetch the file again") from error
    hop = 1
    for ratio in arguments["downsampling_ratios"]:
        hop *= ratio
    if hop != PUBLISHED_HOP_SAMPLES:
        raise CheckpointError(
            f"{path} makes a latent frame of {hop} samples, the published vocoder one of {PUBLISHED_HOP_SAMPLES}, so "
            "its sample rate is unknown; put the config.json that belongs to it beside it"
        )
    return arguments


def text_config_from_shapes(shapes: Shapes, path: Path) -> dict:
    """A Qwen3 config.json from the shapes of its tensors (transformers' names). Raises CheckpointError."""
    try:
        vocabulary, hidden = shapes["embed_tokens.weight"]
        (head_dim,) = shapes["layers.0.self_attn.q_norm.weight"]
        return {
            "model_type": "qwen3",
            "vocab_size": vocabulary,
            "hidden_size": hidden,
            "head_dim": head_dim,
            "num_hidden_layers": _layers(shapes, "layers."),
            "num_attention_heads": shapes["layers.0.self_attn.q_proj.weight"][0] // head_dim,
            "num_key_value_heads": shapes["layers.0.self_attn.k_proj.weight"][0] // head_dim,
            "intermediate_size": shapes["layers.0.mlp.gate_proj.weight"][0],
            "rope_theta": PUBLISHED["rope_theta"],
            "rms_norm_eps": PUBLISHED["rms_norm_eps"],
            "max_position_embeddings": PUBLISHED["max_position_embeddings"],
        }
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is no whole Qwen3 model (looked for {error}); fetch the file again") from error


def shapes_of(tensors: Mapping[str, TensorInfo]) -> dict[str, tuple[int, ...]]:
    return {name: info.shape for name, info in tensors.items()}
