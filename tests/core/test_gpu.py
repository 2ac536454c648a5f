"""What only a GPU does: its own kernels and recordings give what plain torch gives, and songs are those of a CPU."""

import dataclasses
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.bench.contender import Contender
from acestep_pack.acestep_core.checkpoints.load import load_stage_model, load_vocoder
from acestep_pack.acestep_core.checkpoints.locate import TINY_FOLDER
from acestep_pack.acestep_core.generation.cascade import Cascade
from acestep_pack.acestep_core.memory.plan import LAYERS
from acestep_pack.acestep_core.models.condition import Condition
from acestep_pack.acestep_core.models.cuda_graph import CudaGraphVelocity, with_cuda_graph
from acestep_pack.acestep_core.models.velocity import prepare
from acestep_pack.acestep_core.nn import attention
from acestep_pack.acestep_core.nn import rms_norm as norms
from acestep_pack.acestep_core.nn import triton_ops as fused
from acestep_pack.acestep_core.planner.planner import Planner
from acestep_pack.acestep_core.planner.recorded_step import Recorder
from acestep_pack.acestep_core.planner.sampling import Sampling
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.training import lora as training
from acestep_pack.acestep_core.training.lora import Trainer
from acestep_pack.acestep_core.training.prepare import Example
from acestep_pack.acestep_core.training.settings import Intervals, LoraSettings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
GPU = torch.device("cuda", 0)
GOLDEN_PLANNER = Path(__file__).resolve().parents[1] / "golden_tasks" / "lm_a"
SONG = Song("lo-fi beat with warm pad", bpm=84, key="A minor", seconds=10)
# Convolutions of a GPU in float32 are in TF32 unless torch is told otherwise.
NEAR_SONG = {"atol": 5e-3}


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def drawn(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(GPU, dtype)


# ---- kernels ---------------------------------------------------------------------------------------------------------


def test_fused_passes_work_here_and_are_left_for_gradients():
    x = drawn(1, 2, 64)
    assert fused.usable(x)
    with torch.enable_grad():
        assert not fused.usable(x)
    assert not fused.usable(x.cpu())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_norms_are_those_without_fused_passes(dtype, monkeypatch):
    from diffusers.models.normalization import RMSNorm

    norm = RMSNorm(192, eps=1e-6).to(GPU, dtype)
    x, heads = drawn(2, 9, 192, dtype=dtype), drawn(2, 9, 3, 192, dtype=dtype)
    shift, scale = drawn(2, 1, 192, dtype=dtype, seed=1), drawn(2, 1, 192, dtype=dtype, seed=2)
    table = attention.rotary_table(9, 192, 1e4, x)
    made = norms.modulated(norm, x, shift, scale), attention._normed_and_turned(norm, heads, table)
    monkeypatch.setattr(fused, "usable", lambda x: False)
    plain = norms.modulated(norm, x, shift, scale), attention._normed_and_turned(norm, heads, table)
    near = {"atol": 1e-5} if dtype == torch.float32 else {"atol": 0.05, "rtol": 0.02}
    assert all(torch.allclose(one.float(), other.float(), **near) for one, other in zip(made, plain))
    assert torch.allclose(norms.normed(norm, x).float(), norm(x).float(), **near)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("tokens", [130, 513])
@pytest.mark.parametrize("reach", [1, 20, 128])
@pytest.mark.parametrize("groups", [1, 4])
def test_windows_equal_a_dense_mask_and_so_do_their_gradients(dtype, tokens, reach, groups):
    q = drawn(2, 2 * groups, tokens, 64, dtype=dtype)
    k, v = drawn(2, 2, 2, tokens, 64, dtype=dtype, seed=1).unbind()
    window = attention.window_of(tokens, reach, q, 64)
    assert (window.band is None) == (dtype == torch.bfloat16)
    place = torch.arange(tokens, device=GPU)
    dense = (place[:, None] - place).abs() <= reach

    def gradients(attend):
        with torch.enable_grad():
            parts = [part.detach().requires_grad_() for part in (q, k, v)]
            made = attend(*parts)
            (made.float() * drawn(*made.shape, seed=2)).sum().backward()
            return made.detach().float(), *(part.grad.float() for part in parts)

    def plainly(q, k, v):
        k, v = (part.float().repeat_interleave(groups, dim=1) for part in (k, v))
        return torch.nn.functional.scaled_dot_product_attention(q.float(), k, v, attn_mask=dense)

    made, expected = gradients(lambda *parts: attention.attend_window(*parts, window)), gradients(plainly)
    near = {"atol": 1e-4} if dtype == torch.float32 else {"atol": 0.06, "rtol": 0.03}
    assert all(torch.allclose(one, other, **near) for one, other in zip(made, expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_grouped_heads_are_those_of_plain_attention(dtype):
    q, (k, v) = drawn(2, 8, 70, 64, dtype=dtype), drawn(2, 2, 2, 33, 64, dtype=dtype, seed=1)
    wide = (part.float().repeat_interleave(4, dim=1) for part in (k, v))
    expected = torch.nn.functional.scaled_dot_product_attention(q.float(), *wide)
    assert torch.allclose(attention.attend(q, k, v).float(), expected, atol=1e-5 if dtype == torch.float32 else 0.02)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 2e-3), (torch.bfloat16, 0.1)], ids=str)
