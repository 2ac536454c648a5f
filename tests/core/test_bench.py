import json
import mmap
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.bench import contender, native, pairs, planners, published, ratio, resident, songs
from acestep_pack.acestep_core.checkpoints import geometry
from acestep_pack.acestep_core.checkpoints.geometry import Geometry
from acestep_pack.acestep_core.cli import bench as command
from acestep_pack.acestep_core.cli import parser as cli
from acestep_pack.acestep_core.models import cuda_graph as replay
from acestep_pack.acestep_core.models.vocoder import Vocoder
from acestep_pack.acestep_core.spec import PUBLISHED_LATENTS
from diffusers import AutoencoderOobleck
from diffusers.pipelines.ace_step import AceStepAudioTokenDetokenizer, AceStepAudioTokenizer, AceStepConditionEncoder
from torch.utils.flop_counter import FlopCounterMode

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
ROOT = Path(__file__).resolve().parents[2]
OTHER = {**SMALL, "hidden_size": 24, "encoder_hidden_size": 32}
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

    def small_audio_tokenizers(device, dtype):
        torch.manual_seed(2)
        makers = AceStepAudioTokenizer, AceStepAudioTokenDetokenizer
        return tuple(
            make(**SMALL, **more).to(device, dtype).eval() for make, more in zip(makers, ({"fsq_dim": 32}, {}))
        )

    text = {"hidden_size": 24, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    monkeypatch.setattr(contender, "MATRIX", 64)
    sizes = {"2b": SMALL, "xl": OTHER, "s": OTHER}
    published_sizes = {name: Geometry(0, {**size, "num_hidden_layers": 24}) for name, size in sizes.items()}
    monkeypatch.setattr(geometry, "TRANSFORMERS", published_sizes)
    monkeypatch.setattr(geometry, "TEXT_ENCODER", Geometry(0, {**text, "head_dim": 12, "num_hidden_layers": 28}))
    monkeypatch.setattr(published, "condition_encoder", small_condition_encoder)
    monkeypatch.setattr(published, "audio_tokenizers", small_audio_tokenizers)
    monkeypatch.setattr("diffusers.AutoencoderOobleck", small_vocoder)
    monkeypatch.setattr(command, "STEP_SECONDS", {"2B": ((1.0, 30.0), (31.0,)), "XL": ((), (1.0,)), "S": ((), ())})
    monkeypatch.setattr(command, "VOCODER_SECONDS", ((0.2,), (0.3,)))
    monkeypatch.setattr(command, "SONG_SECONDS", ((10.0,), ()))


def rows_of(capsys, *words):
    assert cli.main(["bench", "--device", "cpu", "--repeats", "1", "--one-process", "--json", "-q", *words]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.slow
def test_both_sides_give_the_same_and_ratios_are_told(small, capsys):
    rows = rows_of(capsys, "--dtype", "fp32")
    same = ["2B step, 1 s", "2B step, 30 s", "vocoder, 0.2 s"]
    assert [row["name"] for row in rows] == [*same, "M song, 10 s", "M next seed, 10 s"]
    assert all(row["max_difference"] < 1e-4 for row in rows[:3]) and all(row["ratio"] > 0 for row in rows)
    assert all(row["gflop"] > 0 and row["share"] > 0 and row["ours_gb"] > 0 for row in rows)
    assert [row["dtype"] for row in rows_of(capsys, "--dtype", "bf16", "--only", "vocoder")] == ["bf16", "bf16/fp32"]


def test_longer_rows_come_on_demand_and_lines_are_read_at_a_glance(small, capsys):
    words = ["--device", "cpu", "--repeats", "1", "--dtype", "bf16", "--full", "--only", "steps", "--no-grad"]
    assert cli.main(["bench", "--one-process", *words]) == 0
    said = capsys.readouterr()
    assert [line[:16].rstrip() for line in said.out.splitlines()] == [
        *("2B step, 1 s", "2B step, 30 s", "2B step, 31 s", "XL step, 1 s")
    ]
    assert all("x as fast" in line for line in said.out.splitlines()) and "torch.no_grad" in said.err


def test_a_step_of_training_is_timed_too(small, monkeypatch, capsys):
    monkeypatch.setattr(command, "LEARN_SECONDS", {"2B": (1.0,)})
    monkeypatch.setattr(command, "TOGETHER", ((3, 1.0),))
    row, many, low, high = rows_of(capsys, "--dtype", "fp32", "--only", "training")
    assert row["name"] == "2B LoRA, 1 s" and row["max_difference"] < 1e-4 and row["gflop"] > 0
    assert many["name"] == "2B LoRA, 3 x 1 s" and many["max_difference"] < 1e-6 and many["theirs"] == "one by one"
    assert [step["name"] for step in (low, high)] == [f"2B LoRA step, rank {rank}, 4 x 1 s" for rank in (16, 64)]
    assert all(step["max_difference"] < 1e-4 and step["theirs"] == "diffusers" for step in (low, high))
    assert high["gflop"] > low["gflop"] > 4 * row["gflop"] * 0.9


def test_codes_of_a_planner_are_timed_against_transformers(small, monkeypatch, capsys):
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1}
    sizes = {**sizes, "head_dim": 8, "num_hidden_layers": 28}
    monkeypatch.setattr(geometry, "PLANNERS", {planners.WIDTH: Geometry(0, sizes)})
    rows = rows_of(capsys, "--dtype", "fp32", "--only", "planner", "--seconds", "1", "--layers", "1")
    assert [row["name"] for row in rows] == ["1.7B codes, 1 s", "1.7B codes, 1 s, guided"]
    assert all(row["theirs"] == "transformers" and row["ratio"] > 0 for row in rows)
    for side in ("ours", "theirs"):
        drawn = planners.against_transformers(1, 1.0, True, CPU, torch.float32, side=side)()
        assert len(drawn) == 5 and all(int(token) in planners.CODE_ROWS for token in drawn)


@pytest.mark.slow
def test_cascades_are_timed_against_the_pipeline_and_lengths_are_the_users(small, capsys):
    rows = rows_of(capsys, "--dtype", "fp32", "--only", "cascades", "--seconds", "11", "--layers", "1")
    names = [f"{models} {what}, 11 s" for models in ("M → S", "L → M → S") for what in ("song", "next seed")]
    assert [row["name"] for row in rows] == names


@pytest.mark.slow
def test_edits_are_timed_against_the_pipeline_and_the_encoding_of_their_source_apart(small, monkeypatch, capsys):
    short = pairs.encode(0.08, CPU, torch.float32, side="ours"), pairs.encode(0.08, CPU, torch.float32, side="theirs")
    with torch.inference_mode():
        assert (short[0]() - short[1]()).abs().max() < 1e-5

    def frames(network, samples, *_, **__):  # the encoder has no small size
        return torch.ones(1, 128, samples.shape[-1] // PUBLISHED_LATENTS.samples_per_frame)

    monkeypatch.setattr(AutoencoderOobleck, "_encode", frames)
    monkeypatch.setattr(Vocoder, "encode", lambda vocoder, wave, *_, **__: frames(vocoder, wave.samples)[:, :64])
    rows = rows_of(capsys, "--dtype", "fp32", "--only", "edits", "--seconds", "1.5", "--layers", "1")
    assert [row["name"] for row in rows] == ["encoding, 1.5 s", "cover, 1.5 s", "repaint, 1.5 s"]
    assert all(row["ratio"] > 0 for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [10.0, 12.0])
def test_songs_of_both_sides_are_as_long_and_differ_from_one_to_the_next(small, monkeypatch, seconds):
    monkeypatch.setattr(songs, "WHOLE_SECONDS", 11.0)
    with torch.inference_mode():
        ours, theirs = (songs.song(("2B",), seconds, 1, CPU, torch.float32, side=side) for side in ("ours", "theirs"))
        first, second = ours(), ours()
        assert first.shape == second.shape == theirs().shape == (1, 2, seconds * 48_000)
        assert not torch.equal(first, second)


def test_turns_alternate_and_medians_count(monkeypatch):
    monkeypatch.setattr(contender, "MATRIX", 64)
    calls = []

    def make(side):
        def call():
            calls.append(side)
            time.sleep({"ours": 0.01, "theirs": 0.03}[side])
            return torch.ones(1) @ torch.ones(1, 1)

        return call

    where = (CPU, torch.float32, "no_grad")
    row = ratio.compare("x", "fp32", make, 3, where, place=contender.Here)
    assert calls == ["ours", "theirs"] * 4
    assert row.ratio == pytest.approx(3, rel=0.5) and row.max_difference == 0


def test_flops_of_grouped_attention_are_those_of_its_queries():
    q, k = torch.randn(1, 4, 10, 8), torch.randn(1, 2, 12, 8)
    attend = torch.nn.functional.scaled_dot_product_attention
    run = contender.Contender(
        lambda side: lambda: attend(q, k, k, enable_gqa=True), "ours", CPU, torch.float32, "inference_mode"
    )
    assert run.counted()[1] == 2 * 2 * 4 * 10 * 12 * 8


def test_flops_of_passes_that_a_gpu_replays_are_counted(monkeypatch):
    class Recorded:
        """Of which every pass is a replay: torch dispatches nothing."""

        def __init__(self, look, velocity):
            pass

        def run(self, latents, t, left):
            return latents

    class Linear:
        device, transformer, weight = CPU, None, torch.ones(8, 8)

        def __call__(self, latents, t):
            return latents @ self.weight

    monkeypatch.setattr(replay, "_Kind", Recorded)
    velocity, latents = replay.CudaGraphVelocity(Linear(), 9), torch.ones(4, 8)
    run = contender.Contender(lambda side: lambda: velocity(latents, 0.5), "ours", CPU, torch.float32, "inference_mode")
    made, flop = run.counted()
    assert flop == 2 * 4 * 8 * 8 and (made == 8).all()
    assert (run.first() == 1).all()  # which replays again


def test_memory_of_a_gpu_is_all_that_is_reserved(monkeypatch):
    """Weights and a recording's own pool, and the most that a run takes besides; what others hold is none of it."""
    reserved = iter([100, 130, 150])  # before it is made, when it is, and before its run
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: next(reserved))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 170)
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *device: None)
    run = contender.Contender(lambda side: lambda: None, "ours", torch.device("cuda"), torch.float32, "no_grad")
    assert run.memory_bytes() == 30 + 20


