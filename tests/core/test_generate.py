import gc
import json
import math
import os
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core import audio
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.errors import CheckpointError, UserError
from acestep_pack.acestep_core.generation.cascade import Cascade
from acestep_pack.acestep_core.memory import model_pool as parts
from acestep_pack.acestep_core.song import Song
from safetensors.torch import load_file, save_file

SONG = Song("lo-fi beat", seconds=10.01)


@pytest.fixture(scope="module")
def cascade(tiny_family):
    return Cascade.load(tiny_family, device="cpu")


@pytest.fixture(scope="module")
def made(cascade):
    return cascade.generate(SONG, seed=5)


def clip(seconds=4.0, rate=44100, level=0.4, channels=1) -> Waveform:
    t = torch.arange(round(seconds * rate)) / rate
    return Waveform((level * torch.sin(2 * math.pi * 330 * t)).expand(1, channels, -1).clone(), rate)


def test_a_song_is_as_long_as_asked_stereo_and_at_minus_one_db(made):
    assert made.sample_rate_hz == 16000 and made.samples.shape == (1, 2, round(10.01 * 16000))
    assert made.samples.abs().max() == pytest.approx(10 ** (-1 / 20))
    assert not made.samples.requires_grad


def test_one_seed_one_song(cascade, made):
    assert torch.equal(cascade.generate(SONG, seed=5).samples, made.samples)
    assert not torch.allclose(cascade.generate(SONG, seed=6).samples, made.samples, atol=0.01)


@pytest.mark.parametrize("solver", ["euler", "heun", "sde"])
def test_an_item_of_a_batch_is_its_single_run(cascade, solver):
    batch = cascade.generate(SONG, seed=4, count=2, solver=solver)
    single = cascade.generate(SONG, seed=5, solver=solver)
    assert len(batch) == 2
    assert (batch[1].samples - single.samples).abs().max() < 1e-4


def test_every_stage_counts(cascade, tiny_family, made):
    for slot in "lms":
        other = {slot: tiny_family / ("m" if slot != "m" else "l")}
        changed = Cascade.load(tiny_family, device="cpu", **other).generate(SONG, seed=5)
        assert (changed.samples - made.samples).abs().max() > 1e-3


def test_three_stages_of_one_model_are_one_stage_to_the_bit(tiny_family):
    alone = Cascade.load(tiny_family / "m", device="cpu")
    thrice = Cascade.load(m=tiny_family / "m", device="cpu")
    for solver in ("euler", "heun"):
        one = alone.generate(SONG, seed=1, steps=4, solver=solver).samples
        assert torch.equal(one, thrice.generate(SONG, seed=1, steps=(2, 1, 1), solver=solver).samples)
        assert torch.equal(one, alone.generate(SONG, seed=1, steps=(2, 1, 1), solver=solver).samples)


def test_steps_come_one_by_one_and_can_be_heard_on_the_way(cascade, made):
    steps = list(cascade.iterate(SONG, seed=5))
    assert [(step.stage, step.step, step.of) for step in steps] == [(0, 1, 2), (0, 2, 2), (1, 1, 1), (2, 1, 1)]
    assert steps[0].t == 1 and steps[-1].t_next == 0
    assert torch.equal(steps[-1].latents, steps[-1].x0)
    assert torch.equal(cascade.decode(steps[-1].latents, SONG).samples, made.samples)
    early = cascade.decode(steps[1].x0, SONG)
    assert early.samples.shape == made.samples.shape and early.samples.isfinite().all()


def test_a_run_stopped_after_stage_l_leaves_nothing_behind(cascade, made):
    steps = cascade.iterate(SONG, seed=5)
    for step in steps:
        if step.step == step.of:
            break
    latents = weakref.ref(step.latents)
    steps.close()
    del step, steps
    gc.collect()
    assert latents() is None and torch.is_grad_enabled()
    assert torch.equal(cascade.generate(SONG, seed=5).samples, made.samples)


@pytest.mark.slow
def test_offload_holds_one_part_at_a_time_and_makes_the_same_song(tiny_family, made, monkeypatch):
    alive, most = weakref.WeakSet(), [0]

    def watch(loader, network):
        def load(*given, **named):
            gc.collect()
            part = loader(*given, **named)
            alive.add(network(part))
            most[0] = max(most[0], len(alive))
            return part

        return load

    monkeypatch.setattr(parts, "load_stage_model", watch(parts.load_stage_model, lambda p: p.transformer))
    monkeypatch.setattr(parts, "load_text_encoder", watch(parts.load_text_encoder, lambda p: p.model))
    monkeypatch.setattr(parts, "load_vocoder", watch(parts.load_vocoder, lambda p: p.network))
    sparing = Cascade.load(tiny_family, device="cpu", offload=True)
    assert torch.equal(sparing.generate(SONG, seed=5).samples, made.samples)
    assert most[0] <= 2  # the one at work, and the one that is being loaded in its place
    assert len(sparing.pool._held) == 1


