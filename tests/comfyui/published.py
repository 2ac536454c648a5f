"""Tiny random models in the layouts of the published ones: 64 channels at 25 Hz, 48 kHz; only widths are small."""

import shutil
from pathlib import Path

import torch
from acestep_pack.acestep_core.checkpoints.layouts import vae_to_stable_audio
from acestep_pack.acestep_core.system.torchaudio_import import settle_torchaudio
from comfyui_tests.install import ROOT
from safetensors.torch import load_file, save_file

STAGE, TEXT_ENCODER, VOCODER = "acestep_v1.5_turbo", "qwen_0.6b_ace15", "ace_1.5_vae"
FULL_SIZE_VOCODER = "acestep-tests-full-size-vae"
ALL_IN_ONE = "ace_step_1.5_turbo_aio"
TEXT_WIDTH = 48  # as the stage model reads it
_STAGE_FOLDER = ROOT / "tests" / "golden" / "m2b_a"  # in the original layout


def lay_out_files(models: Path) -> None:
    """ComfyUI's split files below its models folder, with a tokenizer for the text encoder."""
    _save(models / "diffusion_models" / f"{STAGE}.safetensors", stage())
    _save(models / "vae" / f"{VOCODER}.safetensors", vocoder())
    text = text_encoder(models / "text_encoders" / "tokenizer")
    _save(models / "text_encoders" / f"{TEXT_ENCODER}.safetensors", text)


def lay_out_full_size_vocoder(models: Path) -> None:
    """A random vocoder of the published size, 340 MB."""
    whole = vocoder(128, (1, 2, 4, 8, 16))
    _save(models / "vae" / f"{FULL_SIZE_VOCODER}.safetensors", {k: v.bfloat16() for k, v in whole.items()})


def lay_out_all_in_one(models: Path) -> None:
    """ComfyUI's one file with everything, and a tokenizer beside it."""
    text = text_encoder(models / "checkpoints" / "tokenizer")
    prefixes = {"model.diffusion_model.": stage(), "vae.": vocoder(), "text_encoders.qwen3_06b.transformer.": text}
    tensors = {prefix + name: tensor for prefix, part in prefixes.items() for name, tensor in part.items()}
    _save(models / "checkpoints" / f"{ALL_IN_ONE}.safetensors", tensors)


def lay_out_folder(folder: Path) -> None:
    """A stage model in the original layout."""
    shutil.copytree(_STAGE_FOLDER, folder, ignore=lambda _, names: {name for name in names if _is_case(name)})


def lay_out_text_folder(folder: Path) -> None:
    """A text encoder in transformers' layout."""
    _qwen(folder).save_pretrained(folder)


def lay_out_vocoder_folder(folder: Path) -> None:
    """A vocoder in diffusers' layout."""
    _oobleck().save_pretrained(folder)


def _is_case(name: str) -> bool:
    return name not in ("config.json", "model.safetensors", "silence_latent.pt")


def _save(path: Path, tensors: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


def stage() -> dict:
    """A 2B turbo model, original names."""
    return load_file(_STAGE_FOLDER / "model.safetensors")


def vocoder(decoder_width: int = 8, multiples: tuple[int, ...] = (1, 1, 1, 1, 1)) -> dict:
    """Names as in ComfyUI's file, whose shapes are those of 128, (1, 2, 4, 8, 16): core's nodes read no others."""
    tensors = vae_to_stable_audio(_oobleck(decoder_width, multiples).state_dict())
    return {name: t.flatten() if name.endswith((".alpha", ".beta")) else t for name, t in tensors.items()}


def _oobleck(decoder_width: int = 8, multiples: tuple[int, ...] = (1, 1, 1, 1, 1)):
    settle_torchaudio()
    from diffusers import AutoencoderOobleck

    torch.manual_seed(3)
    return AutoencoderOobleck(
        encoder_hidden_size=128,  # twice the channels of the latents
        decoder_channels=decoder_width,
        decoder_input_channels=64,
        downsampling_ratios=[2, 4, 4, 6, 10],
        channel_multiples=list(multiples),
        sampling_rate=48000,
    )


def text_encoder(tokenizer_folder: Path) -> dict:
    """A Qwen3 that reads bytes; its tokenizer is put into a folder."""
    return {f"model.{name}": tensor for name, tensor in _qwen(tokenizer_folder).state_dict().items()}


def _qwen(tokenizer_folder: Path):
    settle_torchaudio()
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0, **{letter: i + 1 for i, letter in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|endoftext|>").save_pretrained(tokenizer_folder)
    torch.manual_seed(4)
    geometry = {"hidden_size": TEXT_WIDTH, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 12}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return Qwen3Model(Qwen3Config(vocab_size=len(vocabulary), **geometry, **heads))
