"""Networks of the published geometry with random weights, and few of their layers where all are alike.

`layers` None is as many as are published.
"""

import warnings

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

    torch.manual_seed(SEED)
    return (
        AceStepTransformer1DModel(num_hidden_layers=layers or LAYERS[width], **WIDTHS[width]).to(device, dtype).eval()
    )


def condition_encoder(device: torch.device, dtype: torch.dtype):
    from diffusers.pipelines.ace_step import AceStepConditionEncoder

    torch.manual_seed(SEED + 1)
    return AceStepConditionEncoder().to(device, dtype).eval()


def text_encoder(layers: int | None, vocabulary: int, device: torch.device, dtype: torch.dtype):
    from transformers import Qwen3Config, Qwen3Model

    torch.manual_seed(SEED + 2)
    config = Qwen3Config(vocab_size=vocabulary, num_hidden_layers=layers or TEXT_LAYERS, **TEXT_ENCODER)
    return Qwen3Model(config).to(device, dtype).eval()


def vae(device: torch.device, dtype: torch.dtype):
    from diffusers import AutoencoderOobleck

    torch.manual_seed(SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it uses torch's older weight norm
        made = AutoencoderOobleck(
            downsampling_ratios=list(VOCODER_RATIOS), sampling_rate=PUBLISHED_LATENTS.sample_rate_hz
        )
    return made.to(device, dtype).eval()
