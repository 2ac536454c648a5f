"""The four file layouts and their key maps: names in a file <-> names in diffusers' modules.

A *part* is one network. The original files hold several under one prefix each; ComfyUI's split files keep those names,
its all-in-one files put a prefix of their own before them; diffusers folders hold one part each. No tensor is read
here, only names and shapes, and torch is not imported.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

STAGE_PARTS = ("transformer", "condition_encoder")
AUDIO_TOKEN_PARTS = ("audio_tokenizer", "audio_token_detokenizer")
AUDIO_TOKENS = "audio_tokens"  # both of them
PLANNER = "planner"

PART_PREFIX = {  # in the original layout
    "transformer": "decoder.",
    "condition_encoder": "encoder.",
    "audio_tokenizer": "tokenizer.",
    "audio_token_detokenizer": "detokenizer.",
}
NULL_CONDITION = "null_condition_emb"  # has no prefix in the original layout, belongs to the condition encoder here

# Prefixes that ComfyUI may put before the original names; an all-in-one file has one for each of its models.
STAGE_PREFIXES = ("", "model.diffusion_model.", "diffusion_model.")
VAE_PREFIXES = ("", "vae.", "first_stage_model.")
LANGUAGE_PREFIXES = (  # of text encoders and of planners; an all-in-one file may hold one of each
    "",
    "model.",
    *(
        f"{start}{size}.transformer.{inner}"
        for size in ("qwen3_06b", "qwen3_2b", "qwen3_4b")
        for start in ("text_encoders.", "")
        for inner in ("model.", "")
    ),
)
# Rows of a Qwen3 embedding from which on it has audio codes, which planners read and write: a text encoder's has
# 151,669, a planner's 217,204.
PLANNER_ROWS = 200_000

# (original, diffusers): one element of a dotted name, in every part; then the start of a name, in the transformer.
_ELEMENTS = (
    ("q_proj", "to_q"),
    ("k_proj", "to_k"),
    ("v_proj", "to_v"),
    ("o_proj", "to_out.0"),
    ("q_norm", "norm_q"),
    ("k_norm", "norm_k"),
)
_TRANSFORMER_STARTS = (("proj_in.1", "proj_in_conv"), ("proj_out.1", "proj_out_conv"))


def _renamed(part: str, name: str, source: int) -> str:
    target = 1 - source
    for pair in _ELEMENTS:
        name = re.sub(rf"(?<=\.){re.escape(pair[source])}(?=\.|$)", pair[target], name)
    if part == "transformer":
        for pair in _TRANSFORMER_STARTS:
            name = re.sub(rf"^{re.escape(pair[source])}(?=\.|$)", pair[target], name)
    return name


def diffusers_name(part: str, name: str) -> str:
    """A tensor's or module's name inside `part`, original spelling -> diffusers' (prefix already taken off)."""
    return _renamed(part, name, 0)


def original_name(part: str, name: str) -> str:
    """The inverse of `diffusers_name`, with the part's prefix put on: a name in an original model.safetensors."""
    if part == "condition_encoder" and name == NULL_CONDITION:
        return name
    return PART_PREFIX[part] + _renamed(part, name, 1)


def to_original(part: str, state: Mapping[str, T]) -> dict[str, T]:
    """The state_dict of one diffusers module under the original names. The silence buffer has a file of its own."""
    return {original_name(part, name): value for name, value in state.items() if name != "silence_latent"}


def split_original(names: Mapping[str, T], prefix: str = "") -> dict[str, dict[str, T]]:
    """Names of an original file (below `prefix`) -> part -> diffusers names. Unknown names come back as part ""."""
    parts: dict[str, dict[str, T]] = {}
    for name, value in names.items():
        if not name.startswith(prefix):
            continue
        rest = name[len(prefix) :]
        if rest == NULL_CONDITION:
            parts.setdefault("condition_encoder", {})[rest] = value
            continue
        part = next((part for part, start in PART_PREFIX.items() if rest.startswith(start)), "")
        inner = diffusers_name(part, rest[len(PART_PREFIX[part]) :]) if part else rest
        parts.setdefault(part, {})[inner] = value
    return parts


# ---- vocoder: diffusers <-> stable-audio / ComfyUI -------------------------------------------------------------------

_UNIT = ("snake1", "conv1", "snake2", "conv2")
_NEW_WEIGHT_NORM = (
    (".parametrizations.weight.original0", ".weight_g"),
    (".parametrizations.weight.original1", ".weight_v"),
)


_DIRECTIONS = ("weight_v", "parametrizations.weight.original1")