def test_a_reference_changes_the_song(cascade, made, tmp_path):
    path = audio.write(tmp_path / "clip.wav", clip())
    styled = cascade.generate(SONG, seed=5, reference=[path])
    assert (styled.samples - made.samples).abs().max() > 1e-3
    assert torch.equal(cascade.generate(SONG, seed=5, reference=[audio.read(path)]).samples, styled.samples)
    two = cascade.generate(SONG, seed=5, reference=[path, clip(1.0, level=0.9, channels=2)])
    assert (two.samples - styled.samples).abs().max() > 1e-4


def test_a_continued_clip_is_kept_untouched(cascade):
    given = clip(3.0, rate=16000, channels=2)
    song = cascade.generate(SONG, seed=5, continue_from=given)
    kept = given.samples.shape[-1] // 480 * 480 - round(0.05 * 16000)
    assert torch.equal(song.samples[..., :kept], given.samples[..., :kept])
    assert song.samples.shape[-1] == round(10.01 * 16000) and song.samples.abs().max() <= 1
    assert song.samples[..., -16000:].abs().max() > 0


def test_both_kinds_of_clip_in_one_run(cascade):
    given = clip(3.0, rate=16000, channels=2)
    heard = cascade.encode_reference([clip(2.0, level=0.9)], given)
    one = cascade.generate(SONG, seed=5, reference=heard)
    timbre = cascade.encode_reference([clip(2.0, level=0.9)])
    assert torch.equal(cascade.generate(SONG, seed=5, reference=timbre, continue_from=given).samples, one.samples)
    assert (
        cascade.encode_reference(None, given).source is not None
        and cascade.encode_reference(None) is cascade.encode_reference() is None
    )
    with pytest.raises(UserError, match="the reference has one already"):
        cascade.encode_reference(heard, given)
    assert (one.samples - cascade.generate(SONG, seed=5, continue_from=given).samples).abs().max() > 1e-4


@pytest.mark.parametrize("part", ["l", "m", "text_encoder", "vae"])
def test_a_model_that_gives_no_numbers_is_named(part, tiny_family, tmp_path):
    models = shutil.copytree(tiny_family, tmp_path / "family")
    (file,) = (models / part).glob("*.safetensors")
    weights = load_file(file)
    last = {"l": "proj_out", "m": "proj_out", "text_encoder": "norm.weight", "vae": "decoder.conv2"}[part]
    name = next(name for name in weights if last in name)
    weights[name] = torch.full_like(weights[name], math.nan)
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=f"/{part}: this model gave values that are not finite"):
        Cascade.load(models, device="cpu", text_cache=False).generate(SONG, seed=5)


def test_a_guidance_that_a_config_names_and_nobody_knows_is_refused_by_file(tiny_family, tmp_path):
    models = shutil.copytree(tiny_family, tmp_path / "family")
    config = json.loads((models / "m" / "config.json").read_text())
    config["acestep_cascade"] = config.get("acestep_cascade", {}) | {"guidance_kind": "nonsense"}
    (models / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="/m: config.json: guidance: got 'nonsense', expected one of"):
        Cascade.load(models, device="cpu")


def test_a_clip_that_cannot_be_used_is_named(cascade, tmp_path):
    path = audio.write(tmp_path / "slow.wav", clip(seconds=8, rate=1))
    for use in ("reference", "continue_from"):
        with pytest.raises(UserError, match="slow.wav\\) has a sample rate of 1 Hz"):
            cascade.generate(SONG, **{use: path})


@pytest.mark.parametrize(
    "wish, message",
    [
        ({"seed": -1}, "seed: got -1, expected a whole number from 0"),
        ({"seed": 1.5}, "seed: got 1.5"),
        ({"count": 0}, "count: got 0, expected a whole number of at least 1"),
        ({"solver": "magic"}, "solver: got 'magic'"),
        ({"steps": (1, 2)}, "steps: got 1,2 for 3 stages"),
        ({"reference": ["missing.wav"]}, "missing.wav: does not exist"),
        ({"reference": [Waveform(torch.zeros(1, 1, 16000), 16000)]}, "is silent"),
        ({"continue_from": clip(20)}, "the song is 10.* s and the clip to continue 20.0 s; ask for a longer song"),
    ],
)
def test_what_cannot_be_made_is_told(cascade, wish, message):
    with pytest.raises(UserError, match=message):
        cascade.generate(SONG, **wish)


