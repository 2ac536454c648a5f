"""Semantic codes: latents of a source as codes at 5 a second, and codes as hints, which are coarse latents."""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from diffusers.pipelines.ace_step import AceStepAudioTokenDetokenizer, AceStepAudioTokenizer


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
