import json
import time

import pytest
import torch
from acestep_pack.acestep_core import bench, cli
from diffusers import AceStepTransformer1DModel, AutoencoderOobleck


def small_transformer(layers, device, dtype):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 1}
    return AceStepTransformer1DModel(num_hidden_layers=layers, head_dim=16, **sizes).to(dtype).eval()


@pytest.fixture
def small(monkeypatch):
    def small_vocoder(**published):
        sizes = {"decoder_channels": 4, "encoder_hidden_size": 128, "channel_multiples": [1, 1, 1, 1, 1]}
        return AutoencoderOobleck(**published, **sizes)

    monkeypatch.setattr(bench, "_transformer", small_transformer)
    monkeypatch.setattr(bench, "TRANSFORMER_SECONDS", (1.0, 30.0))
    monkeypatch.setattr(bench, "VOCODER_SECONDS", 0.2)
    monkeypatch.setattr("diffusers.AutoencoderOobleck", small_vocoder)


def test_both_sides_give_the_same_and_ratios_are_told(small, capsys):
    assert cli.main(["bench", "--device", "cpu", "--repeats", "1", "--dtype", "fp32", "--json", "-q"]) == 0
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["name"] for row in rows] == ["DiT step, 1 s", "DiT step, 30 s", "vocoder, 0.2 s"]
    assert all(row["max_difference"] < 1e-4 and row["ratio"] > 0 for row in rows)
    assert cli.main(["bench", "--device", "cpu", "--repeats", "1", "--dtype", "bf16"]) == 0
    assert "x as fast" in capsys.readouterr().out.splitlines()[0]


def test_turns_alternate_and_medians_count():
    calls = []

    def side(name, seconds):
        def call():
            calls.append(name)
            time.sleep(seconds)
            return torch.ones(1)

        return call

    row = bench._compare("x", "fp32", side("ours", 0.01), side("theirs", 0.03), 3)
    assert calls == ["ours", "theirs"] * 4
    assert row.ratio == pytest.approx(3, rel=0.5) and row.max_difference == 0


def test_nonsense_is_told(capsys):
    assert cli.main(["bench", "--repeats", "0"]) == 2
    assert "--repeats, --layers: got 0, 2, expected at least 1" in capsys.readouterr().err