@pytest.mark.parametrize("plainly", [True, False])
def test_a_vocoder_is_that_of_a_cpu_both_ways(dtype, near, plainly, monkeypatch):
    if plainly:
        monkeypatch.setattr(fused, "usable", lambda x: False)
    here, there = load_vocoder(TINY_FOLDER / "vae"), load_vocoder(TINY_FOLDER / "vae", device=GPU, dtype=dtype)
    latents = torch.randn(2, here.latents.channels, 300, generator=torch.Generator().manual_seed(0))
    sound = here.decode(latents)
    told = []
    assert torch.allclose(there.decode(latents, told.append).samples, sound.samples, atol=near)
    assert told[-1] == pytest.approx(sound.seconds)
    assert torch.allclose(there.tiled(40).decode(latents).samples, sound.samples, atol=near)
    again = torch.cat([chunk.samples for chunk in there.tiled(40).decode_chunks(latents)], dim=-1)
    assert again.device.type == "cpu" and torch.allclose(again, sound.samples, atol=near)
    assert torch.allclose(there.encode(sound), here.encode(sound), atol=10 * near)


# ---- recordings ------------------------------------------------------------------------------------------------------


def velocity_of(frames=120):
    model = load_stage_model(TINY_FOLDER / "s", device=GPU)
    width = model.condition_encoder.text_projector.weight.shape[0]
    channels = model.latents_channels
    condition = Condition(drawn(1, 20, width), drawn(1, 1, width, seed=1), drawn(1, 2 * channels, frames, seed=2))
    return prepare(model.transformer, condition), drawn(1, channels, frames, seed=3)


def recorded(velocity, passes=99):
    """With what a machine decides that launches slower than it computes."""
    made = CudaGraphVelocity(velocity, passes)
    made._kinds = _Waiting(made._kinds)
    return made


class _Waiting(dict):
    def __setitem__(self, key, kind):
        kind._waits = True
        super().__setitem__(key, kind)


@pytest.mark.parametrize("kind", ["__call__", "null", "with_null"])
def test_recorded_passes_are_the_launched_ones_to_the_bit(kind):
    velocity, latents = velocity_of()
    records, seen = recorded(velocity), []
    for t in (0.9, 0.7, 0.4, 0.1):
        latents = latents * 0.9 + t
        made, expected = getattr(records, kind)(latents, t), getattr(velocity, kind)(latents, t)
        assert all(torch.equal(one, other) for one, other in zip(made, expected))
        seen.append(made)
    assert next(iter(records._kinds.values()))._graph is not None
    assert not torch.equal(torch.cat([*seen[0]]), torch.cat([*seen[1]]))  # an earlier one is not overwritten


