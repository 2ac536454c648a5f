"""The memory that is told beforehand: held against what is kept for the gradients, and against the presets."""

import itertools

import pytest
import torch
from acestep_pack.acestep_core.models.condition import Condition
from acestep_pack.acestep_core.training.lora import adapted
from acestep_pack.acestep_core.training.memory_needs import (
    adapter_parameters,
    crop_bytes,
    state_bytes,
    training_bytes,
    weights_bytes,
)
from acestep_pack.acestep_core.training.objective import TrainableVelocity, flow_loss
from acestep_pack.acestep_core.training.settings import PRESETS, LoraSettings, preset

CONTEXT_BYTES = 900 << 20  # of a graphics card, for its driver and between an allocator's blocks
TWO_B = {"hidden_size": 2048, "intermediate_size": 6144, "num_attention_heads": 16, "num_key_value_heads": 8}
XL = {"hidden_size": 2560, "intermediate_size": 9728, "num_attention_heads": 32, "num_key_value_heads": 8}


def network(layers, dtype=torch.float32, device="cpu", channels=8, **sizes):
    from diffusers import AceStepTransformer1DModel

    with torch.device(device):
        made = AceStepTransformer1DModel(
            **sizes, num_hidden_layers=layers, in_channels=3 * channels, audio_acoustic_hidden_dim=channels
        )
    return made.to(dtype)


def kept_bytes(transformer, settings, frames):
    """All that lies in memory for the gradients of one crop, but for weights."""
    taught, width = adapted(transformer, settings), transformer.config.hidden_size
    own = {part.untyped_storage().data_ptr() for part in itertools.chain(taught.parameters(), taught.buffers())}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage  # held, so that no other takes its place
        return tensor

    music = torch.randn(1, 8, frames)
    condition = Condition(torch.randn(1, 20, width), torch.randn(1, 1, width), torch.randn(1, 16, frames))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        velocity = TrainableVelocity(taught, condition, transformer.dtype, settings.gradient_checkpointing)
        flow_loss(velocity, music, torch.randn_like(music), torch.tensor([0.5]))
    return sum(storage.nbytes() for storage in kept.values())


WISHES = [
    {},
    {"kind": "dora"},
    {"kind": "lokr"},
    {"targets": ("self", "cross", "mlp")},
    {"gradient_checkpointing": True},
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("changed", WISHES, ids=str)
def test_what_layers_keep_of_a_token_is_what_was_told(changed, dtype):
    settings = LoraSettings(**{"rank": 4, **changed})
    sizes = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 2}
    few, many = (network(layers, dtype, head_dim=16, sliding_window=32, **sizes) for layers in (2, 4))

    def of_layers_and_tokens(count):
        (one, two), (three, four) = ((count(net, settings, frames) for frames in (200, 600)) for net in (few, many))
        return four - three - two + one

    assert of_layers_and_tokens(crop_bytes) == pytest.approx(of_layers_and_tokens(kept_bytes), rel=0.1)


@pytest.mark.parametrize("changed", [{}, {"kind": "dora"}, {"kind": "lokr"}, {"kind": "lokr", "rank": 64}], ids=str)
def test_an_adapters_size_is_pefts(changed):
    settings = LoraSettings(**{"rank": 4, **changed})
    bare = network(2, head_dim=16, hidden_size=64, intermediate_size=160, num_attention_heads=4, num_key_value_heads=2)
    made = sum(part.numel() for part in adapted(bare, settings).parameters() if part.requires_grad)
    assert adapter_parameters(bare, settings) == made and state_bytes(bare, settings) == 16 * made
    assert state_bytes(bare, LoraSettings(**{"rank": 4, **changed, "optimiser": "adamw8bit"})) == 10 * made


@pytest.mark.parametrize("size", PRESETS)
@pytest.mark.parametrize("sizes, layers, smallest", [(TWO_B, 24, 8), (XL, 32, 12)], ids=["2B", "XL"])
def test_presets_fit_their_cards(size, sizes, layers, smallest):
    base = network(layers, torch.bfloat16, "meta", channels=64, head_dim=128, **sizes)
    settings = preset(size)
    frames = round(25 * settings.crop_seconds)
    needed = weights_bytes(base) + training_bytes(base, settings, frames) + CONTEXT_BYTES
    assert (needed < size * 1e9) == (size >= smallest)
