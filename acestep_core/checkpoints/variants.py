"""Default steps, shift and guidance of a variant (turbo, base, sft, ...), read from the checkpoint itself.

Our own optional key "acestep_cascade" in config.json overrides any field; its "tasks" names the editing tasks that the
checkpoint was trained for. A single file has no config, so its name decides, and `source` says so.
"""

import dataclasses
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ..errors import CheckpointError
from ..flow.schedule import TURBO_TIMES
from ..models.defaults import ALL_TASKS, ANY_TASKS, TURBO_TASKS, VariantDefaults
from ..spec import BASE_GUIDANCE, BASE_SHIFT, BASE_STEPS, TURBO_SHIFT, TURBO_STEPS
from .config_check import TEXT, Rule, check_value, number, one_of, several, whole

logger = logging.getLogger(__name__)

OVERRIDES = "acestep_cascade"
HEADS_KEY = "lyric_alignment_layers_config"  # the original's: layer -> heads that follow the lyrics
_HEADS = several(whole(0, 1023), 1024)
_OBJECT = Rule("an object", lambda value: isinstance(value, dict))


def _turbo(variant: str, shift: float = TURBO_SHIFT, times: tuple[float, ...] | None = None) -> VariantDefaults:
    return VariantDefaults(variant, TURBO_STEPS, shift, valid_times=times, tasks=TURBO_TASKS)


def _guided(variant: str) -> VariantDefaults:
    return VariantDefaults(variant, BASE_STEPS, BASE_SHIFT, BASE_GUIDANCE, "apg", tasks=ALL_TASKS)


VARIANTS = {
    "turbo": _turbo("turbo", times=TURBO_TIMES),
    "turbo-shift1": _turbo("turbo-shift1", shift=1.0, times=TURBO_TIMES),
    "turbo-shift3": _turbo("turbo-shift3", times=TURBO_TIMES),
    "turbo-continuous": _turbo("turbo-continuous"),  # made for any time
    "sft": _guided("sft"),
    "base": _guided("base"),
}


_FIELDS = MappingProxyType(
    {
        "family": one_of("2b", "xl", "tiny"),
        "variant": TEXT,
        "steps": whole(1, 1000),
        "shift": number(0.01, 100),
        "guidance": number(0, 1000),
        "guidance_kind": TEXT,
        "boundaries": several(number(0, 1), 100),
        "valid_times": several(number(0, 1), 1000),
        "cascade_steps": several(whole(1, 1000), 100),
        "tasks": several(one_of(*ALL_TASKS), len(ALL_TASKS)),
        "lyric_heads_trained": Rule("true or false", lambda value: isinstance(value, bool)),
    }
)


def variant_in(text: str) -> str | None:
    """The most specific variant in a name: "acestep_v1.5_xl_sft_bf16" -> "sft"; None for none, or two."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower())
    found = [variant for variant in VARIANTS if re.search(rf"(^|-){variant}(-|$)", words)]
    if {"turbo", "base", "sft"}.issuperset(found) and len(found) > 1:
        return None  # a merge of two has no known defaults
    return max(found, key=len, default=None)


def family_in(config: Mapping, place: Path) -> str | None:
    """The family in a config's "acestep_cascade"; None where it says none. Raises CheckpointError."""
    return _overrides(config, place).get("family")


def variant_defaults(config: Mapping, path: Path) -> VariantDefaults:
    """Defaults of a checkpoint from its config (original or diffusers transformer form), else from its file's name.

    A turbo repository names the shift it was distilled for only in its own name, so a config that just says "turbo" is
    made more precise by a path that says, say, "turbo-shift1". Raises CheckpointError for a bad "acestep_cascade" key.
    """
    stated = variant_in(str(config.get("model_version") or ""))
    if stated is None and "is_turbo" in config:
        stated = "turbo" if config["is_turbo"] else "base"
    named = variant_in(_name_of(path))
    if stated is not None and named is not None and named.startswith(stated):
        stated = named
    source = "config.json" if stated else "file name" if named else "assumed"
    # A lone file without a variant in its name: turbo is what nearly all published files are.
    defaults = dataclasses.replace(VARIANTS[stated or named or "turbo"], source=source)
    defaults = dataclasses.replace(defaults, lyric_heads=_lyric_heads(config, path))
    overrides = {key: value for key, value in _overrides(config, path).items() if key != "family"}
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in overrides.items()}
    if given.get("variant", defaults.variant) not in VARIANTS:
        given.setdefault("tasks", ANY_TASKS)  # a family of its own, which says what else it was trained for
    return dataclasses.replace(defaults, **given, source="config.json") if given else defaults


def _lyric_heads(config: Mapping, path: Path) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The table of HEADS_KEY in a config; none, with a warning, where it is no such table: songs do not need it."""
    table = config.get(HEADS_KEY)
    if table is None:
        return ()
    rows = table.items() if isinstance(table, dict) else [("", None)]
    if not all(str(layer).isdecimal() and len(str(layer)) < 5 and _HEADS.holds(heads) for layer, heads in rows):
        logger.warning("%s: %s is no table of layers and heads, and is not used", path, HEADS_KEY)
        return ()
    return tuple(sorted((int(layer), tuple(heads)) for layer, heads in rows))


def _name_of(path: Path) -> str:
    """A file's or folder's name; in the cache of huggingface_hub, which names folders by commit, the repository's."""
    if path.parent.name == "snapshots":
        return path.parent.parent.name
    return path.stem if path.suffix == ".safetensors" else path.name


def _overrides(config: Mapping, path: Path) -> Mapping:
    """The checked values below a config's own key, nulls left out. Raises CheckpointError."""
    values = config.get(OVERRIDES) or {}
    check_value(path, OVERRIDES, values, _OBJECT)
    unknown = set(values) - set(_FIELDS)
    if unknown:
        raise CheckpointError(
            f"{path}: config.json's {OVERRIDES} has {', '.join(sorted(unknown))}; expected only "
            f"{', '.join(_FIELDS)}; correct the file"
        )
    values = {key: value for key, value in values.items() if value is not None}
    for key, value in values.items():
        check_value(path, f"{OVERRIDES}'s {key}", value, _FIELDS[key])
    return values
