"""Where an adapter's scale is written: alpha in tensors, in adapter_config.json or in a file's metadata."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import UserError
from ..json_text import parse_json
from .layouts import DIFFUSERS_METADATA
from .patterns import Patterns, finite

IN_TENSORS = "alpha in its tensors"
FULL = "products that are not decomposed have scale 1"
NOWHERE = (
    "no alpha in the file: 1 is taken, as ComfyUI and diffusers do; most trainers of ACE-Step use alpha = 2 r, for "
    "which strength 2 is right"
)
_ALPHA, _RANK = ("lora_alpha", "linear_alpha", "network_alpha", "alpha"), ("r", "linear_dim", "network_dim", "rank")
_STABILISED = ("use_rslora", "rs_lora", "rslora")
_CONFIGS = ("adapter_config", "lora_config", "lokr_config", "loha_config", "ss_network_args")  # JSON within metadata


@dataclass(frozen=True)
class StoredScale:
    """Alpha and rank as settings give them; `alphas` and `ranks` are those of single modules, by pattern."""

    source: str
    alpha: float | None
    rank: float | None
    alphas: Patterns
    ranks: Patterns
    stabilised: bool = False  # alpha / sqrt(rank) in place of alpha / rank

    def scale(self, rank: int | None, names: Iterable[str]) -> float | None:
        """The scale of a module of that rank, which the settings may call by any of these names; None without alpha."""
        names = tuple(names)
        own = self.alphas.value(names)
        alpha, rank = own if own is not None else self.alpha, rank or self.ranks.value(names) or self.rank
        if alpha is None or not rank or rank < 0:
            return None
        return alpha / (math.sqrt(rank) if self.stabilised else rank)


def scale_in_config(config: Mapping, source: str, place: object) -> StoredScale | None:
    """From settings as PEFT and LyCORIS write them; None if there is no alpha.

    Raises UserError, with `place` first, for values that are no finite numbers and patterns that cannot be read.
    """
    alpha = _first(config, _ALPHA, place)
    alphas, ranks = (Patterns(config.get(key) or {}, f"{place}: {key}") for key in ("alpha_pattern", "rank_pattern"))
    if alpha is None and not alphas:
        return None
    stabilised = any(_yes(config.get(key)) for key in _STABILISED)
    return StoredScale(source, alpha, _first(config, _RANK, place), alphas, ranks, stabilised)


def scale_in_metadata(metadata: Mapping[str, str], place: object) -> StoredScale | None:
    """From a file's metadata: diffusers' own entry, a trainer's settings as JSON, or plain entries; None if there is
    no alpha. Raises UserError as `scale_in_config` does.
    """
    ours = {key.removeprefix("transformer."): value for key, value in _json(metadata.get(DIFFUSERS_METADATA)).items()}
    settings = [ours, *(_json(metadata.get(key)) for key in _CONFIGS), dict(_plain(metadata))]
    found = (scale_in_config(config, "its metadata", f"{place}: metadata") for config in settings)
    return next(filter(None, found), None)


def _plain(metadata: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """The single entries of a file's metadata that give alpha, rank or stabilisation; others may hold any text."""
    for key, value in metadata.items():
        name = key.removeprefix("ss_")
        if name in _STABILISED or (name in (*_ALPHA, *_RANK) and _is_number(value)):
            yield name, value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _json(text: str | None) -> dict:
    try:
        value = parse_json(text or "{}", "metadata")
    except UserError:  # settings of a trainer that does not write JSON
        return {}
    return value if isinstance(value, dict) else {}


def _yes(value: object) -> bool:
    return str(value).lower() in ("true", "1")  # metadata holds texts


def _first(config: Mapping, names: Iterable[str], place: object) -> float | None:
    name = next((name for name in names if config.get(name) is not None), None)
    return None if name is None else finite(config[name], f"{place}: {name}")