def test_operations_of_what_is_recorded_are_counted():
    velocity, latents = velocity_of()
    records = recorded(velocity)
    records(latents, 0.5)
    assert next(iter(records._kinds.values()))._graph is not None

    def flop(look):
        run = Contender(lambda side: lambda: look(latents, 0.5), "ours", GPU, torch.float32, "no_grad")
        return run.counted()[1]

    assert flop(records) == flop(velocity) > 0


def test_the_machine_decides_and_few_passes_are_never_recorded():
    velocity, latents = velocity_of(frames=16)
    records = CudaGraphVelocity(velocity, 9)
    for _ in range(4):
        records(latents, 0.5)
    assert next(iter(records._kinds.values()))._graph is not None  # a network so small launches slower than it computes
    few = recorded(velocity, passes=1)
    few(latents, 0.5)
    assert next(iter(few._kinds.values()))._graph is None


def test_weights_that_were_moved_are_found_again():
    velocity, latents = velocity_of()
    records = recorded(velocity)
    records(latents, 0.5)
    weight = velocity.transformer.layers[0].mlp.down_proj.weight
    old = weight.data
    weight.data = 2 * old
    old.zero_()
    assert torch.equal(records(latents, 0.5), velocity(latents, 0.5))


def test_what_cannot_be_recorded_is_launched():
    velocity, latents = velocity_of()
    hook = velocity.transformer.layers[0].mlp.register_forward_hook(lambda _, given, out: out + float(out.sum()) * 0)
    records = recorded(velocity)
    assert torch.equal(records(latents, 0.5), velocity(latents, 0.5))
    assert next(iter(records._kinds.values()))._graph is None
    assert torch.randn(3, device=GPU).isfinite().all()  # which a broken recording would forbid
    hook.remove()
    assert torch.equal(with_cuda_graph(velocity, 8)(latents, 0.5), velocity(latents, 0.5))


# ---- trainings -------------------------------------------------------------------------------------------------------


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    """Trainers of an adapter of tiny's S, on clips of two lengths and five lengths of text."""
    vocoder = load_vocoder(TINY_FOLDER / "vae")

    def make(folder, dtype=torch.float32, is_recorded=True, **changed):
        model = load_stage_model(TINY_FOLDER / "s", device=GPU, dtype=dtype)
        draw, width = torch.Generator().manual_seed(1), model.condition_encoder.text_projector.weight.shape[0]
        frames, channels = (60, 70), model.latents_channels
        latents = [torch.randn(1, channels, frames[i % 2], generator=draw) for i in range(5)]
        texts = [torch.randn(1, 20 + 9 * i, width, generator=draw).to(dtype) for i in range(5)]
        clips = enumerate(zip(latents, texts))
        examples = [Example(Path(f"{i}.wav"), Song("x"), music, text, str(i)) for i, (music, text) in clips]
        usual = {"rank": 4, "steps": 8, "accumulate": 5, "warm_up": 1, "learning_rate": 1e-3, "hold_out": 0.0}
        settings = LoraSettings(**{**usual, "crop_seconds": 6.0, **changed})
        if not is_recorded:
            monkeypatch.setattr(training, "graphs_for", lambda *given: None)
        made = Trainer(model, examples, vocoder, tmp_path / folder, settings, Intervals(save=4, measure=0))
        monkeypatch.undo()
        return made

    return make


