"""An adapter file or folder in any layout -> Adapter: the delta of each layer, at its true scale.

A LoRA's delta is scale * B @ A with scale = alpha / r (alpha / sqrt(r) for rank-stabilised ones). Where alpha stands
differs from trainer to trainer; `Adapter.scale_source` says where it was found, or that it was not.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ..checkpoints.weights import TensorInfo, read_header, read_json
from ..errors import CheckpointError, UserError
from .bases import Shapes, bases_of
from .delta_check import check_delta, check_inner, check_tensor
from .deltas import Delta, Hadamard, Kronecker, LowRank, as_peft_multiplies
from .facts import read_facts
from .find import find_adapter, weights_file
from .layouts import CONFIG_FILE, WEIGHTS_FILE, Key, is_known, read_keys
from .scales import FULL, IN_TENSORS, NOWHERE, StoredScale, scale_in_config, scale_in_metadata

__all__ = ["Adapter", "Delta", "Hadamard", "Kronecker", "LowRank", "read_adapter"]

_DTYPES = ("F64", "F32", "F16", "BF16")
_PEFT_TYPES = ("LORA", "LOKR", "LOHA")
# Ways in which PEFT changes the base's weights before training: the file alone is then not the whole adapter.
_CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class Adapter:
    """An adapter in one form, whatever file it came from.

    `modules`: path in diffusers' transformer, such as "layers.3.self_attn.to_q" -> delta. `facts`: trigger words, base,
    hash of the base and training settings, as the file names them. `keys`: the file's own names of each module.
    """

    name: str
    modules: Mapping[str, Delta]
    layout: str = "memory"
    path: Path | None = None
    scale_source: str = "given"
    facts: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """ "LoRA", "DoRA", "LoKr", "LoHa", "LoKr with DoRA", or several of them."""
        return ", ".join(dict.fromkeys(_kind(delta) for delta in self.modules.values()))

    @property
    def ranks(self) -> tuple[int, ...]:
        """All ranks that occur, smallest first; none where every product is full."""
        return tuple(sorted({delta.rank for delta in self.modules.values() if delta.rank}))

    @property
    def alphas(self) -> tuple[float, ...]:
        """All alphas that give these scales with these ranks, smallest first."""
        return tuple(sorted({round(delta.scale * delta.rank, 6) for delta in self.modules.values() if delta.rank}))

    @property
    def scales(self) -> tuple[float, ...]:
        """All scales that occur, smallest first."""
        return tuple(sorted({delta.scale for delta in self.modules.values()}))

    @property
    def shapes(self) -> Shapes:
        return {path: delta.shape for path, delta in self.modules.items()}

    @property
    def bases(self) -> tuple[str, ...]:
        """The known transformers that it may have been trained on, by its shapes."""
        known = {path: shape for path, shape in self.shapes.items() if is_known(path)}
        return bases_of(known) if known else ()


def read_adapter(name_or_path: Path | str) -> Adapter:
    """Adapter from a file, a folder, or a name in this machine's folders of adapters. Raises UserError.

    Only safetensors are read, never a pickle.
    """
    path = find_adapter(name_or_path)
    file = weights_file(path)
    infos = read_header(file)
    layout, keys = read_keys(file, infos)
    config = _config(file, infos)
    tensors, metadata = _load(file, infos, keys)
    stored = scale_in_config(config, CONFIG_FILE, file.parent / CONFIG_FILE) or scale_in_metadata(metadata, file)
    modules, names, sources = {}, {}, []
    for module, parts in _by_module(file, keys).items():
        names[module] = tuple(parts.values())
        given = {part: tensors[key] for part, key in parts.items()}
        spelled = (module, *(_module_of(key) for key in names[module][:1]))
        delta, source = _delta(file, module, given, stored, spelled)
        modules[module] = as_peft_multiplies(delta) if config.get("peft_type") == "LOKR" else delta
        sources.append(source)
    return Adapter(
        name=path.stem if path.is_file() else path.resolve().name,
        modules=modules,
        layout=layout,
        path=path,
        scale_source="; ".join(dict.fromkeys(sources)),
        facts=read_facts(metadata, config),
        keys=names,
    )


def _kind(delta: Delta) -> str:
    if delta.magnitude is None:
        return delta.kind
    return "DoRA" if isinstance(delta, LowRank) else f"{delta.kind} with DoRA"


# ---- files -----------------------------------------------------------------------------------------------------------


def _config(file: Path, infos: Mapping[str, TensorInfo]) -> dict:
    """PEFT's settings beside a file, if they are its own: it has PEFT's name, or no other weights lie there."""
    place = file.parent / CONFIG_FILE
    own = file.name == WEIGHTS_FILE or len(list(file.parent.glob("*.safetensors"))) == 1
    if not place.is_file() or not own:
        return {}
    config = read_json(place)
    if "peft_type" in config and config["peft_type"] not in _PEFT_TYPES:
        raise UserError(f"{place} is of a {config['peft_type']}, expected one of {', '.join(_PEFT_TYPES)}")
    start = str(config.get("init_lora_weights") or "").lower()
    if start.startswith(_CHANGES_THE_BASE):
        raise UserError(
            f"{place}: trained from a base that {start} had changed, so it fits no published one; let PEFT save it as "
            "a LoRA of the unchanged base (path_initial_model_for_weight_conversion)"
        )
    return config


def _load(
    file: Path, infos: Mapping[str, TensorInfo], keys: Mapping[str, Key]
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    for key, info in infos.items():
        if info.dtype not in _DTYPES and keys[key].part != "alpha":
            raise UserError(f"{file}: {key} is stored as {info.dtype}, expected one of {', '.join(_DTYPES)}")
    try:
        with safe_open(file, framework="pt") as stored:
            tensors, metadata = {key: stored.get_tensor(key) for key in infos}, dict(stored.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}); fetch the file again") from error
    for key, tensor in tensors.items():
        check_tensor(file, key, keys[key].part, tensor)
    return tensors, metadata


def _by_module(file: Path, keys: Mapping[str, Key]) -> dict[str, dict[str, str]]:
    """Module -> part -> key."""
    modules: dict[str, dict[str, str]] = {}
    for key, meaning in keys.items():
        parts = modules.setdefault(meaning.path, {})
        if meaning.part in parts:
            raise UserError(
                f"{file}: {parts[meaning.part]} and {key} are the same part of {meaning.path}; save one adapter a file"
            )
        parts[meaning.part] = key
    return modules


def _module_of(key: str) -> str:
    return re.split(r"\.(?:lora|lokr|hada)_", key, maxsplit=1)[0]


# ---- deltas ----------------------------------------------------------------------------------------------------------


def _delta(
    file: Path, module: str, parts: dict[str, torch.Tensor], stored: StoredScale | None, names: tuple[str, ...]
) -> tuple[Delta, str]:
    """The delta of one module and where its scale is from. `names`: those by which settings may call the module."""
    magnitude = _magnitude(parts)
    if "a" in parts or "b" in parts:
        delta = LowRank(_lower(file, module, parts), _need(file, module, parts, "b"), magnitude=magnitude)
    elif any(part.startswith("lokr_") for part in parts):
        w1, w2 = (_factors(file, module, parts, f"lokr_w{n}", f"lokr_t{n}") for n in (1, 2))
        delta = Kronecker(w1, w2, magnitude=magnitude)
    elif any(part.startswith("hada_") for part in parts):
        w1, w2 = (_factors(file, module, parts, f"hada_w{n}", f"hada_t{n}") for n in (1, 2))
        delta = Hadamard(w1, w2, magnitude=magnitude)
    else:
        raise UserError(f"{file}: {module} has only {', '.join(parts)}, no weights of an adapter; get the whole file")
    check_delta(file, module, delta)
    scale, source = _scale(delta, parts.get("alpha"), stored, names)
    return replace(delta, scale=scale), source


def _need(file: Path, module: str, parts: dict[str, torch.Tensor], part: str) -> torch.Tensor:
    if part not in parts:
        raise UserError(f"{file}: {module} has {', '.join(parts)} but no {part}; the file is not whole, get it again")
    return parts[part]


def _lower(file: Path, module: str, parts: dict[str, torch.Tensor]) -> torch.Tensor:
    """LoRA's lower half; the core of a decomposed convolution is multiplied into it."""
    a = _need(file, module, parts, "a")
    if "mid" not in parts:
        return a
    check_inner(file, module, parts["mid"].shape[1], a.shape[0])
    return torch.einsum("rsk,si->rik", parts["mid"].float(), a.float().flatten(1))


def _factors(file: Path, module: str, parts: dict[str, torch.Tensor], whole: str, core: str) -> tuple:
    if whole in parts:
        return (parts[whole],)
    pair = tuple(_need(file, module, parts, f"{whole}_{end}") for end in "ab")
    return (*pair, parts[core]) if core in parts else pair


def _magnitude(parts: dict[str, torch.Tensor]) -> torch.Tensor | None:
    """DoRA's magnitude as [out, 1] or [1, in]."""
    if "peft_magnitude" in parts:  # always one a row
        return parts["peft_magnitude"].reshape(-1, 1)
    given = parts.get("magnitude")
    if given is None:
        return None
    return given.reshape(1, -1) if given.dim() > 1 and given.shape[0] == 1 else given.reshape(-1, 1)


def _scale(
    delta: Delta, alpha: torch.Tensor | None, stored: StoredScale | None, names: tuple[str, ...]
) -> tuple[float, str]:
    if delta.rank is None and (stored is None or stored.source != CONFIG_FILE):
        return 1.0, FULL
    if alpha is not None and delta.rank:
        return float(alpha) / delta.rank, IN_TENSORS
    scale = stored and stored.scale(delta.rank, names)
    return (scale, stored.source) if scale is not None else (1.0, NOWHERE)
