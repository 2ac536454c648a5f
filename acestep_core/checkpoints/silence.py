"""The latents of silence: [1, C, N] float32.

A song without a reference is conditioned on them. Original folders hold silence_latent.pt, diffusers folders a buffer
of the condition encoder. ComfyUI's files hold neither. For them silence is taken from beside the file; else from a
local copy of any known model; else digital silence is encoded with the vocoder of the same file or a known one. (A few
frames at the beginning differ from the rest, which is one frame repeated.)
"""

import pickle
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch

from ..errors import CheckpointError, how_to_get
from ..nn.oobleck import EncoderBlock, Half
from ..nn.tiling import encoder_context
from ..spec import PUBLISHED_LATENTS
from .checkpoint import SILENCE_FILE, Checkpoint, Part, read_checkpoint
from .locate import local_models, state_of
from .networks import SILENCE_BUFFER, build, read_tensor
from .registry import DEFAULT_VOCODER

_BYTES_MAX = 64 << 20  # the published one has 3.8 MB
_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def stage_silence(
    checkpoint: Checkpoint, channels: int, given: torch.Tensor | None = None, folders: Sequence[Path | str] = ()
) -> torch.Tensor:
    """Silence [1, channels, N], float32, for a stage model: its own, else `given`, else found or made (see above).

    `folders` are searched before this machine's own.
    """
    buffer = checkpoint.part("condition_encoder").tensors.get(SILENCE_BUFFER)
    if checkpoint.silence_file is not None:
        return read_silence(checkpoint.silence_file, channels)
    if buffer is not None:
        return _checked(read_tensor(buffer).float().transpose(1, 2), channels, buffer.file)
    if given is not None:
        return _checked(given.float().contiguous(), channels, Path("the silence given"))
    known = _known_silence(folders) if channels == PUBLISHED_LATENTS.channels else None
    return _made_silence(checkpoint, channels, folders) if known is None else known


def read_silence(path: Path, channels: int) -> torch.Tensor:
    """silence_latent.pt -> [1, channels, N] float32; unpickled as bare tensors only. Raises CheckpointError."""
    _check_archive(path)
    try:
        silence = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _pickle_refused(path, "of more than a tensor") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{path} is no whole tensor file ({_first_line(error)}); fetch the file again") from error
    return _checked(silence, channels, path)


def _check_archive(path: Path) -> None:
    """Raises CheckpointError unless a file is a zip archive of a size that silence may have, as `torch.save` writes."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, zipfile.BadZipFile) and _is_pickle(path):
            raise _pickle_refused(path, "without an archive") from error
        raise CheckpointError(f"{path} is no whole tensor file ({_first_line(error)}); fetch the file again") from error
    if size > _BYTES_MAX:
        raise CheckpointError(f"{path} holds {size:,} bytes, expected at most {_BYTES_MAX:,}; fetch the file again")


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(pickle.PROTO)) == pickle.PROTO


def _pickle_refused(path: Path, kind: str) -> CheckpointError:
    return CheckpointError(
        f"{path} holds a pickle {kind}, which can run any code when it is opened, so it is refused; get the published "
        "file"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


@lru_cache(maxsize=4)
def _silence_by(vocoder: Path, state: tuple) -> torch.Tensor:
    """Digital silence through a vocoder's encoder: [1, C, N], the last frame that of endless silence.

    Cached, as all stages of a cascade need it; `state` changes with the file.
    """
    with torch.inference_mode(False), torch.no_grad():  # for callers outside of inference mode, too
        vae = build("vae", read_checkpoint(vocoder).part("vae"))
        encoder = Half(vae.encoder.float(), EncoderBlock)
        around = encoder_context(vae.config.downsampling_ratios)
        frames = around.before + 1 + around.after
        mean, _ = encoder(torch.zeros(1, vae.config.audio_channels, frames * vae.hop_length)).chunk(2, dim=1)
        return mean[..., : around.before + 1].contiguous()


def _checked(silence: torch.Tensor, channels: int, path: Path) -> torch.Tensor:
    fault = _fault(silence, channels)
    if fault:
        raise CheckpointError(
            f"{path}: silence is {fault}, expected [1, {channels}, frames] as the model has {channels} latent "
            f"channels; get the {SILENCE_FILE} that belongs to the model"
        )
    return silence.float()


def _fault(silence: torch.Tensor, channels: int) -> str | None:
    """Why a value is not latents of silence; None where it is."""
    if not isinstance(silence, torch.Tensor):
        return type(silence).__name__
    if silence.is_nested or silence.is_meta:
        return "a nested tensor, or one without values"
    if silence.layout != torch.strided or silence.dtype not in _DTYPES:
        return f"{silence.dtype} in the layout {silence.layout}"
    shape = list(silence.shape)
    if silence.ndim != 3 or silence.shape[:2] != (1, channels) or not silence.shape[2]:
        return str(shape)
    if silence.numel() * silence.element_size() > silence.untyped_storage().nbytes():
        return f"{shape} over fewer numbers"
    return None if torch.isfinite(silence).all() else "not finite (NaN or infinite)"


def _known_silence(folders: Sequence[Path | str]) -> torch.Tensor | None:
    for local in local_models("stage", folders):
        file = local.path / SILENCE_FILE
        if local.known.family != "tiny" and file.is_file():
            return read_silence(file, PUBLISHED_LATENTS.channels)
    return None


def _made_silence(checkpoint: Checkpoint, channels: int, folders: Sequence[Path | str]) -> torch.Tensor:
    candidates = [checkpoint, *(read_checkpoint(local.path) for local in local_models("vocoder", folders))]
    for candidate in candidates:
        part = candidate.parts.get("vae")
        if part is not None and _vae_channels(part) == channels:
            return _silence_by(candidate.path, state_of(candidate.path))
    raise CheckpointError(
        f"{checkpoint.path} brings no {SILENCE_FILE}, and there is no vocoder of {channels} channels, such as "
        f"{DEFAULT_VOCODER}, to make one with; {how_to_get(DEFAULT_VOCODER)}, or put {SILENCE_FILE} beside the file"
    )


def _vae_channels(part: Part) -> int:
    return part.tensors["decoder.conv1.weight_v"].shape[1]