@pytest.mark.parametrize("changed", [{}, {"gradient_checkpointing": True}, {"kind": "dora"}], ids=str)
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)], ids=str)
def test_recorded_trainings_lose_what_launched_ones_lose(trainer, dtype, near, changed):
    plain, recorded = trainer("a", dtype, is_recorded=False, **changed), trainer("b", dtype, **changed)
    losses = [step.loss for step in plain.run()]
    counts, others = zip(*((recorded.passes.count, step.loss) for step in recorded.run()))
    assert plain.passes is None and counts[-1] >= 2
    assert others == pytest.approx(losses, rel=near)
    ends = [torch.cat([part.flatten() for part in one.parameters.values()]) for one in (plain, recorded)]
    assert torch.cosine_similarity(*ends, dim=0) > 0.99
    assert recorded.optimiser.defaults["fused"]


def test_a_recorded_training_is_resumed(trainer):
    unbroken, stopped = trainer("a"), trainer("b")
    losses = [step.loss for step in unbroken.run()]
    for step in stopped.run():
        if step.step == 5:
            break
    resumed = trainer("b")
    assert resumed.step == 4
    assert [step.loss for step in resumed.run()] == pytest.approx(losses[4:], rel=1e-5)


def test_a_training_that_cannot_be_recorded_is_launched(trainer, caplog):
    plain, one = trainer("a", is_recorded=False), trainer("b")
    one.network.layers[0].mlp.register_forward_hook(lambda _, given, out: out + float(out.sum()) * 0)
    losses = [[step.loss for step in each.run()] for each in (plain, one)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and one.passes.count == 0
    assert "training steps are not recorded from now on" in caplog.text
    assert torch.randn(3, device=GPU).isfinite().all()  # which a broken recording would forbid


# ---- songs -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def songs():
    """As a CPU makes them."""
    return Cascade.load("tiny", device="cpu", dtype="fp32", text_cache=False).generate(SONG, seed=7).samples


@pytest.mark.parametrize(
    "how", [{}, {"offload": True}, {"memory_gb": 0.04}, {"dtype": "bf16", "vocoder_dtype": "bf16"}], ids=str
)
def test_songs_are_those_of_a_cpu_by_every_plan(songs, how):
    with torch.inference_mode():
        cascade = Cascade.load("tiny", device="cuda", text_cache=False, **{"dtype": "fp32"} | how)
        made = [cascade.generate(SONG, seed=7).samples for _ in range(2)]
    if "dtype" in how:
        assert torch.corrcoef(torch.stack([made[0].flatten(), songs.flatten()]))[0, 1] > 0.95
    else:
        assert all(torch.allclose(song, songs, **NEAR_SONG) for song in made)
    if "memory_gb" in how:
        assert cascade.pool.plan.holds == LAYERS


def test_a_song_goes_on_where_memory_runs_out(caplog):
    cascade, long = Cascade.load("tiny", device="cuda", text_cache=False), dataclasses.replace(SONG, seconds=120)
    cascade.generate(SONG, seed=7)  # by which all models are there
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved(GPU)
    torch.cuda.reset_peak_memory_stats(GPU)
    cascade.generate(long, seed=7)
    most = torch.cuda.max_memory_reserved(GPU)
    torch.cuda.empty_cache()
    enough = held + (most - held) / 3
    torch.cuda.set_per_process_memory_fraction(enough / torch.cuda.get_device_properties(GPU).total_memory, GPU)
    try:
        made = cascade.generate(long, seed=8).samples
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, GPU)
    assert made.shape[-1] == 120 * 48_000 and bool(made.isfinite().all())
    assert "out of memory" in caplog.text


# ---- the planner -----------------------------------------------------------------------------------------------------


def test_a_planner_records_its_steps_and_answers_as_without(monkeypatch):
    song = Song("dark techno", "[Verse]\nhold on to me", 90, "A minor", "4", "en", 12)

    def planned():
        planner = Planner.load(GOLDEN_PLANNER, device=GPU, cache=False)
        return planner.plan(song, sampling=Sampling(temperature=0)), planner.model._recorder._recorded

    plan, recorded = planned()
    assert recorded is not None and len(plan.codes) == 60
    monkeypatch.setattr(Recorder, "step_for", lambda *given: None)
    launched, recorded = planned()
    assert recorded is None and launched.codes == plan.codes
