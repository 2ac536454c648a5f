"""Latents kept beside a song's file: an edit begins with them instead of encoding the file again.

They belong to the samples of the file: where those have changed since, the file is encoded.
"""

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..spec import LatentSpec
from ..system.files import write_whole
from ..system.folders import user_path

if TYPE_CHECKING:
    import torch

    from ..audio.waveform import Waveform

logger = logging.getLogger(__name__)

ENDING = ".latents.safetensors"
_NAME, _SOUND = "latents", "sound"  # the tensor; the key of the digest of the samples
_STEPS = 1 << 15  # of a sample: what decoders of one file agree on


def latents_path(song: "str | Path") -> Path:
    """Where the latents of a song's file lie: song.flac.latents.safetensors."""
    path = user_path(song)
    return path.with_name(path.name + ENDING)


def keep_latents(song: "str | Path", latents: "torch.Tensor", sound: "Waveform") -> Path:
    """Writes latents [1, C, T] beside a song's file, of which `sound` was read. Raises AceStepError."""
    from safetensors.torch import save

    path = latents_path(song)
    tensors = {_NAME: latents.detach().float().cpu().contiguous()}
    write_whole(path, save(tensors, {_SOUND: _digest(sound)}))
    return path


def find_latents(song: "str | Path", sound: "Waveform", spec: LatentSpec) -> "torch.Tensor | None":
    """The latents [1, C, T] that were kept with a file of which `sound` was read; None where there are none of it.

    A note says so where they are those of other samples, or of another vocoder.
    """
    path = latents_path(song)
    if not path.is_file():
        return None
    frames = -(-sound.samples.shape[-1] * spec.sample_rate_hz // (sound.sample_rate_hz * spec.samples_per_frame))
    try:
        return _read(path, _digest(sound), spec.channels, frames)
    except UserError as exc:
        logger.warning("%s; the file itself is encoded", exc)
        return None


def _read(path: Path, digest: str, channels: int, frames: int) -> "torch.Tensor":
    """The latents in a file; nothing of it is read where they are not those of a sound with this digest."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            shape = file.get_slice(_NAME).get_shape()
            fits = shape[:2] == [1, channels] and len(shape) == 3 and abs(shape[2] - frames) <= 1
            if not fits or (file.metadata() or {}).get(_SOUND) != digest:
                raise UserError(f"{path}: is not of this sound and this vocoder")
            latents = file.get_tensor(_NAME).float()
    except (OSError, SafetensorError) as exc:
        raise UserError(f"{path}: cannot be read ({exc})") from exc
    if not bool(latents.isfinite().all()):
        raise UserError(f"{path}: has numbers that are not finite")
    return latents


def _digest(sound: "Waveform") -> str:
    import torch

    rounded = (sound.samples * _STEPS).round().to(torch.int32)
    digest = hashlib.sha256(f"{sound.sample_rate_hz} {list(sound.samples.shape)}".encode())
    digest.update(rounded.contiguous().numpy())
    return digest.hexdigest()
