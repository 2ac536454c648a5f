"""ComfyUI's AUDIO and the library's Waveform."""

import torch

from ..acestep_core.audio.waveform import Waveform
from ..acestep_core.errors import UserError

# Beside waveform and rate: seeds of the items and names of the models that made them, and where they were found, their
# scores and the times of their lyrics (LRC).
STAMP = "acestep"


def waveform_of(audio: dict | None) -> Waveform:
    """Samples [B, channels, N] float32. Raises UserError where a node gave no sound, as for a video without any."""
    if audio is None:
        raise UserError("audio: got none (a video without sound, perhaps); connect something that makes sound")
    wave = Waveform(audio["waveform"].float().cpu(), audio["sample_rate"])
    if wave.samples.numel() == 0:
        raise UserError("audio: holds no sound, its length is 0; connect something that makes sound")
    return wave


def to_audio(wave: Waveform, seeds: tuple[int, ...] = (), models: tuple[str, ...] = ()) -> dict:
    samples = wave.samples.to(torch.float32).contiguous()
    stamp = {"seeds": list(seeds), "models": list(models)}
    return {"waveform": samples, "sample_rate": wave.sample_rate_hz, STAMP: stamp}
