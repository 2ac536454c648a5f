"""Where an adapter's scale is written: alpha in tensors, in adapter_config.json or in a file's metadata."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .layouts import DIFFUSERS_METADATA

IN_TENSORS = "alpha in its tensors"
FULL = "products that are not decomposed have scale 1"
NOWHERE = (
    "no alpha in the file: 1 is taken, as ComfyUI and diffusers do; most trainers of ACE-Step use alpha = 2 r; what "
    "was trained so is itself at strength 2"
)
_ALPHA, _RANK = ("lora_alpha", "linear_alpha", "network_alpha", "alpha"), ("r", "linear_dim", "network_dim", "rank")
_STABILISED = ("use_rslora", "rs_lora", "rslora")
_CONFIGS = ("adapter_config", "lora_config", "lokr_config", "loha_config", "ss_network_args")  # JSON within metadata


@dataclass(frozen=True)
class Told:
    """What settings say of scales. `alphas`, `ranks`: those of modules whose name ends in, or matches, a pattern."""

    source: str
    alpha: float | None
    rank: float | None = None
    alphas: Mapping[str, float] = field(default_factory=dict)
    ranks: Mapping[str, float] = field(default_factory=dict)
    stabilised: bool = False  # by the square root of the rank

    def scale(self, rank: int | None, names: Iterable[str]) -> float | None:
        """Of a module of that rank, which may go by any of these names; None where nothing is told."""
        names = tuple(names)
        own = _own(self.alphas, names)
        alpha, rank = own if own is not None else self.alpha, rank or _own(self.ranks, names) or self.rank
        if alpha is None or not rank:
            return None
        return float(alpha) / (math.sqrt(rank) if self.stabilised else rank)


def _own(values: Mapping[str, float], names: tuple[str, ...]) -> float | None:
    return next((value for pattern, value in values.items() if any(_names(pattern, name) for name in names)), None)


def _names(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(rf"(.*\.)?({pattern})", name) is not None
    except re.error:
        return False


def told_by_config(config: Mapping, source: str) -> Told | None:
    """From settings as PEFT and LyCORIS write them; None if there is no alpha."""
    alpha, alphas = _first(config, _ALPHA), config.get("alpha_pattern") or {}
    if alpha is None and not alphas:
        return None
    stabilised = any(_yes(config.get(key)) for key in _STABILISED)
    return Told(source, alpha, _first(config, _RANK), alphas, config.get("rank_pattern") or {}, stabilised)


def told_by_metadata(metadata: Mapping[str, str]) -> Told | None:
    """From a file's metadata: diffusers' own entry, a trainer's settings as JSON, or plain entries; None if there is
    no alpha.
    """
    source = "its metadata"
    ours = {key.removeprefix("transformer."): value for key, value in _json(metadata.get(DIFFUSERS_METADATA)).items()}
    plain = {key.removeprefix("ss_"): value for key, value in metadata.items()}
    settings = [ours, *(_json(metadata.get(key)) for key in _CONFIGS), plain]
    told = (told_by_config(config, source) for config in settings)
    return next(filter(None, told), None)


def _json(text: str | None) -> dict:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _yes(value: object) -> bool:
    return str(value).lower() in ("true", "1")  # metadata holds texts


def _first(config: Mapping, names: Iterable[str]) -> float | None:
    for name in names:
        try:
            return float(config[name])
        except (KeyError, TypeError, ValueError):
            continue
    return None
