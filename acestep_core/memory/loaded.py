"""Memory of networks and adapters that are read already, by the same formulas as before anything is loaded."""

from typing import TYPE_CHECKING

from ..checkpoints.geometry import Geometry
from ..lora.apply import DORA_COPIES, PLAIN_COPIES
from ..lora.deltas import tensors_of
from ..lora.stage_adapters import StageAdapters
from ..nn.tiling import decoder_context, pass_bytes
from ..spec import TEXT_TOKENS_MAX
from .geometry import Layers
from .needs import AdapterNeeds, StageNeeds

if TYPE_CHECKING:
    from torch import nn

    from ..models.stage_model import StageModel
    from ..models.text_encoder import TextEncoder
    from ..models.vocoder import Vocoder


def stage_needs_of(model: "StageModel", adapters: AdapterNeeds = AdapterNeeds()) -> StageNeeds:  # noqa: B008  frozen
    """Needs of a stage's model, at the dtype that it has."""
    networks = (_layers(model.transformer), _layers(model.condition_encoder))
    return StageNeeds(model.name, *networks, _each(model.transformer), adapters=adapters)


def adapter_needs(adapters: StageAdapters) -> AdapterNeeds:
    """Needs of the adapters of a stage, before they are applied."""
    deltas = [delta for adapter, _ in adapters for delta in adapter.modules.values()]
    copies = (PLAIN_COPIES if delta.magnitude is None else DORA_COPIES for delta in deltas)
    parameters = sum(tensor.numel() for delta in deltas for tensor in tensors_of(delta).values())
    return AdapterNeeds(parameters, max(copies, default=0))


def text_bytes(text: "TextEncoder") -> int:
    """Bytes of activations while a song's text is encoded."""
    return _layers(text.model).one_pass(TEXT_TOKENS_MAX, _each(text.model))


def tile_bytes(vocoder: "Vocoder") -> int:
    """Bytes of activations while one tile is decoded or encoded."""
    context = decoder_context(vocoder.ratios)
    frames = vocoder.tile_frames + context.before + context.after
    return pass_bytes(vocoder.frame_numbers * frames, vocoder.dtype.itemsize)


def _layers(network: "nn.Module") -> Layers:
    config = network.config if isinstance(network.config, dict) else network.config.to_dict()
    return Layers.of(Geometry(sum(weight.numel() for weight in network.parameters()), config))


def _each(network: "nn.Module") -> int:
    return next(network.parameters()).element_size()
