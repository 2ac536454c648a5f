"""The geometry of a network by the shapes of its tensors, as the constructor's arguments that they fix.

Head counts follow from head_dim, which is the width of the norm of the queries.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from ..errors import CheckpointError
from .weights import TensorInfo

Shapes = Mapping[str, tuple[int, ...]]
Geometry = dict[str, int | list[int]]


def shapes_of(tensors: Mapping[str, TensorInfo]) -> dict[str, tuple[int, ...]]:
    """Shapes of tensors, by the same names."""
    return {name: info.shape for name, info in tensors.items()}


def geometry_of(part: str, shapes: Shapes, place: Path) -> Geometry:
    """The arguments of a part's constructor that its tensors fix. Raises CheckpointError, with the place first."""
    try:
        return _READERS[part](shapes)
    except KeyError as error:
        raise CheckpointError(f"{place}: the {part} lacks {error.args[0]}; get the whole file") from error
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{place}: the {part} has tensors of shapes that no such network has ({error}); fetch the file again"
        ) from error


def _transformer(shapes: Shapes) -> Geometry:
    hidden, encoder_hidden = shapes["condition_embedder.weight"]
    _, in_channels, patch = shapes["proj_in_conv.weight"]
    _, channels, _ = shapes["proj_out_conv.weight"]
    if in_channels != 3 * channels:
        raise ValueError(f"{in_channels} channels go in, expected latents, context and mask of {channels} each")
    return {
        "hidden_size": hidden,
        "num_hidden_layers": _layers(shapes, "layers."),
        **_attention(shapes, "layers.0"),
        "in_channels": in_channels,
        "patch_size": patch,
        "audio_acoustic_hidden_dim": channels,
        "encoder_hidden_size": encoder_hidden,
    }


def _condition_encoder(shapes: Shapes) -> Geometry:
    hidden, text_width = shapes["text_projector.weight"]
    return {
        "hidden_size": hidden,
        **_attention(shapes, "lyric_encoder.layers.0"),
        "text_hidden_dim": text_width,
        "timbre_hidden_dim": shapes["timbre_encoder.embed_tokens.weight"][1],
        "num_lyric_encoder_hidden_layers": _layers(shapes, "lyric_encoder.layers."),
        "num_timbre_encoder_hidden_layers": _layers(shapes, "timbre_encoder.layers."),
    }


def _audio_tokenizer(shapes: Shapes) -> Geometry:
    return {
        "fsq_dim": shapes["quantizer.project_in.weight"][1],
        **_attention(shapes, "attention_pooler.layers.0"),
        "num_attention_pooler_hidden_layers": _layers(shapes, "attention_pooler.layers."),
    }


def _audio_token_detokenizer(shapes: Shapes) -> Geometry:
    return {
        "pool_window_size": shapes["special_tokens"][1],
        **_attention(shapes, "layers.0"),
        "num_attention_pooler_hidden_layers": _layers(shapes, "layers."),
    }


def _vae(shapes: Shapes) -> Geometry:
    width, audio_channels, _ = shapes["encoder.conv1.weight_v"]
    blocks = [shapes[f"encoder.block.{i}.conv1.weight_v"] for i in range(_layers(shapes, "encoder.block."))]
    return {
        "encoder_hidden_size": width,
        "downsampling_ratios": [kernel // 2 for _, _, kernel in blocks],
        "channel_multiples": [rows // width for rows, _, _ in blocks],
        "decoder_channels": shapes["decoder.conv2.weight_v"][1],
        "decoder_input_channels": shapes["decoder.conv1.weight_v"][1],
        "audio_channels": audio_channels,
    }


def _text_encoder(shapes: Shapes) -> Geometry:
    vocabulary, hidden = shapes["embed_tokens.weight"]
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": _layers(shapes, "layers."),
        **_attention(shapes, "layers.0", norm="q_norm", queries="q_proj", keys="k_proj"),
    }


_READERS: Mapping[str, Callable[[Shapes], Geometry]] = MappingProxyType(
    {
        "transformer": _transformer,
        "condition_encoder": _condition_encoder,
        "audio_tokenizer": _audio_tokenizer,
        "audio_token_detokenizer": _audio_token_detokenizer,
        "vae": _vae,
        "text_encoder": _text_encoder,
    }
)


def _attention(shapes: Shapes, layer: str, norm="norm_q", queries="to_q", keys="to_k") -> dict[str, int]:
    (head_dim,) = shapes[f"{layer}.self_attn.{norm}.weight"]
    heads, key_heads = (shapes[f"{layer}.self_attn.{name}.weight"][0] / head_dim for name in (queries, keys))
    if head_dim % 2 or not heads.is_integer() or not key_heads.is_integer() or heads % key_heads:
        raise ValueError(f"{heads:g} heads of width {head_dim} with {key_heads:g} for the keys")
    return {
        "head_dim": head_dim,
        "num_attention_heads": int(heads),
        "num_key_value_heads": int(key_heads),
        "intermediate_size": shapes[f"{layer}.mlp.gate_proj.weight"][0],
    }


def _layers(shapes: Shapes, prefix: str) -> int:
    """The number of layers below a prefix, which are numbered from 0."""
    numbers = {name[len(prefix) :].partition(".")[0] for name in shapes if name.startswith(prefix)}
    missing = next((number for number in range(len(numbers)) if str(number) not in numbers), None)
    if missing is not None or not numbers:
        raise KeyError(f"{prefix}{missing or 0}")
    return len(numbers)
