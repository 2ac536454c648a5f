"""Weights in 8 bits: how far off one look of the embedded models is, and what is said where torchao is not."""

import sys
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.checkpoints.locate import TINY_FOLDER
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.generation.cascade import Cascade
from acestep_pack.acestep_core.lora.adapter import read_adapter
from acestep_pack.acestep_core.lora.apply import apply_adapter
from acestep_pack.acestep_core.models.condition import Condition
from acestep_pack.acestep_core.models.velocity import prepare
from acestep_pack.acestep_core.nn.module_tree import replace
from acestep_pack.acestep_core.nn.quantise import QUANTISED, quantise, stored

CPU = torch.device("cpu")


def test_without_torchao_it_is_told_before_anything_is_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(UserError, match=r"torchao is not installed.*python.* -m pip install -U torchao, or do"):
        Cascade.load("nowhere", quantise="int8")
    with pytest.raises(UserError, match="quantise: got 'int3', expected one of int8, fp8, fp8-matmul"):
        Cascade.load("tiny", quantise="int3")


def look_at(model):
    """A condition and latents that fit the model."""
    config, draw = model.transformer.config, torch.Generator().manual_seed(0)
    channels = config.in_channels // 3
    states = torch.randn(1, 40, config.encoder_hidden_size or config.hidden_size, generator=draw)
    condition = Condition(states, states[:, :1], torch.randn(1, 2 * channels, 200, generator=draw))
    return condition, torch.randn(1, channels, 200, generator=draw)


@pytest.mark.parametrize("kind, most", list(zip(QUANTISED, (0.01, 0.03))))
def test_how_far_off_a_look_is(kind, most):
    pytest.importorskip("torchao")
    model = load_stage_model(TINY_FOLDER / "m")
    condition, latents = look_at(model)
    with torch.no_grad():
        exact = prepare(model.transformer, condition)(latents, 0.7)
        rounded = prepare(quantise(model.transformer, kind, CPU), condition)(latents, 0.7)
    layers = model.transformer.layers
    held = sum(part.nbytes for weight in layers.parameters() for part in stored(weight))
    assert held < 0.3 * sum(weight.numel() * 4 for weight in layers.parameters())  # float32 before
    error = float((rounded - exact).norm() / exact.norm())
    assert 1e-4 < error < most


class RoundedProduct(torch.nn.Module):
    """A matrix product as fp8-matmul's: each row of both factors rounded to e4m3 with a scale of its own."""

    def __init__(self, layer):
        super().__init__()
        self.weight, self.bias = rounded_rows(layer.weight.detach()), layer.bias

    def forward(self, x):
        return torch.nn.functional.linear(rounded_rows(x), self.weight, self.bias)


def rounded_rows(x):
    scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-12) / torch.finfo(torch.float8_e4m3fn).max
    return (x / scale).to(torch.float8_e4m3fn).to(x.dtype) * scale


def test_how_far_off_products_in_8_bits_are():
    model = load_stage_model(TINY_FOLDER / "m")
    condition, latents = look_at(model)
    with torch.no_grad():
        exact = prepare(model.transformer, condition)(latents, 0.7)
        for path, layer in list(model.transformer.layers.named_modules()):
            if isinstance(layer, torch.nn.Linear):
                replace(model.transformer.layers, path, RoundedProduct(layer))
        rounded = prepare(model.transformer, condition)(latents, 0.7)
    assert 0.005 < (rounded - exact).norm() / exact.norm() < 0.05


@pytest.mark.parametrize(
    "given, message",
    [
        ({"device": "cpu"}, "fp8-matmul: got cpu, expected an NVIDIA GPU of compute capability 8.9"),
        ({"device": "cuda"}, "fp8-matmul: got cuda, expected an NVIDIA GPU"),
        (
            {"device": "cuda", "able": (9, 0), "dtype": "fp32"},
            "fp8-matmul: got float32 beside it, expected --dtype bf16",
        ),
    ],
)
def test_products_in_8_bits_are_refused_where_nothing_can_do_them(given, message, monkeypatch):
    able = given.pop("able", (8, 6))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: able)
    monkeypatch.setattr("acestep_pack.acestep_core.generation.cascade.pick_device", torch.device)
    with pytest.raises(UserError, match=message):
        Cascade.load("tiny", quantise="fp8-matmul", **given)


@pytest.mark.parametrize("base, adapter", [("m2b_a", "lora_r4_a8"), ("mxl_a", "dora_r4_a8")])
def test_adapters_are_worn_over_weights_in_8_bits(base, adapter):
    pytest.importorskip("torchao")
    golden = Path(__file__).resolve().parents[1] / "golden" / base
    layers = []
    for change in (lambda network: None, lambda network: quantise(network, "int8", CPU)):
        model = load_stage_model(golden)
        change(model.transformer)
        model, _ = apply_adapter(model, read_adapter(golden / adapter))
        layers.append(model.transformer.layers[0].self_attn.to_q)
    x = torch.randn(1, 3, layers[0].in_features, generator=torch.Generator().manual_seed(0))
    exact, rounded = (layer(x) for layer in layers)
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.02


def test_a_song_with_weights_in_8_bits_in_any_memory():
    pytest.importorskip("torchao")
    from acestep_pack.acestep_core.song import Song

    song = Song("calm lo-fi beat", seconds=10)
    wish = {"seed": 1, "steps": (1, 1, 1), "guidance": 1}
    plain = Cascade.load("tiny", device="cpu").generate(song, **wish).samples
    songs = [
        Cascade.load("tiny", device="cpu", quantise="int8", memory_gb=gigabytes).generate(song, **wish).samples
        for gigabytes in (8, 0.47)
    ]
    assert torch.allclose(*songs, atol=1e-4)
    assert not torch.equal(songs[0], plain)
    assert torch.nn.functional.cosine_similarity(songs[0].flatten(), plain.flatten(), dim=0) > 0.9
