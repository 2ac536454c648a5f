"""What a variant (turbo, base, sft, ...) wants by default: steps, shift, guidance. Read from the checkpoint itself.

Our own optional key "acestep_cascade" in config.json overrides any field; a lone ComfyUI file has no config, so there
the file's name decides, and `source` says so.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import CheckpointError
from ..flow.schedule import TURBO_TIMES
from ..models.defaults import VariantDefaults
from ..spec import BASE_GUIDANCE, BASE_SHIFT, BASE_STEPS, TURBO_SHIFT, TURBO_STEPS

OVERRIDES = "acestep_cascade"


def _turbo(variant: str, shift: float = TURBO_SHIFT, times: tuple[float, ...] | None = None) -> VariantDefaults:
    return VariantDefaults(variant, TURBO_STEPS, shift, valid_times=times)


def _guided(variant: str) -> VariantDefaults:
    return VariantDefaults(variant, BASE_STEPS, BASE_SHIFT, BASE_GUIDANCE, "apg")


VARIANTS = {
    "turbo": _turbo("turbo", times=TURBO_TIMES),
    "turbo-shift1": _turbo("turbo-shift1", shift=1.0, times=TURBO_TIMES),
    "turbo-shift3": _turbo("turbo-shift3", times=TURBO_TIMES),
    "turbo-continuous": _turbo("turbo-continuous"),  # made for any time
    "sft": _guided("sft"),
    "base": _guided("base"),
}


def variant_in(text: str) -> str | None:
    """The most specific variant that a name speaks of: "acestep_v1.5_xl_sft_bf16" -> "sft"; None if none, or two."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower())
    spoken = [variant for variant in VARIANTS if re.search(rf"(^|-){variant}(-|$)", words)]
    if {"turbo", "base", "sft"}.issuperset(spoken) and len(spoken) > 1:
        return None  # a merge of two has no known defaults
    return max(spoken, key=len, default=None)


def variant_defaults(config: Mapping, path: Path) -> VariantDefaults:
    """Defaults of a checkpoint from its config (original or diffusers transformer form), else from its file's name.

    A turbo repository names the shift it was distilled for only in its own name, so a config that just says "turbo" is
    made more precise by a path that says, say, "turbo-shift1". Raises CheckpointError for a bad "acestep_cascade" key.
    """
    told = variant_in(str(config.get("model_version") or ""))
    if told is None and "is_turbo" in config:
        told = "turbo" if config["is_turbo"] else "base"
    named = variant_in(_spoken_name(path))
    if told is not None and named is not None and named.startswith(told):
        told = named
    source = "config.json" if told else "file name" if named else "assumed"
    # A lone file without any word on it: turbo is what nearly all published files are.
    defaults = dataclasses.replace(VARIANTS[told or named or "turbo"], source=source)
    return _overridden(defaults, config.get(OVERRIDES) or {}, path)


def _spoken_name(path: Path) -> str:
    """A file's or folder's name; in the cache of huggingface_hub, which names folders by commit, the repository's."""
    if path.parent.name == "snapshots":
        return path.parent.parent.name
    return path.stem if path.suffix == ".safetensors" else path.name


def _overridden(defaults: VariantDefaults, overrides: Mapping, path: Path) -> VariantDefaults:
    known = {field.name for field in dataclasses.fields(VariantDefaults)} - {"source"}
    unknown = set(overrides) - known - {"family"}
    if unknown:
        raise CheckpointError(
            f"{path}: config.json's {OVERRIDES} has {', '.join(sorted(unknown))}; expected only family, "
            f"{', '.join(sorted(known))}; correct the file"
        )
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in overrides.items() if k in known}
    return dataclasses.replace(defaults, **given, source="config.json") if given else defaults
