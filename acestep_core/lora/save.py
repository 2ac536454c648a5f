"""Adapter -> file or folder in the layouts that other programs read, alpha in it, written whole or not at all.

"peft": a folder of adapter_config.json and adapter_model.safetensors, as the original trainer writes it. "comfyui": one
file for ComfyUI's own loaders. "diffusers": one file for diffusers' load_lora_weights. A PEFT folder
holds only LoKr of shapes that PEFT itself makes, diffusers' file none. LoHa can be saved for ComfyUI only.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from ..checkpoints.layouts import PART_PREFIX, original_name
from ..checkpoints.save import write_tensors
from ..errors import UserError
from ..system.files import whole_file
from ..system.folders import user_path
from .adapter import Adapter
from .deltas import Delta, Kronecker, LowRank
from .layouts import CONFIG_FILE, DIFFUSERS_METADATA, WEIGHTS_FILE
from .peft_lokr import lokr_config

Tensors = dict[str, torch.Tensor]


def save_adapter(
    adapter: Adapter, target: Path | str, layout: str = "peft", metadata: Mapping[str, object] | None = None
) -> Path:
    """Writes an adapter and returns its path. Raises UserError where the layout cannot hold it.

    `target` is a folder for "peft", else a file that ends in .safetensors. `metadata` goes into the file beside the
    adapter's own facts: "trigger words", "base", "base hash" and settings of the training, as text or JSON.
    """
    if layout not in LAYOUTS:
        raise UserError(f"layout: got {layout!r}, expected one of {', '.join(LAYOUTS)}")
    target = user_path(target)
    given = {**adapter.facts, **(metadata or {})}
    facts = {name: _text(value) for name, value in given.items() if value not in (None, "")}
    _check_target(target, layout)
    files = dict(LAYOUTS[layout](adapter, target, facts))
    (target if layout == "peft" else target.parent).mkdir(parents=True, exist_ok=True)
    _write(files)
    return target


def rank_alpha(delta: Delta) -> tuple[int, float]:
    """The rank, and the alpha that gives the delta's scale with it. A delta without a rank counts as one of rank 1."""
    rank = delta.rank or 1
    return rank, delta.scale * rank


# ---- layouts ---------------------------------------------------------------------------------------------------------

Files = Iterator[tuple[Path, Callable[[Path], object]]]