def test_a_product_counts_whether_it_is_added_in_place_or_not():
    left, right, sums = torch.randn(3, 4), torch.randn(4, 5), torch.randn(3, 5)
    with FlopCounterMode(display=False, custom_mapping=contender.flop_counts()) as counted:
        torch.addmm(sums, left, right)
        sums.addmm_(left, right)
    assert counted.get_total_flops() == 2 * (2 * 3 * 4 * 5)


def test_flops_of_windows_and_of_gradients_are_those_that_are_done():
    counts = {name.__name__: count for name, count in contender.flop_counts().items()}
    query, key = (2, 100, 4, 8), (2, 100, 2, 8)
    whole = counts["_flash_attention_forward"](query, key, key)
    assert whole == 4 * 2 * 4 * 100 * 100 * 8
    window = counts["_flash_attention_forward"](query, key, key, window_size_left=5, window_size_right=5)
    assert window == whole * 11 // 100
    back = counts["_flash_attention_backward"](query, query, key, key, window_size_left=5, window_size_right=5)
    assert back == window * 5 // 2
    assert counts["_scaled_dot_product_cudnn_attention"]((2, 4, 100, 8), (2, 2, 100, 8), None) == whole


@pytest.mark.skipif(resident.most_resident_bytes() is None, reason="this system does not tell")
def test_the_most_memory_is_that_since_the_mark():
    resident.forget_most_resident()
    before = resident.most_resident_bytes()
    with mmap.mmap(-1, 200_000_000) as block:
        block[:: mmap.PAGESIZE] = bytes(len(block[:: mmap.PAGESIZE]))
    assert resident.most_resident_bytes() - before > 150e6
    resident.forget_most_resident()
    assert resident.most_resident_bytes() - before < 50e6


