"""A stage's model: its networks, the silence that it was trained with, and its defaults."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .defaults import VariantDefaults

if TYPE_CHECKING:
    from diffusers.pipelines.ace_step import AceStepAudioTokenDetokenizer, AceStepAudioTokenizer

    from .condition_encoder import ConditionEncoder
    from .transformer import Transformer


@dataclass(frozen=True)
class StageModel:
    """The model of a stage: a diffusion transformer, its own condition encoder, and silence.

    `family` "xl" puts the timbre encoder's special_token before every reference; "2b" and "tiny" have no such token.
    `silence` is float32 [1, C, N], whatever the dtype of the networks.
    """

    name: str
    transformer: "Transformer"
    condition_encoder: "ConditionEncoder"
    silence: torch.Tensor
    family: str
    defaults: VariantDefaults
    latents_channels: int
    timbre_frames: int = 750  # of one reference clip
    audio_tokenizer: "AceStepAudioTokenizer | None" = None
    audio_token_detokenizer: "AceStepAudioTokenDetokenizer | None" = None

    def silent(self, frames: int) -> torch.Tensor:
        """Latents [1, C, frames] of silence; the last stored frame is repeated as often as needed."""
        known = self.silence[..., :frames]
        return torch.cat([known, known[..., -1:].expand(-1, -1, frames - known.shape[-1])], -1)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "StageModel":
        """The same model on another device or at another dtype; the networks are moved in place."""
        # diffusers' audio tokenizers warn when `dtype` is passed, even as None.
        where = {name: value for name, value in (("device", device), ("dtype", dtype)) if value is not None}
        for network in (self.transformer, self.condition_encoder, self.audio_tokenizer, self.audio_token_detokenizer):
            if network is not None:
                network.to(**where)
        return dataclasses.replace(self, silence=self.silence.to(device=device))
