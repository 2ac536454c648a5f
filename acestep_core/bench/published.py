"""Networks of the published geometry with random weights. As all layers are alike, a few of them may be enough.

`layers` None takes all published layers.
"""

import warnings
from collections.abc import Callable

import torch

from ..checkpoints import geometry
from ..spec import PUBLISHED_LATENTS

SEED = 0


def layers_of(width: str) -> int:
    """Layers of a published transformer."""
    return geometry.TRANSFORMERS[width.lower()].arguments["num_hidden_layers"]


def transformer(width: str, layers: int | None, device: torch.device, dtype: torch.dtype):
    from diffusers import AceStepTransformer1DModel

    sizes = dict(geometry.TRANSFORMERS[width.lower()].arguments)
    sizes["num_hidden_layers"] = layers or sizes["num_hidden_layers"]
    return _made(lambda: AceStepTransformer1DModel(**sizes), SEED, device, dtype)


def condition_encoder(device: torch.device, dtype: torch.dtype):
    from diffusers.pipelines.ace_step import AceStepConditionEncoder

    # As after loading, without gradients; else silence would be encoded again for each song.
    return _made(AceStepConditionEncoder, SEED + 1, device, dtype).requires_grad_(False)


def audio_tokenizers(device: torch.device, dtype: torch.dtype) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The audio tokenizer and detokenizer of a stage model."""
    from diffusers.pipelines.ace_step import AceStepAudioTokenDetokenizer, AceStepAudioTokenizer

    return (
        _made(AceStepAudioTokenizer, SEED + 3, device, dtype),
        _made(AceStepAudioTokenDetokenizer, SEED + 4, device, dtype),
    )


def text_encoder(layers: int | None, vocabulary: int, device: torch.device, dtype: torch.dtype):
    from transformers import Qwen3Config, Qwen3Model

    sizes = dict(geometry.TEXT_ENCODER.arguments)
    sizes["num_hidden_layers"] = layers or sizes["num_hidden_layers"]
    config = Qwen3Config(vocab_size=vocabulary, **sizes)
    return _made(lambda: Qwen3Model(config), SEED + 2, device, dtype)


def planner(size: str, layers: int | None, vocabulary: int, device: torch.device, dtype: torch.dtype):
    """A planner's network; its embedding is its head too."""
    from transformers import Qwen3Config, Qwen3Model

    sizes = dict(geometry.PLANNERS[size].arguments)
    sizes["num_hidden_layers"] = layers or sizes["num_hidden_layers"]
    config = Qwen3Config(vocab_size=vocabulary, tie_word_embeddings=True, **sizes)
    return _made(lambda: Qwen3Model(config), SEED + 5, device, dtype).requires_grad_(False)


def vae(device: torch.device, dtype: torch.dtype):
    from diffusers import AutoencoderOobleck

    ratios = list(geometry.VOCODER.arguments["downsampling_ratios"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it uses torch's older weight norm
        return _made(
            lambda: AutoencoderOobleck(downsampling_ratios=ratios, sampling_rate=PUBLISHED_LATENTS.sample_rate_hz),
            SEED,
            device,
            dtype,
        )


def music(seconds: float) -> torch.Tensor:
    """Quiet noise [1, 2, N] in place of music: it is encoded as fast."""
    samples = round(seconds * PUBLISHED_LATENTS.sample_rate_hz)
    return 0.1 * torch.randn(1, 2, samples, generator=torch.Generator().manual_seed(SEED))


def _made(make: Callable[[], torch.nn.Module], seed: int, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    """A network with random weights, drawn on its own device because there are billions of them."""
    torch.manual_seed(seed)
    with device:
        network = make()
    return network.to(device, dtype).eval()