@pytest.mark.slow
def test_each_side_runs_in_a_process_of_its_own_and_tells_what_fails():
    """By the package's own name, as a shell runs it: a new process knows no other."""
    code = """
import math, torch
from functools import partial
from acestep_core.bench.contender import Apart
from acestep_core.bench.pairs import step
if __name__ == "__main__":
    cpu = torch.device("cpu")
    made = partial(step, "S", 1, 0.5, cpu, torch.float32)
    with Apart(made, "ours", cpu, torch.float32, "no_grad", keeps_freed_memory=True) as apart:
        made, flop = apart.call("counted")
        print(made.shape, flop > 0, apart.call("seconds") > 0, flush=True)
        apart.call("minutes")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert run.stdout == "(1, 64, 13) True True\n" and "AttributeError" in run.stderr


def test_nonsense_is_told(capsys):
    assert cli.main(["bench", "--repeats", "0"]) == 2
    assert "--repeats: got 0, expected at least 1" in capsys.readouterr().err
    for layers in ("0", "few"):
        assert cli.main(["bench", "--layers", layers]) == 2
        assert f"--layers: got {layers}, expected all or a whole number" in capsys.readouterr().err
    assert cli.main(["bench", "--seconds", "-1"]) == 2
    assert "--seconds: got -1, expected a positive number" in capsys.readouterr().err


def test_a_folder_without_comfyui_is_refused(small, tmp_path, capsys):
    assert cli.main(["bench", "--device", "cpu", "--only", "steps", "--repeats", "1", "--comfyui", str(tmp_path)]) == 2
    assert f"{tmp_path}: is no ComfyUI that knows ACE-Step 1.5" in capsys.readouterr().err


def test_a_deeper_network_is_reckoned_from_what_a_layer_costs():
    decoder = ratio.Ratio("decoder", "bf16", 3.0, 6.0, 2.0, 0.0, 5, "ComfyUI")  # in a slower minute
    step = ratio.Ratio("step", "bf16", 1.0, 12.0, 12.0, None, 5, "ComfyUI")  # 10 s of it before the layers
    deep = native.extrapolated(step, decoder, layers=2)
    assert (deep.ours_seconds, deep.theirs_seconds, deep.ratio) == (12.0, 34.0, 2.833)