def _peft(adapter: Adapter, target: Path, facts: dict[str, str]) -> Files:
    if all(isinstance(delta, Kronecker) for delta in adapter.modules.values()):
        tensors, kind = _peft_lokr(adapter)
    else:
        tensors, kind = _peft_lora(adapter)
    config = {
        "task_type": "FEATURE_EXTRACTION",
        "base_model_name_or_path": facts.get("base", ""),
        "inference_mode": True,
        **kind,
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    yield target / WEIGHTS_FILE, _safetensors(tensors, {"format": "pt", **facts})
    yield target / CONFIG_FILE, lambda path: path.write_text(text, encoding="utf-8")


def _peft_lora(adapter: Adapter) -> tuple[Tensors, dict]:
    """Tensors, and what PEFT's settings say of them."""
    tensors: Tensors = {}
    for path, delta in _only_low_rank(adapter, "peft").items():
        name = f"base_model.model.{decoder_name(path)}"
        tensors |= {f"{name}.lora_A.weight": delta.a, f"{name}.lora_B.weight": delta.b}
        if delta.magnitude is not None:
            tensors[f"{name}.lora_magnitude_vector"] = _peft_magnitude(delta, path)
    return tensors, {
        "peft_type": "LORA",
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "lora_dropout": 0.0,
        "use_rslora": False,
        **_config(adapter, decoder_name),
    }


def _peft_lokr(adapter: Adapter) -> tuple[Tensors, dict]:
    tensors, config = {}, lokr_config(adapter, decoder_name)
    for path, delta in adapter.modules.items():
        for part, factors in (("lokr_w1", delta.w1), ("lokr_w2", delta.w2)):
            ends = ("",) if len(factors) == 1 else ("_a", "_b")
            tensors |= {f"base_model.model.{decoder_name(path)}.{part}{end}": f for end, f in zip(ends, factors)}
    return tensors, config


def _comfyui(adapter: Adapter, target: Path, facts: dict[str, str]) -> Files:
    tensors: Tensors = {}
    for path, delta in adapter.modules.items():
        name = f"diffusion_model.{original_name('transformer', path)}"
        tensors |= {f"{name}.{part}": tensor for part, tensor in _comfyui_parts(delta).items()}
        if delta.magnitude is not None:
            extra = (1,) * path.endswith("_conv")  # as many axes as the layer's weight has
            tensors[f"{name}.dora_scale"] = delta.magnitude.reshape(*delta.magnitude.shape, *extra)
    yield target, _safetensors(tensors, {"format": "pt", **facts})


def _comfyui_parts(delta: Delta) -> Tensors:
    rank, alpha = rank_alpha(delta)
    parts = {"alpha": torch.tensor(float(alpha))}
    if isinstance(delta, LowRank):
        return {"lora_down.weight": delta.a, "lora_up.weight": delta.b, **parts}
    algorithm = "lokr" if isinstance(delta, Kronecker) else "hada"
    for number, factors in enumerate((delta.w1, delta.w2), start=1):
        if len(factors) == 1:
            # Full products have no rank to divide alpha by: every reader takes their scale for 1.
            folded = number == 1 and delta.rank is None
            parts[f"{algorithm}_w{number}"] = factors[0] * delta.scale if folded else factors[0]
            continue
        parts |= {f"{algorithm}_w{number}_{end}": factor for end, factor in zip("ab", factors)}
        if len(factors) == 3:
            parts[f"{algorithm}_t{number}"] = factors[2]
    if delta.rank is None:
        parts["alpha"] = torch.tensor(1.0)
    return parts


def _diffusers(adapter: Adapter, target: Path, facts: dict[str, str]) -> Files:
    tensors: Tensors = {}
    for path, delta in _only_low_rank(adapter, "diffusers").items():
        tensors |= {f"transformer.{path}.lora_A.weight": delta.a, f"transformer.{path}.lora_B.weight": delta.b}
        if delta.magnitude is not None:
            tensors[f"transformer.{path}.lora_magnitude_vector"] = _peft_magnitude(delta, path)
    config = {f"transformer.{key}": value for key, value in _config(adapter, str).items()}
    yield target, _safetensors(tensors, {"format": "pt", **facts, DIFFUSERS_METADATA: json.dumps(config)})


LAYOUTS: Mapping[str, Callable[[Adapter, Path, dict[str, str]], Files]] = {
    "peft": _peft,
    "comfyui": _comfyui,
    "diffusers": _diffusers,
}


# ---- what they share -------------------------------------------------------------------------------------------------


def decoder_name(path: str) -> str:
    """A module's path in diffusers' transformer -> its path in the original decoder."""
    return original_name("transformer", path).removeprefix(PART_PREFIX["transformer"])


def _only_low_rank(adapter: Adapter, layout: str) -> dict[str, LowRank]:
    for path, delta in adapter.modules.items():
        if not isinstance(delta, LowRank):
            raise UserError(f"{adapter.name}: {path} is {delta.kind}, which {layout} cannot hold; save it as comfyui")
    return dict(adapter.modules)


def _peft_magnitude(delta: LowRank, path: str) -> torch.Tensor:
    if delta.magnitude.shape[0] == 1 and delta.shape[0] != 1:
        raise UserError(
            f"{path}: its DoRA magnitude is one of each column, peft and diffusers know those of rows only; "
            "save it as comfyui"
        )
    vector = delta.magnitude.flatten()
    return vector if delta.a.dim() == 2 else vector[None, :, None]


def _config(adapter: Adapter, name: Callable[[str], str]) -> dict:
    """PEFT's settings: the commonest rank and alpha, and patterns for the modules that have others."""
    pairs = {name(path): rank_alpha(delta) for path, delta in adapter.modules.items()}
    rank = Counter(rank for rank, _ in pairs.values()).most_common(1)[0][0]
    alpha = Counter(alpha for _, alpha in pairs.values()).most_common(1)[0][0]
    return {
        "r": rank,
        "lora_alpha": _number(alpha),
        "rank_pattern": {path: own for path, (own, _) in pairs.items() if own != rank},
        "alpha_pattern": {path: _number(own) for path, (_, own) in pairs.items() if own != alpha},
        "target_modules": sorted(pairs),
        "use_dora": any(delta.magnitude is not None for delta in adapter.modules.values()),
    }


def _number(value: float) -> int | float:
    return int(value) if float(value).is_integer() else float(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _check_target(target: Path, layout: str) -> None:
    is_file = target.suffix == ".safetensors"
    if layout == "peft" and (is_file or target.is_file()):
        raise UserError(f"{target}: peft is a folder of two files, got the name of a file; name a folder")
    if layout != "peft" and (not is_file or target.is_dir()):
        raise UserError(f"{target}: {layout} is one file, expected a name that ends in .safetensors")


def _safetensors(tensors: Tensors, metadata: dict[str, str]) -> Callable[[Path], None]:
    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return lambda path: write_tensors(stored, path, metadata)


def _write(files: Mapping[Path, Callable[[Path], object]]) -> None:
    """All files are written before one gets its name, so that a failure leaves what was there."""
    with ExitStack() as stack:
        for file, write in files.items():
            write(stack.enter_context(whole_file(file)))
