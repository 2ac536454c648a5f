"""Music -> its audio codes, 5 a second, by the audio tokenizer of a stage model."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from ..audio.clips import check_clip, in_range
from ..audio.waveform import Waveform
from ..checkpoints.checkpoint import Checkpoint, read_checkpoint
from ..checkpoints.load import load_vocoder
from ..checkpoints.networks import build
from ..checkpoints.silence import stage_silence
from ..errors import UserError
from ..models.semantic_codes import semantic_tokens
from ..models.vocoder import Vocoder
from ..spec import MAX_SECONDS
from .planned_song import codebook_of
from .requests import UnderstandAudio

if TYPE_CHECKING:
    from ..checkpoints.cascade_models import CascadeModels

ENCODING_SEED = 0
TOKENIZER = "audio_tokenizer"


def codes_of_audio(
    wave: Waveform, models: "CascadeModels", device: "torch.device | str" = "cpu", name: str = "the music"
) -> tuple[int, ...]:
    """The codes of one clip, by the vocoder of a cascade and the first of its models that has an audio tokenizer.

    Raises UserError for silence, a batch, and music longer than the longest song; CheckpointError without a tokenizer.
    """
    checkpoint = _with_tokenizer(models)
    part = checkpoint.part(TOKENIZER)
    check_music(wave, name)
    vocoder = load_vocoder(models.vocoder.path, device=device, dtype=torch.float32)
    latents = latents_of_audio(wave, vocoder, name)
    return codes_of_latents(latents, build(TOKENIZER, part, device, torch.float32), checkpoint)


def question_of_audio(
    wave: Waveform, models: "CascadeModels", device: "torch.device | str" = "cpu", name: str = "the music"
) -> UnderstandAudio:
    """What a planner is asked about one clip, in the codes of these models. Raises as `codes_of_audio`."""
    return UnderstandAudio(codes_of_audio(wave, models, device, name), codebook_of_models(models))


def codebook_of_models(models: "CascadeModels") -> int:
    """How many codes the audio tokenizer of these models has; 0 without one."""
    return codebook_of(_with_tokenizer(models))


def _with_tokenizer(models: "CascadeModels") -> Checkpoint:
    """The first model that has an audio tokenizer, or the first one."""
    checkpoints = [read_checkpoint(stage.path) for stage in models.stages]
    return next((one for one in checkpoints if TOKENIZER in one.parts), checkpoints[0])


def check_music(wave: Waveform, name: str = "the music") -> None:
    """Raises UserError for silence, a batch, and music longer than the longest song."""
    check_clip(wave, name)
    if len(wave) != 1 or wave.seconds > MAX_SECONDS:
        raise UserError(
            f"{name}: got {len(wave)} clips of {wave.seconds:.1f} s, expected one of {MAX_SECONDS:g} s at most"
        )


def latents_of_audio(
    wave: Waveform, vocoder: Vocoder, name: str = "the music", report: Callable[[float], None] = lambda seconds: None
) -> torch.Tensor:
    """Latents [1, C, T] of a clip, the same each time. `report` is called with the seconds encoded so far."""
    clip = in_range(wave, vocoder.latents.sample_rate_hz, vocoder.channels, name)
    with torch.no_grad():
        return vocoder.encode(clip, torch.Generator().manual_seed(ENCODING_SEED), report)


def codes_of_latents(latents: torch.Tensor, tokenizer: torch.nn.Module, checkpoint: Checkpoint) -> tuple[int, ...]:
    """The codes of latents [1, C, T] by the audio tokenizer of a checkpoint, where the tokenizer lies."""
    device = next(tokenizer.parameters()).device
    with torch.no_grad():
        silence = stage_silence(checkpoint, latents.shape[1]).to(device)
        _, codes = semantic_tokens(tokenizer, latents.to(device), silence)
    return tuple(codes.flatten().tolist())
