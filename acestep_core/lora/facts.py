"""Facts in an adapter's file: trigger words, the base it was trained on, settings of its training."""

from collections.abc import Mapping

from ..errors import UserError
from ..json_text import parse_json

TRIGGER_WORDS, BASE, BASE_HASH, TRAINING = "trigger words", "base", "base hash", "training"

# Our name of a fact -> names under which trainers write it.
_NAMES = {
    TRIGGER_WORDS: (
        TRIGGER_WORDS,
        *("trigger_words", "trigger_word", "trigger", "modelspec.trigger_phrase", "ss_trigger_words"),
        *("activation text", "custom_tag", "instance_prompt"),
    ),
    BASE: (BASE, "base_model", "base_model_name_or_path", "ss_sd_model_name", "ss_base_model_version", "model_variant"),
    BASE_HASH: (BASE_HASH, "base_hash", "ss_sd_model_hash", "ss_new_sd_model_hash"),
    "title": ("title", "modelspec.title", "ss_output_name"),
    "steps": ("steps", "ss_steps", "max_steps", "modelspec.steps"),
    "epochs": ("epochs", "ss_num_epochs", "max_epochs", "num_epochs"),
    "learning rate": ("learning rate", "learning_rate", "ss_learning_rate"),
    "songs": ("songs", "ss_num_train_images", "num_samples"),
}
_TECHNICAL = ("format", "lora_adapter_metadata", "algo", "adapter_config", "lora_config", "lokr_config", "loha_config")


def read_facts(metadata: Mapping[str, str], config: Mapping[str, object]) -> dict[str, str]:
    """Facts from a file's metadata and its adapter_config.json: those of known meaning first, then the others."""
    given = {**{key: config.get(key) for key in ("base_model_name_or_path",)}, **metadata}
    said = {key: _plain(value) for key, value in given.items() if key not in _TECHNICAL and value not in (None, "")}
    facts = {}
    for fact, names in _NAMES.items():
        value = next((said[name] for name in names if said.get(name)), None)
        if value:
            facts[fact] = value
    known = {name for names in _NAMES.values() for name in names}
    return facts | {key: value for key, value in said.items() if key not in known}


def _plain(value: object) -> str:
    """Lists, in JSON or not, as words between commas."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = parse_json(value, "metadata")
        except UserError:  # a text that begins with a bracket
            return value
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
