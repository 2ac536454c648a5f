"""Networks of the published geometry with random weights, and few of their layers where all are alike.

`layers` None is as many as are published.
"""

import warnings
from collections.abc import Callable

import torch

from ..spec import PUBLISHED_LATENTS

SEED = 0
VOCODER_RATIOS = (2, 4, 4, 6, 10)
# What differs from diffusers' defaults, which are the published 2B; S is the student that `train distill` makes of it.
WIDTHS = {
    "2B": {},
    "XL": {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "encoder_hidden_size": 2048,
    },
    "S": {"hidden_size": 1280, "intermediate_size": 4096, "encoder_hidden_size": 2048},
}
LAYERS = {"2B": 24, "XL": 32, "S": 24}
TEXT_LAYERS = 28
# Qwen3-Embedding-0.6B.
TEXT_ENCODER = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
}


def transformer(width: str, layers: int | None, device: torch.device, dtype: torch.dtype):
    from diffusers import AceStepTransformer1DModel

    geometry = WIDTHS[width] | {"num_hidden_layers": layers or LAYERS[width]}
    return _made(lambda: AceStepTransformer1DModel(**geometry), SEED, device, dtype)


def condition_encoder(device: torch.device, dtype: torch.dtype):
    from diffusers.pipelines.ace_step import AceStepConditionEncoder

    # As it is where it was loaded, not to be taught; else silence would be heard anew for each song.
    return _made(AceStepConditionEncoder, SEED + 1, device, dtype).requires_grad_(False)


def text_encoder(layers: int | None, vocabulary: int, device: torch.device, dtype: torch.dtype):
    from transformers import Qwen3Config, Qwen3Model

    config = Qwen3Config(vocab_size=vocabulary, num_hidden_layers=layers or TEXT_LAYERS, **TEXT_ENCODER)
    return _made(lambda: Qwen3Model(config), SEED + 2, device, dtype)


def vae(device: torch.device, dtype: torch.dtype):
    from diffusers import AutoencoderOobleck

    geometry = {"downsampling_ratios": list(VOCODER_RATIOS), "sampling_rate": PUBLISHED_LATENTS.sample_rate_hz}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it uses torch's older weight norm
        return _made(lambda: AutoencoderOobleck(**geometry), SEED, device, dtype)


def _made(make: Callable[[], torch.nn.Module], seed: int, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    """A network with random weights, drawn on the device that it is for: billions of them."""
    torch.manual_seed(seed)
    with device:
        network = make()
    return network.to(device, dtype).eval()
