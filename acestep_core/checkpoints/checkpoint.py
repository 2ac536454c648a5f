"""Checkpoint: the layout of a path, its parts (networks) and their geometry, from headers and configs alone.

`read_checkpoint` understands original folders, diffusers folders (a whole pipeline or one component), ComfyUI's split
files and all-in-one files, and refuses everything else with the reason.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CheckpointError
from ..json_text import JSON_BYTES_MAX
from ..models.defaults import VariantDefaults
from .config_check import checked_arguments
from .configs import (
    PUBLISHED,
    stage_arguments,
    stage_config_from_shapes,
    text_arguments,
    text_config_from_shapes,
    vae_arguments_from_shapes,
)
from .layouts import AUDIO_TOKEN_PARTS, PLANNER, STAGE_PARTS, split_file, split_original, vae_to_diffusers
from .shapes import shapes_of
from .variants import family_in, variant_defaults
from .weights import TensorInfo, read_folder, read_header, read_json

ORIGINAL, DIFFUSERS, COMFYUI, ALL_IN_ONE = "original", "diffusers", "comfyui", "all-in-one"

COMPONENT_CLASSES = {
    "transformer": "AceStepTransformer1DModel",
    "condition_encoder": "AceStepConditionEncoder",
    "audio_tokenizer": "AceStepAudioTokenizer",
    "audio_token_detokenizer": "AceStepAudioTokenDetokenizer",
    "vae": "AutoencoderOobleck",
}
TEXT_ENCODER_FOLDERS = ("text_encoder", "Qwen3-Embedding-0.6B")  # in a diffusers pipeline; in the original bundle
TOKENIZER_FOLDERS = ("", "tokenizer", "../tokenizer")
_BUNDLED = ("transformer", "vae", *TEXT_ENCODER_FOLDERS)  # a folder with one of these holds several models
_WEIGHTS = re.compile(r"(model|diffusion_pytorch_model)(-\d+-of-\d+)?\.safetensors")
SILENCE_FILE = "silence_latent.pt"
CODE_MARK = b"<|audio_code_0|>"  # in a planner's tokenizer.json


@dataclass(frozen=True)
class Part:
    """One network on disk: its constructor arguments (for the text encoder a Qwen3 config), its tensors."""

    arguments: dict
    tensors: dict[str, TensorInfo]  # by the name in the module

    @property
    def parameters(self) -> int:
        return sum(info.count for name, info in self.tensors.items() if name != "silence_latent")


@dataclass(frozen=True)
class Checkpoint:
    """All that a path offers. `family` and `defaults` are None where there is no transformer."""

    path: Path
    layout: str
    parts: dict[str, Part]
    family: str | None = None
    defaults: VariantDefaults | None = None
    timbre_frames: int = 0
    silence_file: Path | None = None
    tokenizer_folder: Path | None = None
    unused: tuple[str, ...] = field(default=(), repr=False)  # names in the file that belong to no part

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.parts.values())

    @property
    def size_bytes(self) -> int:
        """Of the files with its weights."""
        files = {info.file for part in self.parts.values() for info in part.tensors.values()}
        return sum(file.stat().st_size for file in files)

    def part(self, name: str) -> Part:
        if name not in self.parts:
            have = ", ".join(self.parts) or "nothing of ACE-Step"
            raise CheckpointError(f"{self.path} has no {name} (it has {have}); choose a model that brings one")
        return self.parts[name]


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Checkpoint of a file or folder; reads headers and configs only. Raises CheckpointError."""
    path = Path(path)
    if not os.path.exists(path):
        raise CheckpointError(f"{path} does not exist; check the path")
    checkpoint = _read_folder(path) if path.is_dir() else _read_file(path)
    if not checkpoint.parts:
        raise CheckpointError(_foreign(path, checkpoint.unused))
    if checkpoint.layout == ORIGINAL and checkpoint.unused:
        names = ", ".join(checkpoint.unused[:3])
        raise CheckpointError(
            f"{path} has {len(checkpoint.unused)} tensors that no ACE-Step 1.5 model has, first {names}; "
            "a quantised or otherwise changed file is not read, get the published one"
        )
    return checkpoint


# ---- folders ---------------------------------------------------------------------------------------------------------


