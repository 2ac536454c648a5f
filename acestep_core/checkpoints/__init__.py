"""Model files: the table of known models; finding, downloading, reading and writing them in every layout users have."""

from importlib import import_module

from .checkpoint import Checkpoint, read_checkpoint
from .known import KNOWN, KnownModel
from .local import LocalModel, ModelRow, find, list_models, models_folders
from .variants import VariantDefaults

# What needs torch or the network is fetched when it is first used.
_LATER = {
    "download": "hub",
    "StageModel": "load",
    "load_stage_model": "load",
    "load_text_encoder": "load",
    "load_vae": "load",
    "load_vocoder": "load",
    "save_stage_model": "save",
    "save_text_encoder": "save",
    "save_vae": "save",
}

__all__ = [
    "KNOWN",
    "Checkpoint",
    "KnownModel",
    "LocalModel",
    "ModelRow",
    "StageModel",
    "VariantDefaults",
    "download",
    "find",
    "list_models",
    "load_stage_model",
    "load_text_encoder",
    "load_vae",
    "load_vocoder",
    "models_folders",
    "read_checkpoint",
    "save_stage_model",
    "save_text_encoder",
    "save_vae",
]


def __getattr__(name: str):
    if name in _LATER:
        return getattr(import_module(f".{_LATER[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
