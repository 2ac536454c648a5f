"""The layouts of adapter files: how a key names its layer, and which part of the layer's delta it is.

    base_model.model.layers.3.self_attn.q_proj.lora_A.weight  ->  "layers.3.self_attn.to_q", part "a"

Only names are read here, without torch. A layout is one row of LAYOUTS, a new spelling of a part one row of _PARTS.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..checkpoints.layouts import diffusers_name
from ..errors import UserError

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"  # of a PEFT folder
DIFFUSERS_METADATA = "lora_adapter_metadata"  # PEFT's settings as JSON, in diffusers' files

# (spelling in a file, part of a delta). `a`, `b`: LoRA's lower and upper half; `mid`: the core of a convolution's.
_PEFT_PARTS = (
    (r"lora_A(?:\.\w+)?\.weight", "a"),
    (r"lora_B(?:\.\w+)?\.weight", "b"),
    (r"lora_magnitude_vector(?:\.\w+)?(?:\.weight)?", "peft_magnitude"),
    (r"(lokr_(?:w[12](?:_[ab])?|t[12]))", None),  # as spelled
)
_PARTS = (
    *_PEFT_PARTS,
    (r"lora[_.]down\.weight", "a"),
    (r"lora[_.]up\.weight", "b"),
    (r"lora_mid\.weight", "mid"),
    (r"alpha", "alpha"),
    (r"dora_scale", "magnitude"),
    (r"(hada_(?:w[12]_[ab]|t[12]))", None),
)
_PEFT_FORM, _ANY_FORM = (
    re.compile(rf"(?P<path>.+?)\.(?P<part>{'|'.join(spelling for spelling, _ in parts)})")
    for parts in (_PEFT_PARTS, _PARTS)
)

# Names of tensors in other kinds of adapters, and the kinds.
_OTHERS = (
    (r"oft_|boft_", "OFT"),
    (r"\.diff(_b)?$|\.w_norm$|\.b_norm$", "a full difference of weights"),
    (r"ia3_|on_input$", "IA3"),
    (r"lora_embedding", "a LoRA of an embedding"),
    (r"lora_B(\.\w+)?\.bias$", "a LoRA with a bias"),
    (r"modules_to_save", "a module saved whole"),
    (r"vera_|lora_E$|\.scalar$", "a kind of LoRA with parts of its own"),
    (r"\.qweight$|\.scale_weight$|\.comfy_quant$", "quantised"),
)


@dataclass(frozen=True)
class Layout:
    """One way to write keys. `flat`: the layer's path has _ for every dot."""

    name: str
    prefix: str
    form: re.Pattern = _ANY_FORM
    flat: bool = False


LAYOUTS = (
    Layout("kohya", r"lora_unet_(?:decoder_)?", flat=True),
    Layout("lycoris", r"lycoris_(?:decoder_)?", flat=True),
    Layout("peft", r"(?:base_model\.model\.)+(?:decoder\.)?", _PEFT_FORM),
    Layout("comfyui", r"(?:base_model\.model\.)+(?:decoder\.)?"),
    Layout("comfyui", r"(?:model\.)?diffusion_model\.(?:decoder\.)?"),
    Layout("diffusers", r"transformer\."),
    Layout("plain", r"(?:decoder\.)?"),
)

_LAYER = (
    *(f"{kind}_attn.{projection}_proj" for kind in ("self", "cross") for projection in "qkvo"),
    *(f"mlp.{part}_proj" for part in ("gate", "up", "down")),
)
_TRANSFORMER = (
    "proj_in.1",
    "proj_out.1",
    "condition_embedder",
    *(f"time_embed{r}.{part}" for r in ("", "_r") for part in ("linear_1", "linear_2", "time_proj")),
)


def _flat_names(paths: Iterable[str], before: str = "") -> dict[str, str]:
    """Paths with _ for dots, in the original's and in diffusers' spelling -> diffusers' path."""
    pairs = ((path, diffusers_name("transformer", before + path).removeprefix(before)) for path in paths)
    return {spelling.replace(".", "_"): ours for path, ours in pairs for spelling in (path, ours)}


