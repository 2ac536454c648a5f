"""Memory: told before anything is loaded, kept to while a song is made, and never the end of one."""

import dataclasses
import weakref

import pytest
import torch
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.checkpoints.cascade_models import find_cascade
from acestep_pack.acestep_core.checkpoints.checkpoint import read_checkpoint
from acestep_pack.acestep_core.checkpoints.load import load_stage_model, load_text_encoder, load_vocoder
from acestep_pack.acestep_core.checkpoints.save import save_stage_model
from acestep_pack.acestep_core.errors import AceStepError, UserError, is_out_of_memory
from acestep_pack.acestep_core.generation.cascade import Cascade
from acestep_pack.acestep_core.lora.adapter import Adapter
from acestep_pack.acestep_core.lora.apply import adaptable, apply_adapter, branch_copies
from acestep_pack.acestep_core.lora.deltas import LowRank
from acestep_pack.acestep_core.memory import free, loaded
from acestep_pack.acestep_core.memory import model_pool as parts
from acestep_pack.acestep_core.memory import needs as memory
from acestep_pack.acestep_core.memory.needs import AdapterNeeds, cascade_needs, published_needs
from acestep_pack.acestep_core.memory.plan import ALL, LAYERS, NETWORKS, PARTS, PLANS, Plan
from acestep_pack.acestep_core.models.velocity import Velocity
from acestep_pack.acestep_core.models.vocoder import Vocoder
from acestep_pack.acestep_core.nn import triton_ops as fused
from acestep_pack.acestep_core.nn.streamed_linear import StreamedLinear, stream_layers
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.spec import TEXT_TOKENS_MAX
from core_tests.out_of_memory import runs_out

SONG = Song("lo-fi beat", seconds=10.01)


@pytest.fixture(scope="module")
def made(tiny_family):
    return Cascade.load(tiny_family, device="cpu").generate(SONG, seed=5)


# ---- what is told ----------------------------------------------------------------------------------------------------


def test_each_plan_holds_no_more_than_the_one_before():
    needs = published_needs(("xl", "2b", "2b"))
    for splits, small in ((False, False), (True, True)):
        peaks = [needs.peak(Plan(holds, splits, small), 240, 4) for holds in (ALL, PARTS, NETWORKS, LAYERS)]
        assert peaks == sorted(peaks, reverse=True) and len(set(peaks)) == 4
    assert needs.peak(PLANS[0], 600, 4) > needs.peak(PLANS[0], 240, 4) > needs.peak(PLANS[0], 240)


def test_what_fits_on_which_card():
    assert published_needs(("xl", "2b", "2b")).on_cards() == {6: LAYERS, 8: LAYERS, 12: PARTS, 16: PARTS, 24: ALL}
    assert published_needs(("2b",)).on_cards() == {6: PARTS, 8: ALL, 12: ALL, 16: ALL, 24: ALL}
    assert published_needs(("xl",), memory.FULL).on_cards() == {6: LAYERS, 8: LAYERS, 12: LAYERS, 16: LAYERS, 24: ALL}


def test_two_stages_of_one_model_take_its_weights_once():
    one, three = (published_needs(families).peak(PLANS[0], 240) for families in (("2b",), ("2b",) * 3))
    assert one == three


def test_weights_are_counted_as_they_will_lie(tiny_family):
    found = find_cascade(tiny_family)
    needs = cascade_needs(found)
    stage = read_checkpoint(found.stages[0].path)
    assert needs.stages[0].weights == 4 * (
        stage.part("transformer").parameters + stage.part("condition_encoder").parameters
    )
    assert cascade_needs(found, memory.HALF).stages[0].weights == needs.stages[0].weights / 2
    vocoder, halved = needs.vocoder, cascade_needs(found, vocoder_each=memory.HALF).vocoder
    short = 100  # frames, less than a tile: half the numbers, but a snake stays in float32
    assert halved.one_tile(short, False) == vocoder.one_tile(short, False) * 2 / 3
    assert needs.peak(PLANS[0], 10) - cascade_needs(found, vocoder_each=2).peak(PLANS[0], 10) >= 2 * vocoder.parameters
    assert needs.latents == Cascade.load(tiny_family, device="cpu").pool[parts.VOCODER].latents


