"""Networks in memory -> files in the original layout, each written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ..errors import AceStepError
from ..system.files import whole_file, write_whole
from .checkpoint import SILENCE_FILE
from .configs import original_config
from .layouts import to_original
from .variants import OVERRIDES

if TYPE_CHECKING:
    from diffusers.pipelines.ace_step import AceStepAudioTokenDetokenizer, AceStepAudioTokenizer
    from transformers import PreTrainedTokenizerBase, Qwen3Model

    from ..models.autoencoder import Autoencoder
    from ..models.condition_encoder import ConditionEncoder
    from ..models.transformer import Transformer


def save_stage_model(
    folder: Path | str,
    transformer: "Transformer",
    condition_encoder: "ConditionEncoder",
    silence: torch.Tensor,
    config_extra: Mapping | None = None,
    dtype: torch.dtype | None = None,
    tokenizer: "AceStepAudioTokenizer | None" = None,
    detokenizer: "AceStepAudioTokenDetokenizer | None" = None,
    family: str = "tiny",
) -> Path:
    """A stage model as config.json, model.safetensors and silence_latent.pt ([1, C, N], float32); returns the folder.

    `config_extra` goes into config.json beside the geometry, such as "timbre_fix_frame" (frames of a reference clip)
    and "model_version". Its "acestep_cascade" holds steps, shift, guidance, guidance_kind, boundaries, cascade_steps
    ..., and gets `family` ("2b", "xl" or "tiny") too. `dtype` None keeps each tensor's own.
    """
    networks = {"transformer": transformer, "condition_encoder": condition_encoder}
    optional = {"audio_tokenizer": tokenizer, "audio_token_detokenizer": detokenizer}
    networks |= {part: network for part, network in optional.items() if network is not None}
    config = original_config({part: dict(network.config) for part, network in networks.items()})
    config["layer_types"] = list(transformer.layer_types)
    extra = dict(config_extra or {})
    config |= {**extra, OVERRIDES: {"family": family} | extra.get(OVERRIDES, {})}
    state: dict[str, torch.Tensor] = {}
    for part, network in networks.items():
        state |= to_original(part, network.state_dict())
    folder = _folder(folder)
    _save_tensors(folder / "model.safetensors", state, dtype)
    _save_silence(folder / SILENCE_FILE, silence)
    _save_json(folder / "config.json", config)
    return folder


def save_vae(folder: Path | str, vae: "Autoencoder", dtype: torch.dtype | None = None) -> Path:
    """A vocoder as config.json and diffusion_pytorch_model.safetensors, diffusers' names; returns the folder."""
    folder = _folder(folder)
    config = {key: value for key, value in vae.config.items() if not key.startswith("_")}
    _save_tensors(folder / "diffusion_pytorch_model.safetensors", vae.state_dict(), dtype)
    _save_json(folder / "config.json", {"_class_name": "AutoencoderOobleck"} | config)
    return folder


def save_text_encoder(
    folder: Path | str,
    model: "Qwen3Model",
    tokenizer: "PreTrainedTokenizerBase",
    dtype: torch.dtype | None = None,
) -> Path:
    """A text encoder as config.json, model.safetensors and the tokenizer's files; returns the folder."""
    folder = _folder(folder)
    _save_tensors(folder / "model.safetensors", model.state_dict(), dtype)
    tokenizer.save_pretrained(folder)
    config = model.config.to_diff_dict()
    _save_json(folder / "config.json", {"model_type": "qwen3", "architectures": ["Qwen3Model"]} | config)
    return folder


def write_tensors(tensors: Mapping[str, torch.Tensor], path: Path | str, metadata: Mapping[str, str]) -> None:
    """Writes contiguous tensors as a safetensors file, the same bytes each time.

    Raises AceStepError where it cannot be written, as on a full disk.
    """
    try:
        save_file(dict(tensors), path, metadata=dict(metadata))
    except SafetensorError as exc:
        raise AceStepError(f"{path}: could not be written ({exc}); free space or give another place") from exc
    if metadata:
        _sort_metadata(path)


def _sort_metadata(path: Path | str) -> None:
    """Sorts the metadata within a safetensors header, in place: the library writes them in a random order."""
    with open(path, "rb+") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(8)
        file.write(text.ljust(length))


def _folder(folder: Path | str) -> Path:
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _save_tensors(path: Path, state: Mapping[str, torch.Tensor], dtype: torch.dtype | None) -> None:
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in state.items()}
    with whole_file(path) as part:
        write_tensors(tensors, part, {"format": "pt"})


def _save_silence(path: Path, silence: torch.Tensor) -> None:
    with whole_file(path) as part:
        torch.save(silence.detach().float().cpu().contiguous(), part)


def _save_json(path: Path, value: Mapping) -> None:
    write_whole(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())