@pytest.mark.parametrize(
    "where, message",
    [
        ({"device": "toaster"}, "device: got 'toaster', expected auto, cpu"),
        ({"device": "cuda:99"}, "device: cuda:99 is not usable here; torch .* sees cpu"),
        ({"dtype": "int4"}, "dtype: got 'int4', expected one of fp32, bf16, fp16"),
        ({"vocoder_dtype": "fp16"}, "vocoder dtype: got 'fp16', expected one of fp32, bf16"),
        ({"vocoder_dtype": torch.float16}, "vocoder dtype: got torch.float16, expected one of fp32, bf16"),
        ({"dtype": torch.float64}, "dtype: got torch.float64, expected one of fp32, bf16, fp16"),
    ],
)
def test_a_place_that_is_not_there_is_told(tiny_family, where, message):
    with pytest.raises(UserError, match=message):
        Cascade.load(tiny_family, **where)


def test_bf16_is_near_fp32(tiny_family, made):
    half = Cascade.load(tiny_family, device="cpu", dtype="bf16").generate(SONG, seed=5)
    assert half.samples.isfinite().all()
    assert torch.nn.functional.cosine_similarity(half.samples.flatten(), made.samples.flatten(), dim=0) > 0.9


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_vocoder_has_a_dtype_of_its_own(tiny_family, dtype):
    """Whatever the others have it is in fp32, and in bf16 its noise stays about as low as the help says."""
    whole, half = (Cascade.load(tiny_family, device="cpu", dtype=dtype, vocoder_dtype=own) for own in (None, "bf16"))
    *_, last = whole.iterate(SONG, seed=5)
    exact, near = (cascade.decode(last.latents, SONG).samples for cascade in (whole, half))
    weights = [next(cascade.pool["vocoder"].network.parameters()).dtype for cascade in (whole, half)]
    assert weights == [torch.float32, torch.bfloat16]
    assert -60 < 20 * torch.log10((near - exact).norm() / exact.norm()) < -35


def test_parts_that_one_already_has_make_a_cascade(cascade, made):
    own = Cascade([cascade.pool[where] for where in cascade.stages], cascade.pool["text"], cascade.pool["vocoder"])
    assert torch.equal(own.generate(SONG, seed=5).samples, made.samples)


def test_a_folder_named_as_a_known_model_is_the_folder(tiny_family, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_family / "s", "tiny-m")
    alone = Cascade.load("./tiny-m", text=tiny_family / "text_encoder", vocoder=tiny_family / "vae", device="cpu")
    same = Cascade.load(tiny_family / "s", device="cpu")
    assert torch.equal(alone.generate(SONG, seed=5).samples, same.generate(SONG, seed=5).samples)


def test_models_keep_the_names_under_which_they_were_found():
    cascade = Cascade.load("tiny", device="cpu")
    assert [cascade.pool[where].name for where in cascade.stages] == ["tiny-l", "tiny-m", "tiny-s"]
    with pytest.raises(UserError, match="got a whole cascade and l too"):
        Cascade.load(cascade.models, l="tiny-m")


_THREADS = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import torch
from acestep_core import Cascade, Song
song, settings, start = Song("x", seconds=10), {"steps": (1, 1, 1)}, threading.Barrier(6)
shared = Cascade.load(sys.argv[1], device="cpu")
def make(seed):
    start.wait()
    if seed == 5:
        return Cascade.load(sys.argv[1], device="cpu").generate(song, seed=seed, **settings).samples
    if seed % 2:
        return shared.generate(song, seed=seed, **settings).samples
    *_, last = shared.iterate(song, seed=seed, **settings)
    return shared.decode(last.latents, song).samples
with ThreadPoolExecutor(6) as threads:
    made = list(threads.map(make, range(6)))
alone = [shared.generate(song, seed=seed, **settings).samples for seed in range(6)]
sys.exit(0 if all(map(torch.equal, made, alone)) else "songs differ")
"""


@pytest.mark.slow
def test_threads_that_begin_together_on_a_cold_cascade_make_the_songs_of_their_seeds(tiny_family):
    command = [sys.executable, "-c", _THREADS, str(tiny_family)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
