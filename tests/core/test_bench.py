import json
import time

import pytest
import torch
from acestep_pack.acestep_core import cli
from acestep_pack.acestep_core.bench import command, native, pairs, published, ratio
from diffusers import AutoencoderOobleck
from diffusers.pipelines.ace_step import AceStepConditionEncoder

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
CPU = torch.device("cpu")


@pytest.fixture
def small(monkeypatch):
    def small_vocoder(**geometry):
        sizes = {"decoder_channels": 4, "encoder_hidden_size": 128, "channel_multiples": [1, 1, 1, 1, 1]}
        return AutoencoderOobleck(**geometry, **sizes)

    def small_condition_encoder(device, dtype):
        torch.manual_seed(1)
        layers = {"num_lyric_encoder_hidden_layers": 1, "num_timbre_encoder_hidden_layers": 1}
        return AceStepConditionEncoder(**SMALL, **layers, text_hidden_dim=24).to(device, dtype).eval()

    text = {"hidden_size": 24, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    monkeypatch.setattr(published, "WIDTHS", {"2B": SMALL, "XL": {**SMALL, "encoder_hidden_size": 24}})
    monkeypatch.setattr(published, "TEXT_ENCODER", {**text, "head_dim": 12})
    monkeypatch.setattr(published, "condition_encoder", small_condition_encoder)
    monkeypatch.setattr("diffusers.AutoencoderOobleck", small_vocoder)
    monkeypatch.setattr(command, "STEP_SECONDS", {"2B": ((1.0, 30.0), (31.0,)), "XL": ((), (1.0,))})
    monkeypatch.setattr(command, "VOCODER_SECONDS", ((0.2,), (0.3,)))
    monkeypatch.setattr(command, "SONG_SECONDS", ((10.0,), ()))


def rows_of(capsys, *words):
    assert cli.main(["bench", "--device", "cpu", "--repeats", "1", "--json", "-q", *words]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_both_sides_give_the_same_and_ratios_are_told(small, capsys):
    rows = rows_of(capsys, "--dtype", "fp32")
    same = ["2B step, 1 s", "2B step, 30 s", "vocoder, 0.2 s"]
    assert [row["name"] for row in rows] == [*same, "song, 10 s", "its next seed, 10 s"]
    assert all(row["max_difference"] < 1e-4 for row in rows[:3]) and all(row["ratio"] > 0 for row in rows)
    assert [row["dtype"] for row in rows_of(capsys, "--dtype", "bf16", "--only", "vocoder")] == ["bf16", "bf16/fp32"]


def test_longer_rows_come_on_demand_and_lines_are_read_at_a_glance(small, capsys):
    words = ["--device", "cpu", "--repeats", "1", "--dtype", "bf16", "--full", "--only", "steps", "--no-grad"]
    assert cli.main(["bench", *words]) == 0
    said = capsys.readouterr()
    assert [line[:16].rstrip() for line in said.out.splitlines()] == [
        *("2B step, 1 s", "2B step, 30 s", "2B step, 31 s", "XL step, 1 s")
    ]
    assert all("x as fast" in line for line in said.out.splitlines()) and "torch.no_grad" in said.err


@pytest.mark.parametrize("seconds", [10.0, 12.0])
def test_songs_of_both_sides_are_as_long_and_differ_from_one_to_the_next(small, seconds):
    with torch.inference_mode():
        ours, theirs = pairs.songs(seconds, 1, CPU, torch.float32)
        first, second = ours(), ours()
        assert first.shape == second.shape == theirs().shape == (1, 2, seconds * 48_000)
        assert not torch.equal(first, second)


def test_turns_alternate_and_medians_count():
    calls = []

    def side(name, seconds):
        def call():
            calls.append(name)
            time.sleep(seconds)
            return torch.ones(1)

        return call

    row = ratio.compare("x", "fp32", side("ours", 0.01), side("theirs", 0.03), 3)
    assert calls == ["ours", "theirs"] * 4
    assert row.ratio == pytest.approx(3, rel=0.5) and row.max_difference == 0


def test_nonsense_is_told(capsys):
    assert cli.main(["bench", "--repeats", "0"]) == 2
    assert "--repeats, --layers: got 0, 2, expected at least 1" in capsys.readouterr().err
    assert cli.main(["bench", "--layers", "0"]) == 2
    assert "--repeats, --layers: got 5, 0" in capsys.readouterr().err


def test_a_folder_without_comfyui_is_refused(small, tmp_path, capsys):
    assert cli.main(["bench", "--device", "cpu", "--only", "steps", "--repeats", "1", "--comfyui", str(tmp_path)]) == 2
    assert f"{tmp_path}: is no ComfyUI that knows ACE-Step 1.5" in capsys.readouterr().err


def test_a_deeper_network_is_reckoned_from_what_a_layer_costs():
    decoder = ratio.Ratio("decoder", "bf16", 1.0, 2.0, 2.0, 0.0, 5, "ComfyUI")
    step = ratio.Ratio("step", "bf16", 1.0, 12.0, 12.0, None, 5, "ComfyUI")  # 10 s of it before the layers
    deep = native.extrapolated(step, decoder, layers=2)
    assert (deep.ours_seconds, deep.theirs_seconds, deep.ratio) == (12.0, 34.0, 2.833)