_FLAT_LAYER, _FLAT_TRANSFORMER = _flat_names(_LAYER, before="layers.0."), _flat_names(_TRANSFORMER)
_SPEAKS_OF_KNOWN = re.compile("|".join(name.replace("_", "[._]") for name in {**_FLAT_LAYER, **_FLAT_TRANSFORMER}))
# The first two words of those names, in either spelling: searched first, as plain texts are found far faster.
_STEMS = tuple({mark.join(name.split("_")[:2]) for name in {**_FLAT_LAYER, **_FLAT_TRANSFORMER} for mark in "._"})
_FLAT_NUMBERED = re.compile(r"layers_([0-9]{1,4})_(.+)")


@dataclass(frozen=True)
class Key:
    """The meaning of a key of a file. `path` is as in diffusers' transformer; a path unknown there stays as it is."""

    layout: str
    path: str
    part: str


def read_key(key: str) -> Key | None:
    """The meaning of a key, or None where it is of no known form."""
    for layout in LAYOUTS:
        start = re.match(layout.prefix, key)
        found = start and layout.form.fullmatch(key, start.end())
        if found:
            given = found["path"]
            path = _unflat(given) or given if layout.flat else diffusers_name("transformer", given)
            return Key(layout.name, path, _part(found["part"]))
    return None


def _part(spelling: str) -> str:
    return next(part or spelling for form, part in _PARTS if re.fullmatch(form, spelling))


def _unflat(name: str) -> str | None:
    """A layer's name with _ for dots -> its path; None where no transformer has such a layer."""
    numbered = _FLAT_NUMBERED.fullmatch(name)
    if numbered and numbered[2] in _FLAT_LAYER:
        return f"layers.{numbered[1]}.{_FLAT_LAYER[numbered[2]]}"
    return _FLAT_TRANSFORMER.get(name)


def mentions_known(header: str) -> bool:
    """Whether the text of a header names a layer as some ACE-Step 1.5 transformer does; that of a foreign file may."""
    return any(stem in header for stem in _STEMS) and _SPEAKS_OF_KNOWN.search(header) is not None


def adapts_known(keys: Iterable[str]) -> bool:
    """Whether any of a file's keys is of a layer that some ACE-Step 1.5 transformer may have."""
    likely = filter(_SPEAKS_OF_KNOWN.search, keys)  # cheap, as most files of a folder are of other models
    return any(meaning is not None and is_known(meaning.path) for meaning in map(read_key, likely))


def is_known(path: str) -> bool:
    """Whether some ACE-Step 1.5 transformer may have such a layer."""
    return _unflat(path.replace(".", "_")) == path


def read_keys(path: Path, keys: Iterable[str]) -> tuple[str, dict[str, Key]]:
    """The layout most of a file's keys are in, and what each means. Raises UserError for a key of no known form."""
    keys = list(keys)
    known = {key: meaning for key in keys if (meaning := read_key(key)) is not None}
    foreign = [key for key in keys if key not in known]
    if foreign:
        raise UserError(_foreign(path, foreign, len(keys)))
    return Counter(meaning.layout for meaning in known.values()).most_common(1)[0][0], known


def _foreign(path: Path, foreign: list[str], count: int) -> str:
    if any(key.endswith("decoder.condition_embedder.weight") for key in foreign):
        return f"{path} is a whole model, no adapter; choose it as the model of a stage"
    kind = next((what for form, what in _OTHERS for key in foreign if re.search(form, key)), None)
    return (
        f"{path} holds {len(foreign)} tensors (of {count}) that are no part of a LoRA, DoRA, LoKr or LoHa, first "
        f"{foreign[0]}{f' ({kind})' if kind else ''}; choose an adapter of one of these kinds, such as with keys "
        "layers.0.self_attn.q_proj.lora_A.weight"
    )
