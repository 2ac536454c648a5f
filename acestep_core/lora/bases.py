"""The transformer on which an adapter was trained, by the shapes of the layers it adapts. No torch.

A shape is a layer's rows and columns, [out, in] of a Linear and [out, in * k] of a convolution.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from ..checkpoints.checkpoint import Part
from ..checkpoints.geometry import TRANSFORMERS
from ..checkpoints.locate import TINY_FOLDER
from ..checkpoints.weights import read_json
from ..errors import UserError
from ..spec import PUBLISHED_LATENTS, SLOTS
from .layouts import is_known

Shapes = Mapping[str, tuple[int, int]]

_SINUSOID = 256  # input width of the time embedders
_NOT_ADAPTED = "proj_out_conv"  # a transposed convolution, which no trainer adapts


@dataclass(frozen=True)
class Base:
    """The geometry of a family's transformer, as far as adapters touch it."""

    name: str
    hidden: int
    queries: int  # heads * head_dim
    keys: int  # key and value heads * head_dim
    inner: int  # of the MLP
    layers: int
    states: int  # width of the condition encoder
    patch: int
    channels: int  # latents, context and mask

    def shape(self, path: str) -> tuple[int, int] | None:
        """Of the layer at that path in diffusers' transformer; None where it has no such layer."""
        if path.startswith("layers."):
            _, number, *rest = path.split(".")
            return self._in_layer(".".join(rest)) if int(number) < self.layers else None
        if path.startswith("time_embed"):
            rows = 6 * self.hidden if path.endswith("time_proj") else self.hidden
            return rows, _SINUSOID if path.endswith("linear_1") else self.hidden
        own = {
            "condition_embedder": (self.hidden, self.states),
            "proj_in_conv": (self.hidden, self.channels * self.patch),
        }
        return own.get(path)

    def _in_layer(self, rest: str) -> tuple[int, int] | None:
        group, _, projection = rest.partition(".")
        shapes = {
            "to_q": (self.queries, self.hidden),
            "to_k": (self.keys, self.hidden),
            "to_v": (self.keys, self.hidden),
            "to_out.0": (self.hidden, self.queries),
            "gate_proj": (self.inner, self.hidden),
            "up_proj": (self.inner, self.hidden),
            "down_proj": (self.hidden, self.inner),
        }
        return shapes.get(projection)


PUBLISHED_CHANNELS = 3 * PUBLISHED_LATENTS.channels  # latents, context and mask
_PUBLISHED = {"2b": "2B (acestep-v15-turbo, -sft, -base)", "xl": "XL (acestep-v15-xl-turbo, -sft, -base)"}


@cache
def known_bases() -> tuple[Base, ...]:
    """The published families and the embedded models."""
    published = (_base(name, TRANSFORMERS[family].arguments) for family, name in _PUBLISHED.items())
    tiny = (_base(f"tiny-{folder.name}", read_json(folder / "config.json")) for folder in _tiny_folders())
    return (*published, *tiny)


def _tiny_folders():
    return (TINY_FOLDER / slot for slot in SLOTS if (TINY_FOLDER / slot / "config.json").is_file())


def _base(name: str, config: Mapping) -> Base:
    head = config["head_dim"]
    return Base(
        name,
        hidden=config["hidden_size"],
        queries=config["num_attention_heads"] * head,
        keys=config["num_key_value_heads"] * head,
        inner=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        states=config.get("encoder_hidden_size") or config["hidden_size"],
        patch=config["patch_size"],
        channels=config.get("in_channels", PUBLISHED_CHANNELS),
    )


def bases_of(shapes: Shapes) -> tuple[str, ...]:
    """Names of the known bases in which every one of these layers is and has its shape."""
    return tuple(base.name for base in known_bases() if all(base.shape(p) == shape for p, shape in shapes.items()))


def describe(shapes: Shapes) -> str:
    """The base by its name, or by its width if it is unknown."""
    names = bases_of(shapes) if shapes else ()
    if names:
        return " or ".join(names)
    widths = {
        columns for path, (_, columns) in shapes.items() if path.endswith(("attn.to_q", "attn.to_k", "attn.to_v"))
    }
    return f"another transformer, {widths.pop()} wide" if len(widths) == 1 else "another transformer"


def titled(model: str, layers: Shapes) -> str:
    """A model's name, with its base in brackets where the name does not say it."""
    base = describe(layers)
    return model if model in base else f"{model} ({base})"


def shapes_of_part(part: Part) -> dict[str, tuple[int, int]]:
    """Of all layers of a transformer on disk that an adapter may be for."""
    weights = {name.removesuffix(".weight"): info for name, info in part.tensors.items() if name.endswith(".weight")}
    return {
        path: (info.shape[0], info.count // info.shape[0])
        for path, info in weights.items()
        if len(info.shape) > 1 and path != _NOT_ADAPTED
    }


def fit(name: str, adapted: Shapes, model: str, layers: Shapes) -> list[str]:
    """The paths that an adapter and a model share. Raises UserError where there are none, or shapes differ."""
    shared = [path for path in adapted if path in layers]
    if not shared:
        raise UserError(
            f"{name} adapts no layer that {model} has: its first is {next(iter(adapted))}, expected one such as "
            f"{next(iter(layers))}; choose an adapter that was trained on ACE-Step 1.5"
        )
    wrong = next((path for path in shared if adapted[path] != layers[path]), None)
    if wrong is not None:
        raise UserError(
            f"{name} was trained on {describe(_known(adapted))}, not on {titled(model, layers)}: {wrong} is "
            f"{list(adapted[wrong])} in the adapter and {list(layers[wrong])} in the model; choose an adapter for this "
            "model, or the stage of its model"
        )
    return shared


def _known(shapes: Shapes) -> Shapes:
    """Those of a transformer's layers; a file may adapt a text encoder besides."""
    return {path: shape for path, shape in shapes.items() if is_known(path)}