def test_what_a_container_leaves(tmp_path):
    assert free._left_in_container(tmp_path) == []
    for name, text in (("memory.max", "1000"), ("memory.current", "700"), ("memory.stat", "anon 5\ninactive_file 200")):
        (tmp_path / name).write_text(text)
    assert free._left_in_container(tmp_path) == [500]
    (tmp_path / "memory.max").write_text("max\n")
    assert free._left_in_container(tmp_path) == []


# ---- what is held ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gigabytes, holds", [(1, ALL), (0.465, LAYERS)])
def test_a_song_is_the_same_in_any_memory(gigabytes, holds, tiny_family, made, caplog):
    cascade = Cascade.load(tiny_family, device="cpu", memory_gb=gigabytes)
    assert torch.allclose(cascade.generate(SONG, seed=5).samples, made.samples, atol=1e-5)  # tiles differ by noise
    assert cascade.pool.plan.holds == holds
    assert ("this song takes about" in caplog.text) == (holds != ALL)


def test_networks_apart_are_never_together(tiny_family, made, monkeypatch):
    alive, seen = weakref.WeakSet(), []

    def load(*given, **named):
        model = load_stage_model(*given, **named)
        alive.update(network for network in (model.transformer, model.condition_encoder) if network is not None)
        seen.append(sorted(type(network).__name__ for network in alive))
        return model

    monkeypatch.setattr(parts, "load_stage_model", load)
    cascade = Cascade.load(tiny_family, device="cpu")
    cascade.pool._first = cascade.pool.plan = Plan(NETWORKS)
    assert torch.equal(cascade.generate(SONG, seed=5).samples, made.samples)
    assert seen == [["ConditionEncoder"], ["Transformer"]] * 3
    again = cascade.generate(SONG, seed=5)  # its conditions are remembered
    assert torch.equal(again.samples, made.samples) and seen[6:] == [["Transformer"]] * 3


def test_fetched_layers_stay_where_they_are_and_compute_the_same(tiny_family):
    model = load_stage_model(tiny_family / "l")
    layer = model.transformer.layers[0].self_attn.to_q
    x = torch.randn(3, layer.in_features)
    fetched = stream_layers(model.transformer, torch.device("meta"))
    kept = fetched.layers[0].self_attn.to_q
    assert isinstance(kept, StreamedLinear) and kept.weight is layer.weight and kept.weight.device.type == "cpu"
    assert torch.equal(kept(x), layer(x))
    assert {parameter.device.type for parameter in fetched.parameters()} == {"meta"}


# ---- memory that runs out --------------------------------------------------------------------------------------------


def test_a_stage_goes_on_by_a_smaller_plan_and_no_step_comes_twice(tiny_family, made, monkeypatch, caplog):
    calls = []
    runs_out(monkeypatch, Velocity, "_forward", lambda *_: len(calls.append(0) or calls) in (2, 4))
    cascade = Cascade.load(tiny_family, device="cpu")
    steps = list(cascade.iterate(SONG, seed=5))
    assert [(step.stage, step.step) for step in steps] == [(0, 1), (0, 2), (1, 1), (2, 1)]
    assert torch.equal(cascade.decode(steps[-1].latents, SONG).samples, made.samples)
    assert [str(line.message) for line in caplog.records] == [
        f"out of memory; retrying with {plan}" for plan in (Plan(PARTS), Plan(NETWORKS))
    ]
    assert cascade.pool.plan.holds == NETWORKS
    cascade.generate(SONG, seed=6)
    assert cascade.pool.plan.holds == NETWORKS and len(caplog.records) == 2  # what was learnt is kept