def _read_folder(path: Path) -> Checkpoint:
    bundle = not (path / "config.json").is_file() and any((path / name).is_dir() for name in _BUNDLED)
    if (path / "model_index.json").is_file() or bundle:
        return _read_pipeline(path)
    config = read_json(path / "config.json")
    kind = config.get("_class_name")
    if path.name in STAGE_PARTS and kind == COMPONENT_CLASSES[path.name]:
        return _read_pipeline(path.parent)  # a transformer runs only with its condition encoder, in a folder beside it
    if kind in COMPONENT_CLASSES.values():
        part = next(part for part, name in COMPONENT_CLASSES.items() if name == kind)
        return Checkpoint(path, DIFFUSERS, {part: _component(path, part)})
    if config.get("model_type") == "qwen3":
        return Checkpoint(path, ORIGINAL, _language_part(path), tokenizer_folder=_tokenizer_folder(path))
    if kind is None and ("text_hidden_dim" in config or config.get("model_type") == "acestep"):
        return _stage(path, ORIGINAL, config, split_original(read_folder(path)), path)
    raise CheckpointError(
        f"{path} is a {kind or config.get('model_type') or 'model of an unknown kind'} by its config.json, expected an "
        "ACE-Step 1.5 model, an Oobleck VAE, a Qwen3 text encoder or a planner; choose another folder"
    )


def _read_pipeline(path: Path) -> Checkpoint:
    index = read_json(path / "model_index.json") if (path / "model_index.json").is_file() else {}
    if index.get("_class_name", "AceStepPipeline") != "AceStepPipeline":
        raise CheckpointError(f"{path} is a {index['_class_name']}, expected an AceStepPipeline; choose another folder")
    parts = {part: _component(path / part, part) for part in COMPONENT_CLASSES if (path / part).is_dir()}
    text = next((path / name for name in TEXT_ENCODER_FOLDERS if (path / name / "config.json").is_file()), None)
    if text is not None:
        parts["text_encoder"] = _text_part(text)
    if "transformer" not in parts:
        return Checkpoint(path, DIFFUSERS, parts, tokenizer_folder=text and _tokenizer_folder(text))
    config = parts["transformer"].arguments
    encoder_hidden = config.get("encoder_hidden_size") or config.get("hidden_size")
    return Checkpoint(
        path,
        DIFFUSERS,
        parts,
        family=_family(config, path, wider=encoder_hidden != config.get("hidden_size")),
        defaults=variant_defaults(config, path),
        timbre_frames=PUBLISHED["timbre_fix_frame"],
        tokenizer_folder=text and _tokenizer_folder(text),
    )


def _component(folder: Path, part: str) -> Part:
    config = read_json(folder / "config.json")
    kind = config.get("_class_name")
    if kind is not None and kind != COMPONENT_CLASSES[part]:
        raise CheckpointError(
            f"{folder} is a {kind} by its config.json, expected {COMPONENT_CLASSES[part]}; choose another folder"
        )
    tensors = read_folder(folder)
    return _part(part, config, vae_to_diffusers(tensors) if part == "vae" else tensors, folder / "config.json")


def _text_part(folder: Path) -> Part:
    tensors = split_file(read_folder(folder)).get("text_encoder")
    if tensors is None:
        raise CheckpointError(
            f"{folder} holds no Qwen3 text encoder, though its config.json says so; download it again"
        )
    return _text_part_of(read_json(folder / "config.json"), tensors, folder / "config.json")


def _language_part(folder: Path) -> dict[str, Part]:
    """The text encoder or the planner of a folder: a small planner shows by the audio codes of its tokenizer."""
    tensors = split_file(read_folder(folder))
    config, place = read_json(folder / "config.json"), folder / "config.json"
    if PLANNER not in tensors and not _has_codes(_tokenizer_folder(folder)):
        return {"text_encoder": _text_part(folder)}
    (own,) = tensors.values() if len(tensors) == 1 else ({},)
    if config.get("tie_word_embeddings") is False:
        raise CheckpointError(
            f"{place}: tie_word_embeddings is false, expected a planner whose head is its embedding; "
            "get the published model"
        )
    return {PLANNER: _text_part_of(config, own, place)}


