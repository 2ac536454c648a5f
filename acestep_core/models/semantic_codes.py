"""Semantic codes: latents of a source as codes at 5 a second, and codes as hints, which are coarse latents."""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from diffusers.pipelines.ace_step import AceStepAudioTokenDetokenizer, AceStepAudioTokenizer

    from .stage_model import StageModel


def semantic_tokens(
    tokenizer: "AceStepAudioTokenizer", latents: torch.Tensor, silence: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents [B, C, T] -> tokens [B, M, D] and their codes [B, M, 1]; the last window is padded with silence."""
    return tokenizer.tokenize(latents.transpose(1, 2), silence.transpose(1, 2))


def tokens_of_codes(tokenizer: "AceStepAudioTokenizer", codes: torch.Tensor) -> torch.Tensor:
    """Codes [B, M, 1] -> tokens [B, M, D]."""
    return tokenizer.quantizer.get_output_from_indices(codes)


def semantic_hints(detokenizer: "AceStepAudioTokenDetokenizer", tokens: torch.Tensor, frames: int) -> torch.Tensor:
    """Tokens [B, M, D] -> hints [B, C, frames], which replace a source's latents in the context."""
    return detokenizer(tokens).transpose(1, 2)[..., :frames]


def hints_of_latents(model: "StageModel", latents: torch.Tensor) -> torch.Tensor:
    """A source [B, C, T] through a model's own codes -> hints [B, C, T]."""
    weight = next(model.audio_tokenizer.parameters())
    with torch.no_grad():
        tokens, _ = semantic_tokens(model.audio_tokenizer, latents.to(weight), model.silence.to(weight))
        return semantic_hints(model.audio_token_detokenizer, tokens, latents.shape[-1])


def hints_of_codes(model: "StageModel", codes: torch.Tensor, silent: torch.Tensor) -> torch.Tensor:
    """Codes [B, M, 1] -> hints as long as `silent` [1, C, T]: cropped, or continued with its first frames."""
    frames = silent.shape[-1]
    with torch.no_grad():
        tokens = tokens_of_codes(model.audio_tokenizer, codes.to(silent.device))
        made = semantic_hints(model.audio_token_detokenizer, tokens, frames)
    missing = silent[..., : frames - made.shape[-1]].to(made)
    return torch.cat([made, missing.expand(len(made), -1, -1)], dim=-1)