def test_a_batch_too_large_goes_through_one_by_one(tiny_family, monkeypatch, caplog):
    whole = Cascade.load(tiny_family, device="cpu").generate(SONG, seed=5, count=3)
    runs_out(monkeypatch, Velocity, "_forward", lambda _, latents, *__: len(latents) > 1)
    cascade = Cascade.load(tiny_family, device="cpu")
    split = cascade.generate(SONG, seed=5, count=3)
    assert torch.allclose(split.samples, whole.samples, atol=1e-4)
    assert cascade.pool.plan == Plan(ALL, splits=True) and "one forward pass of one song at a time" in caplog.text
    own = Cascade([cascade.pool[w] for w in cascade.stages], cascade.pool["text"], cascade.pool["vocoder"])
    assert torch.equal(own.generate(SONG, seed=5, count=3).samples, split.samples)


def test_a_vocoder_gets_the_memory_that_models_held(tiny_family, made, monkeypatch):
    cascade = Cascade.load(tiny_family, device="cpu")
    runs_out(monkeypatch, Vocoder, "decode", lambda *_: cascade.pool.plan.holds == ALL)
    assert torch.allclose(cascade.generate(SONG, seed=5).samples, made.samples, atol=1e-5)
    assert cascade.pool.plan == Plan(PARTS) and list(cascade.pool._held) == [parts.VOCODER]


def test_want_of_memory_is_never_taken_for_want_of_kernels(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (fused.FIRST_CAPABILITY, 0))
    monkeypatch.setattr(fused, "_is_right", lambda device: True)
    short = [True]
    runs_out(monkeypatch, fused, "_is_right", lambda device: short.pop() if short else False)
    some_gpu = torch.device("cuda", 77)
    with pytest.raises(torch.OutOfMemoryError):
        fused._works(some_gpu)
    assert fused._works(some_gpu)


def test_what_fits_in_no_way_is_told(tiny_family, monkeypatch):
    runs_out(monkeypatch, Velocity, "_forward", lambda *_: True)
    with pytest.raises(AceStepError, match="out of memory even with one network at a time, its layers"):
        Cascade.load(tiny_family, device="cpu").generate(SONG, seed=5)
    with pytest.raises(UserError, match="memory: got -1 GB, expected a positive number such as 8"):
        Cascade.load(tiny_family, memory_gb=-1)


def test_a_limit_below_what_any_plan_takes_is_refused_at_once(tiny_family):
    least = r"memory: got 0.0001 GB, expected more than 0.46 GB for these models, Python and its libraries; give more"
    with pytest.raises(UserError, match=least):
        Cascade.load(tiny_family, device="cpu", memory_gb=0.0001)


def test_memory_runs_out_on_any_device(tiny_family, made, monkeypatch, caplog):
    def too_much(*_):
        if cascade.pool.plan.holds == ALL:
            torch.empty(1 << 60, dtype=torch.uint8)  # a CPU says so in an error of no class of its own
        return forward(*_)

    forward = Velocity._forward
    monkeypatch.setattr(Velocity, "_forward", too_much)
    cascade = Cascade.load(tiny_family, device="cpu")
    assert torch.equal(cascade.generate(SONG, seed=5).samples, made.samples)
    assert [str(line.message) for line in caplog.records] == [f"out of memory; retrying with {Plan(PARTS)}"]
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))


def test_clips_get_the_memory_that_models_held(tiny_family, monkeypatch):
    runs_out(monkeypatch, Vocoder, "encode", lambda *_: cascade.pool.plan.holds == ALL)
    cascade = Cascade.load(tiny_family, device="cpu")
    tone = Waveform(0.4 * torch.sin(torch.arange(32000) * 0.1).expand(1, 2, -1).clone(), 16000)
    assert cascade.encode_reference([tone]).timbre and cascade.pool.plan == Plan(PARTS)