def _vae_modules(blocks: int) -> dict[str, str]:
    """Module paths of an Oobleck VAE of that many blocks: diffusers -> stable-audio."""
    pairs = {}
    for half, inner, first_unit in (("encoder", ("snake1", "conv1"), 0), ("decoder", ("snake1", "conv_t1"), 2)):
        pairs[f"{half}.conv1"] = f"{half}.layers.0"
        for block in range(blocks):
            ours, theirs = f"{half}.block.{block}", f"{half}.layers.{block + 1}.layers"
            first_inner = 3 if half == "encoder" else 0
            for offset, module in enumerate(inner):
                pairs[f"{ours}.{module}"] = f"{theirs}.{first_inner + offset}"
            for unit in range(3):
                for index, module in enumerate(_UNIT):
                    pairs[f"{ours}.res_unit{unit + 1}.{module}"] = f"{theirs}.{first_unit + unit}.layers.{index}"
        pairs[f"{half}.snake1"] = f"{half}.layers.{blocks + 1}"
        pairs[f"{half}.conv2"] = f"{half}.layers.{blocks + 2}"
    return pairs


def _vae_renamed(names: Mapping[str, T], modules: Mapping[str, str]) -> dict[str, T]:
    renamed = {}
    for name, value in names.items():
        module, _, parameter = name.rpartition(".")
        renamed[f"{modules.get(module, module)}.{parameter}"] = value
    return renamed


def _old_weight_norm(name: str) -> str:
    for new, old in _NEW_WEIGHT_NORM:
        name = name.replace(new, old)
    return name


def vae_to_diffusers(names: Mapping[str, T]) -> dict[str, T]:
    """A vocoder's names in either spelling -> diffusers', weight norm as weight_g, weight_v. Values are untouched."""
    names = {_old_weight_norm(name): value for name, value in names.items()}
    last = [int(m[1]) for name in names if (m := re.match(r"encoder\.layers\.([0-9]{1,4})\.", name))]
    if not last:
        return names
    modules = {theirs: ours for ours, theirs in _vae_modules(min(max(last) - 2, len(names))).items()}
    return _vae_renamed(names, modules)


def vae_to_stable_audio(names: Mapping[str, T]) -> dict[str, T]:
    """diffusers' names -> stable-audio's, as in ComfyUI's file. Its snake parameters are [C], diffusers' [1, C, 1]."""
    blocks = 1 + max(int(m[1]) for name in names if (m := re.match(r"encoder\.block\.(\d+)\.", name)))
    return _vae_renamed(names, _vae_modules(blocks))


# ---- which parts does a single file hold? ----------------------------------------------------------------------------


def _prefix_of(names: Mapping[str, T], prefixes: tuple[str, ...], *marks: str) -> str | None:
    return next((prefix for prefix in prefixes if any(prefix + mark in names for mark in marks)), None)


def _below(names: Mapping[str, T], prefix: str) -> dict[str, T]:
    return {name[len(prefix) :]: value for name, value in names.items() if name.startswith(prefix)}


def split_file(names: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """All parts that a single safetensors file holds, in any layout: part -> diffusers name -> value; {} if none.

    Parts: the four of a stage model, "vae", "text_encoder" and "planner". Names of no part come back as part "".
    """
    parts: dict[str, dict[str, T]] = {}
    stage = _prefix_of(names, STAGE_PREFIXES, "decoder.condition_embedder.weight")
    if stage is not None:
        parts.update(split_original(names, stage))
        if not stage:
            return parts
    vae = _prefix_of(
        names,
        VAE_PREFIXES,
        *(f"decoder.{first}.{weight}" for first in ("conv1", "layers.0") for weight in _DIRECTIONS),
    )
    if vae is not None:
        parts["vae"] = vae_to_diffusers(_below(names, vae))
    for prefix in LANGUAGE_PREFIXES:
        if all(f"{prefix}{mark}" in names for mark in _LANGUAGE_MARKS):
            # An output head, where a file has one, is that of the embedding.
            own = {n: v for n, v in _below(names, prefix).items() if not n.startswith("lm_head.")}
            parts.setdefault(_language_part(own), own)
    return parts


_LANGUAGE_MARKS = ("embed_tokens.weight", "layers.0.self_attn.q_norm.weight")


def _language_part(names: Mapping[str, T]) -> str:
    """What a Qwen3 model is, by the shape of its embedding: names do not tell."""
    shape = getattr(names["embed_tokens.weight"], "shape", (0,))
    return PLANNER if len(shape) and shape[0] >= PLANNER_ROWS else "text_encoder"
