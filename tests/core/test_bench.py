import json
import time

import pytest
import torch
from acestep_pack.acestep_core import bench, cli
from diffusers import AutoencoderOobleck

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}


@pytest.fixture
def small(monkeypatch):
    def small_vocoder(**published):
        sizes = {"decoder_channels": 4, "encoder_hidden_size": 128, "channel_multiples": [1, 1, 1, 1, 1]}
        return AutoencoderOobleck(**published, **sizes)

    wide = {**SMALL, "encoder_hidden_size": 24}
    monkeypatch.setattr(bench, "TRANSFORMERS", {"2B": (SMALL, (1.0, 30.0), (31.0,)), "XL": (wide, (), (1.0,))})
    monkeypatch.setattr(bench, "VOCODER_SECONDS", (0.2,))
    monkeypatch.setattr(bench, "VOCODER_SECONDS_FULL", (0.3,))
    monkeypatch.setattr("diffusers.AutoencoderOobleck", small_vocoder)


def test_both_sides_give_the_same_and_ratios_are_told(small, capsys):
    assert cli.main(["bench", "--device", "cpu", "--repeats", "1", "--dtype", "fp32", "--json", "-q"]) == 0
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["name"] for row in rows] == ["2B step, 1 s", "2B step, 30 s", "vocoder, 0.2 s"]
    assert all(row["max_difference"] < 1e-4 and row["ratio"] > 0 for row in rows)
    assert cli.main(["bench", "--device", "cpu", "--repeats", "1", "--dtype", "bf16", "--full"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = ["2B step, 1 s", "2B step, 30 s", "2B step, 31 s", "XL step, 1 s", "vocoder, 0.2 s", "vocoder, 0.3 s"]
    assert [line[:16].rstrip() for line in lines] == names and all("x as fast" in line for line in lines)


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