def test_what_comes_by_way_of_the_cpu_keeps_the_dtype_of_its_file(tiny_family, tmp_path):
    model = load_stage_model(tiny_family / "m")
    save_stage_model(tmp_path / "half", model.transformer, model.condition_encoder, model.silence, dtype=torch.float16)
    for computed_on, dtype in (("cpu", torch.float32), ("meta", torch.float16)):
        assert load_stage_model(tmp_path / "half", computed_on=computed_on).transformer.dtype == dtype


def test_a_limit_counts_the_program_and_the_finished_song_in_main_memory(tiny_family, caplog):
    needs = cascade_needs(find_cascade(tiny_family), on_cpu=True)
    assert needs.peak(Plan(PARTS, small_tiles=True), 600) >= 4 * 600 * 16_000 * 2 * 4  # four float32 copies in stereo
    cascade = Cascade.load(tiny_family, device="cpu", memory_gb=0.5)
    assert cascade.pool._limit_bytes <= 0.5e9 - free.PROGRAM_BYTES
    cascade.pool.settle(600, 1)
    assert "this song takes about" in caplog.text


# ---- one formula, before and after loading ---------------------------------------------------------------------------


def test_networks_in_memory_need_what_their_files_say_beforehand(tiny_family):
    found = find_cascade(tiny_family)
    needs, model = cascade_needs(found), load_stage_model(tiny_family / "l")
    stage, now = needs.stages[0], loaded.stage_needs_of(model)
    assert dataclasses.replace(now, key=stage.key) == stage
    assert now.step_bytes(300, 2) == stage.step_bytes(300, 2) and now.encoding_bytes == stage.encoding_bytes
    assert loaded.text_bytes(load_text_encoder(tiny_family / "text_encoder")) == needs.text.one_pass(
        TEXT_TOKENS_MAX, needs.text_each
    )
    vocoder = load_vocoder(tiny_family / "vae")
    assert loaded.tile_bytes(vocoder.small_tiled()) == needs.vocoder.one_tile(10**6, small=True)


def test_adapters_count_with_their_weights_and_with_their_branches(tiny_family):
    needs = cascade_needs(find_cascade(tiny_family))
    counted = needs.with_adapters([AdapterNeeds(), AdapterNeeds(10**9, 2), AdapterNeeds()])
    bare, adapted = (one.peak(Plan(PARTS), 240) for one in (needs, counted))
    assert bare < 10**9 and adapted >= 4 * 10**9
    plain, dora = (dataclasses.replace(needs.stages[0], adapters=AdapterNeeds(0, copies)) for copies in (2, 4))
    each, tokens = 4, 300 // needs.stages[0].transformer.patch
    width = max(needs.stages[0].transformer.inner, needs.stages[0].transformer.queries)
    assert plain.step_bytes(300, 1) - needs.stages[0].step_bytes(300, 1) == 2 * each * tokens * width
    assert dora.step_bytes(300, 1) - plain.step_bytes(300, 1) == 2 * each * tokens * width


def test_adapters_of_a_file_and_those_on_a_model_are_counted_alike(tiny_family):
    model = load_stage_model(tiny_family / "s")
    path, layer = next(iter(adaptable(model.transformer).items()))
    a, b = torch.zeros(2, layer.in_features), torch.zeros(layer.out_features, 2)
    plain = Adapter("plain", {path: LowRank(a, b)})
    dora = Adapter("dora", {path: LowRank(a, b, magnitude=torch.ones(layer.out_features, 1))})
    assert branch_copies(model.transformer) == 0 and loaded.adapter_needs(()) == AdapterNeeds()
    for adapters in ([plain], [dora], [plain, dora]):
        adapted = model
        for adapter in adapters:
            adapted, _ = apply_adapter(adapted, adapter)
        needs = loaded.adapter_needs(tuple((adapter, 1.0) for adapter in adapters))
        assert needs.copies == branch_copies(adapted.transformer)
    assert loaded.adapter_needs(((plain, 1.0),)).parameters == a.numel() + b.numel()
