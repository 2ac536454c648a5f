"""The one table of known models: where each is published, what it needs, how large it is, what it is for.

Sizes are those of the published files where they are known, else they follow from the parameter counts.
A new model is one more row.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from . import geometry
from .geometry import PLANNERS, STAGE_PARAMETERS, TEXT_ENCODER

STAGE, TEXT, VOCODER, PLANNER = "stage", "text", "vocoder", "planner"

DEFAULT_PLANNER_SIZE = "1.7B"
TINY_PLANNER = "tiny-planner"
_BUNDLE = "ACE-Step/Ace-Step1.5"
_COMFY = "Comfy-Org/ace_step_1.5_ComfyUI_files"
_STAGE_FILES = ("config.json", "model*.safetensors", "model.safetensors.index.json", "silence_latent.pt")
_TEXT_FILES = ("config.json", "model*.safetensors", "tokenizer.json", "tokenizer_config.json")
_VAE_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
_PIPELINE_FILES = ("model_index.json", "*/*.json", "*/*.safetensors")

_PARAMETERS_2B, _PARAMETERS_XL = STAGE_PARAMETERS["2b"], STAGE_PARAMETERS["xl"]
_PARAMETERS_TEXT, _PARAMETERS_VAE = TEXT_ENCODER.parameters, geometry.VOCODER.parameters
_BYTES_2B, _BYTES_XL_F32, _BYTES_XL_BF16 = 4_787_825_604, 19_950_000_000, 9_974_700_000
_BYTES_TEXT, _BYTES_VAE, _BYTES_SILENCE = 1_191_588_248, 337_431_732, 3_841_000


@dataclass(frozen=True)
class KnownModel:
    """A published model. `path` is its folder or its one file inside the repository; `files` are patterns below it."""

    name: str
    kinds: tuple[str, ...]  # what it can be loaded as
    slot: str  # where it sits by default: "L", "M", "S", several of them, or its kind
    repo: str  # hub id; "" is embedded in this package
    path: str
    files: tuple[str, ...]  # () if `path` is the file itself
    size_bytes: int
    parameters: int
    family: str
    variant: str
    licence: str = "MIT"

    @property
    def patterns(self) -> tuple[str, ...]:
        """Patterns of the names to download from the repository."""
        return tuple(f"{self.path}/{file}" if self.path else file for file in self.files) or (self.path,)


def _stage_2b(name: str, variant: str, repo: str = "", path: str = "") -> KnownModel:
    size = _BYTES_2B + _BYTES_SILENCE
    repo = repo or f"ACE-Step/{name}"
    return KnownModel(name, (STAGE,), "M, S", repo, path, _STAGE_FILES, size, _PARAMETERS_2B, "2b", variant)


def _stage_xl(variant: str) -> KnownModel:
    name, size = f"acestep-v15-xl-{variant}", _BYTES_XL_F32 + _BYTES_SILENCE
    return KnownModel(name, (STAGE,), "L", f"ACE-Step/{name}", "", _STAGE_FILES, size, _PARAMETERS_XL, "xl", variant)


def _comfy_stage(variant: str, family: str) -> KnownModel:
    xl = family == "xl"
    name = f"acestep_v1.5_xl_{variant}_bf16" if xl else f"acestep_v1.5_{variant}"
    return KnownModel(
        name,
        (STAGE,),
        "L" if xl else "M, S",
        _COMFY,
        f"split_files/diffusion_models/{name}.safetensors",
        (),
        _BYTES_XL_BF16 if xl else _BYTES_2B,
        _PARAMETERS_XL if xl else _PARAMETERS_2B,
        family,
        variant,
    )


def _planner(size: str) -> KnownModel:
    name, parameters = f"acestep-5Hz-lm-{size}", PLANNERS[size].parameters
    repo, path = (_BUNDLE, name) if size == DEFAULT_PLANNER_SIZE else (f"ACE-Step/{name}", "")
    files = (*_TEXT_FILES, "model.safetensors.index.json")
    return KnownModel(name, (PLANNER,), "planner", repo, path, files, 2 * parameters, parameters, "2b, xl", size)


def _comfy_planner(size: str) -> KnownModel:
    name, parameters = f"qwen_{size.lower()}_ace15", PLANNERS[size].parameters
    path = f"split_files/text_encoders/{name}.safetensors"
    return KnownModel(name, (PLANNER,), "planner", _COMFY, path, (), 2 * parameters, parameters, "2b, xl", size)


def _pipeline(name: str, repo: str, family: str) -> KnownModel:
    xl = family == "xl"
    parameters = (_PARAMETERS_XL if xl else _PARAMETERS_2B) + _PARAMETERS_TEXT + _PARAMETERS_VAE
    kinds, slot = (STAGE, TEXT, VOCODER), "L" if xl else "M, S"
    return KnownModel(name, kinds, slot, repo, "", _PIPELINE_FILES, 2 * parameters, parameters, family, "turbo")


def _tiny(name: str, kind: str, slot: str, folder: str) -> KnownModel:
    return KnownModel(name, (kind,), slot, "", folder, (), 0, 0, "tiny", "tiny")


_MODELS = (
    _tiny("tiny-l", STAGE, "L", "l"),
    _tiny("tiny-m", STAGE, "M", "m"),
    _tiny("tiny-s", STAGE, "S", "s"),
    _tiny("tiny-text", TEXT, "text", "text_encoder"),
    _tiny("tiny-vocoder", VOCODER, "vocoder", "vae"),
    _tiny(TINY_PLANNER, PLANNER, "planner", "planner"),
    _stage_xl("turbo"),
    _stage_xl("sft"),
    _stage_xl("base"),
    _stage_2b("acestep-v15-turbo", "turbo", _BUNDLE, "acestep-v15-turbo"),
    _stage_2b("acestep-v15-turbo-shift1", "turbo-shift1"),
    _stage_2b("acestep-v15-turbo-shift3", "turbo-shift3"),
    _stage_2b("acestep-v15-turbo-continuous", "turbo-continuous"),
    _stage_2b("acestep-v15-sft", "sft"),
    _stage_2b("acestep-v15-base", "base"),
    KnownModel(
        "Qwen3-Embedding-0.6B",
        (TEXT,),
        "text",
        _BUNDLE,
        "Qwen3-Embedding-0.6B",
        _TEXT_FILES,
        _BYTES_TEXT + 11_423_000,
        _PARAMETERS_TEXT,
        "2b, xl",
        "",
        "Apache-2.0",
    ),
    KnownModel(
        "acestep-v15-vae", (VOCODER,), "vocoder", _BUNDLE, "vae", _VAE_FILES, _BYTES_VAE, _PARAMETERS_VAE, "2b, xl", ""
    ),
    _pipeline("acestep-v15-xl-turbo-diffusers", "ACE-Step/acestep-v15-xl-turbo-diffusers", "xl"),
    _pipeline("acestep-v15-turbo-diffusers", "Runware/acestep-v15-turbo-diffusers", "2b"),
    _comfy_stage("turbo", "xl"),
    _comfy_stage("sft", "xl"),
    _comfy_stage("base", "xl"),
    _comfy_stage("turbo", "2b"),
    _comfy_stage("base", "2b"),
    KnownModel(
        "ace_step_1.5_turbo_aio",
        (STAGE, TEXT, VOCODER),
        "M, S",
        _COMFY,
        "checkpoints/ace_step_1.5_turbo_aio.safetensors",
        (),
        10_000_000_000,
        _PARAMETERS_2B + _PARAMETERS_TEXT + _PARAMETERS_VAE,
        "2b",
        "turbo",
    ),
    KnownModel(
        "qwen_0.6b_ace15",
        (TEXT,),
        "text",
        _COMFY,
        "split_files/text_encoders/qwen_0.6b_ace15.safetensors",
        (),
        _BYTES_TEXT,
        _PARAMETERS_TEXT,
        "2b, xl",
        "",
        "Apache-2.0",
    ),
    KnownModel(
        "ace_1.5_vae",
        (VOCODER,),
        "vocoder",
        _COMFY,
        "split_files/vae/ace_1.5_vae.safetensors",
        (),
        _BYTES_VAE,
        _PARAMETERS_VAE,
        "2b, xl",
        "",
    ),
    *map(_planner, PLANNERS),
    *map(_comfy_planner, ("1.7B", "4B")),
)

KNOWN = {model.name: model for model in _MODELS}
DEFAULT_TEXT, DEFAULT_VOCODER = "Qwen3-Embedding-0.6B", "acestep-v15-vae"
DEFAULT_PLANNER = f"acestep-5Hz-lm-{DEFAULT_PLANNER_SIZE}"


def usual_planner(names: Iterable[str]) -> str:
    """Of the planners that are here, the one that is taken where none is named: the default one, else any other than
    the embedded one, else that. The default one where there is none.
    """
    here = list(names)
    others = [name for name in here if name != TINY_PLANNER]
    return DEFAULT_PLANNER if DEFAULT_PLANNER in here else next(iter((*others, *here)), DEFAULT_PLANNER)


def known_model(name: str, kind: str | None = None) -> KnownModel | None:
    """The row of a name, case aside: its own, with or without "acestep-v15-", "acestep-5Hz-lm-" or ".safetensors",
    or a hub id.

    With `kind`, only rows that can be loaded as such; a repository's bare id then means its first model of that kind.
    """
    wanted = name.lower().removesuffix(".safetensors")
    rows = [model for model in _MODELS if kind is None or kind in model.kinds]
    for spelling in (_spellings, lambda model: {model.repo.lower()} - {""}):
        for model in rows:
            if wanted in spelling(model):
                return model
    return None


def _spellings(model: KnownModel) -> set[str]:
    name = model.name.lower()
    hub_id = f"{model.repo}/{model.path}".rstrip("/").lower()
    short = name.removeprefix("acestep-v15-").removeprefix("acestep-5hz-lm-")
    return {name, short, hub_id.removesuffix(".safetensors")}
