"""Name or path -> what runs: a StageModel, a TextEncoder, a Vocoder. Latents are [B, C, T], time last."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import CheckpointError, how_to_get
from ..models.stage_model import StageModel
from .checkpoint import TOKENIZER_FOLDERS, Checkpoint, read_checkpoint
from .layouts import AUDIO_TOKEN_PARTS, AUDIO_TOKENS, STAGE_PARTS
from .locate import find, find_here
from .networks import SILENCE_BUFFER, build
from .registry import DEFAULT_TEXT, KNOWN, STAGE, TEXT, VOCODER
from .silence import stage_silence
from .tokenizer_files import read_tokenizer, special_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from ..models.autoencoder import Autoencoder
    from ..models.text_encoder import TextEncoder
    from ..models.vocoder import Vocoder

logger = logging.getLogger(__name__)

_ONLY = {None: STAGE_PARTS, AUDIO_TOKENS: AUDIO_TOKEN_PARTS}  # what `only` reads, where that is not one part

Device = torch.device | str
Dtype = torch.dtype | None


def load_stage_model(
    name_or_path: str | Path,
    *,
    device: Device = "cpu",
    computed_on: Device | None = None,
    dtype: Dtype = None,
    parts: Sequence[str] = (),
    only: str | None = None,
    silence: torch.Tensor | None = None,
    folders: Sequence[Path | str] = (),
) -> StageModel:
    """StageModel from a known name or a path in any layout. `dtype` None: as stored (float16 as float32 for a CPU).

    `computed_on` is the device that computes with the model, if it lies on another one until then.
    `parts` may name "audio_tokenizer" and "audio_token_detokenizer", which are not read otherwise. `only`
    "transformer" or "condition_encoder" reads that one, and the other is None; "audio_tokens" reads those two parts.
    `silence` [1, C, N] is used where the file brings none; without it a local model or vocoder gives it. `folders` are
    searched before this machine's own. Raises CheckpointError.
    """
    for part in parts:
        if part not in AUDIO_TOKEN_PARTS:
            raise ValueError(f"parts may hold {' and '.join(AUDIO_TOKEN_PARTS)}, got {part!r}")
    local = find(name_or_path, STAGE, folders)
    checkpoint = read_checkpoint(local.path)
    channels = checkpoint.part("transformer").tensors["proj_out_conv.weight"].shape[1]
    checkpoint.part("condition_encoder")
    if only in (None, "condition_encoder"):  # warns once, where the networks of a model are read apart
        _say_if_guessed(checkpoint)
    found = stage_silence(checkpoint, channels, silence, folders)
    read = (*_ONLY.get(only, (only,)), *parts)
    networks = dict.fromkeys((*STAGE_PARTS, *read))
    networks |= {name: build(name, checkpoint.part(name), device, dtype, computed_on) for name in read}
    if encoder := networks["condition_encoder"]:
        # diffusers also keeps silence in a buffer, as [1, N, C].
        weight = encoder.null_condition_emb
        setattr(encoder, SILENCE_BUFFER, found.transpose(1, 2).to(weight.device, weight.dtype))
    return StageModel(
        name=local.name,
        silence=found.to(device),
        family=checkpoint.family,
        defaults=checkpoint.defaults,
        latents_channels=channels,
        timbre_frames=checkpoint.timbre_frames,
        **networks,
    )


def load_text_encoder(
    name_or_path: str | Path = DEFAULT_TEXT,
    *,
    device: Device = "cpu",
    dtype: Dtype = None,
    folders: Sequence[Path | str] = (),
) -> "TextEncoder":
    """TextEncoder from a known name, a folder with tokenizer.json, a diffusers pipeline, or a single file.

    ComfyUI's files bring no tokenizer: it is taken from beside the file or from a local Qwen3-Embedding-0.6B.
    `folders` are searched before this machine's own. Raises CheckpointError.
    """
    from ..models.text_encoder import TextEncoder

    checkpoint = read_checkpoint(find(name_or_path, TEXT, folders).path)
    part = checkpoint.part("text_encoder")
    tokenizer = load_tokenizer(tokenizer_folder(checkpoint, folders))
    vocabulary = part.tensors["embed_tokens.weight"].shape[0]
    tokens = 1 + max(tokenizer.get_vocab().values(), default=-1)
    if tokens > vocabulary:
        raise CheckpointError(
            f"{checkpoint.path} knows {vocabulary} tokens, its tokenizer has {tokens}; "
            "put the tokenizer.json that belongs to the model beside it"
        )
    return TextEncoder(build("text_encoder", part, device, dtype), tokenizer)


def load_tokenizer(folder: Path) -> "Tokenizer":
    """The tokenizer of a folder as its tokenizer.json has it, with the special tokens of its tokenizer_config.json.

    It neither cuts nor pads by itself. Raises CheckpointError.
    """
    tokenizer = read_tokenizer(folder / "tokenizer.json")
    known = {str(token.content) for token in tokenizer.get_added_tokens_decoder().values()}
    special = special_tokens(folder / "tokenizer_config.json").values()
    tokenizer.add_special_tokens([token for token in dict.fromkeys(special) if token not in known])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def load_vae(name_or_path: str | Path, *, device: Device = "cpu", dtype: Dtype = None) -> "Autoencoder":
    """A vocoder's Autoencoder from a known name, a folder, or a single file. Raises CheckpointError."""
    return build("vae", read_checkpoint(find(name_or_path, VOCODER).path).part("vae"), device, dtype)


def load_vocoder(name_or_path: str | Path, *, device: Device = "cpu", dtype: Dtype = None) -> "Vocoder":
    """Vocoder from a known name, a folder, a pipeline, or a single file. Raises CheckpointError."""
    from ..models.vocoder import Vocoder

    return Vocoder(load_vae(name_or_path, device=device, dtype=dtype))


def _say_if_guessed(checkpoint: Checkpoint) -> None:
    if checkpoint.defaults.source != "config.json":
        logger.warning(
            "%s does not name its variant; judged by its %s, it runs as %s: %d steps, shift %g, guidance %g",
            checkpoint.path.name,
            "file name" if checkpoint.defaults.source == "file name" else "lack of a telling name",
            checkpoint.defaults.variant,
            checkpoint.defaults.steps,
            checkpoint.defaults.shift,
            checkpoint.defaults.guidance,
        )


def tokenizer_folder(checkpoint: Checkpoint, folders: Sequence[Path | str]) -> Path:
    """The folder of the tokenizer that a text encoder needs. Raises CheckpointError where there is none."""
    if checkpoint.tokenizer_folder is not None:
        return checkpoint.tokenizer_folder
    local = find_here(KNOWN[DEFAULT_TEXT], folders)
    if local is not None and (local / "tokenizer.json").is_file():
        return local
    raise CheckpointError(
        f"{checkpoint.path} brings no tokenizer; put the tokenizer.json of {DEFAULT_TEXT} beside it or into a folder "
        f"named {TOKENIZER_FOLDERS[1]} there, or {how_to_get(DEFAULT_TEXT)}"
    )