def _has_codes(tokenizer: Path | None) -> bool:
    if tokenizer is None:
        return False
    with (tokenizer / "tokenizer.json").open("rb") as file:
        return CODE_MARK in file.read(JSON_BYTES_MAX)


def _text_part_of(config: Mapping, tensors: dict[str, TensorInfo], place: Path) -> Part:
    return Part(text_arguments(config, shapes_of(tensors), place), tensors)


def _part(name: str, config: Mapping, tensors: dict[str, TensorInfo], place: Path) -> Part:
    return Part(checked_arguments(name, config, shapes_of(tensors), place), tensors)


def _tokenizer_folder(folder: Path) -> Path | None:
    places = (folder / name for name in TOKENIZER_FOLDERS)
    return next((place for place in places if (place / "tokenizer.json").is_file()), None)


# ---- single files ----------------------------------------------------------------------------------------------------


def _read_file(path: Path) -> Checkpoint:
    names = read_header(path)
    if (path.parent / "config.json").is_file() and _WEIGHTS.fullmatch(path.name):
        return _read_folder(path.parent)  # somebody pointed into a folder
    parts = split_file(names)
    found: dict[str, Part] = {}
    if "vae" in parts:
        found["vae"] = _part("vae", _vae_arguments(parts["vae"], path), parts["vae"], path)
    for name in ("text_encoder", PLANNER):
        if name in parts:
            config = text_config_from_shapes(shapes_of(parts[name]), path)
            found[name] = _text_part_of(config, parts[name], path)
    tokenizer = _tokenizer_folder(path.parent) if found.keys() & {"text_encoder", PLANNER} else None
    if "transformer" not in parts:
        return Checkpoint(path, COMFYUI, found, tokenizer_folder=tokenizer, unused=tuple(names))
    layout = COMFYUI if "decoder.condition_embedder.weight" in names else ALL_IN_ONE
    config = stage_config_from_shapes({part: shapes_of(tensors) for part, tensors in parts.items() if part}, path)
    stage = _stage(path, layout, config, parts, path.parent)
    return Checkpoint(**{**vars(stage), "parts": stage.parts | found, "tokenizer_folder": tokenizer})


def _vae_arguments(tensors: Mapping[str, TensorInfo], path: Path) -> dict:
    config_file = path.parent / "config.json"
    if config_file.is_file():
        config = read_json(config_file)
        if config.get("_class_name") == COMPONENT_CLASSES["vae"]:
            return config
    return vae_arguments_from_shapes(shapes_of(tensors), path)


def _stage(path: Path, layout: str, config: dict, tensors: Mapping, folder: Path) -> Checkpoint:
    place = path / "config.json" if path.is_dir() else path
    arguments = stage_arguments(config, place)
    for part in STAGE_PARTS:
        if part not in tensors:
            raise CheckpointError(
                f"{path} has no tensors of the {part}, expected a whole ACE-Step 1.5 model; get the whole file"
            )
    present = [part for part in (*STAGE_PARTS, *AUDIO_TOKEN_PARTS) if part in tensors]
    parts = {part: _part(part, arguments[part], tensors[part], place) for part in present}
    silence = folder / SILENCE_FILE
    return Checkpoint(
        path,
        layout,
        parts,
        family=_family(config, path, wider="encoder_hidden_size" in config),
        defaults=variant_defaults(config, path),
        timbre_frames=config.get("timbre_fix_frame") or PUBLISHED["timbre_fix_frame"],
        silence_file=silence if silence.is_file() else None,
        unused=tuple(info.name for info in tensors.get("", {}).values()),
    )


def _family(config: Mapping, place: Path, wider: bool) -> str:
    """ "xl" puts a token before each timbre reference, "2b" does not; an encoder of another width marks an XL."""
    return family_in(config, place) or ("xl" if wider else "2b")


def _foreign(path: Path, names: tuple[str, ...]) -> str:
    if any("lora_" in name or ".lokr_" in name or ".hada_" in name for name in names):
        return f"{path} is an adapter (LoRA), not a model; load a model and apply the adapter to it"
    shown = ", ".join(names[:3]) or "no tensors at all"
    return (
        f"{path} is no ACE-Step 1.5 model, vocoder or text encoder: it holds {shown}; expected names such as "
        "decoder.condition_embedder.weight; choose another file"
    )
