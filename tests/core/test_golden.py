"""Our functions against the original code's numbers, and models read from every file layout.

`cases.json` lists the cases: those under tests/golden, or under the folder of the same form that ACESTEP_GOLDEN names.
Latents lie there as [B, T, C], here time is the last axis.
"""

import json
import os
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.audio.loudness import normalise_peak
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.checkpoints.layouts import to_original
from acestep_pack.acestep_core.checkpoints.load import load_stage_model, load_vocoder
from acestep_pack.acestep_core.flow.guidance import Guidance
from acestep_pack.acestep_core.flow.schedule import TURBO_TIMES, split, times, turbo_nearest
from acestep_pack.acestep_core.flow.stages import Stage, noise, run
from acestep_pack.acestep_core.lora.adapter import read_adapter
from acestep_pack.acestep_core.lora.apply import apply_adapter
from acestep_pack.acestep_core.lora.save import save_adapter
from acestep_pack.acestep_core.models.condition import Condition, context, encode_timbre, pack_condition
from acestep_pack.acestep_core.models.kept import Kept
from acestep_pack.acestep_core.models.semantic_codes import semantic_hints, semantic_tokens, tokens_of_codes
from acestep_pack.acestep_core.models.velocity import prepare
from acestep_pack.acestep_core.models.vocoder import Context
from acestep_pack.acestep_core.training.objective import TrainableVelocity, flow_loss
from safetensors.torch import load_file, save_file

GOLDEN = Path(os.environ.get("ACESTEP_GOLDEN") or Path(__file__).resolve().parents[1] / "golden")
CASES = json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))["cases"]
FORWARD, RUN = 1e-4, 1e-3

NOT_BUILT = {
    "cover_run": "cover",
}
FORWARDS = ("condition_encoder", "decoder", "tokenizer", "context")
ADAPTERS = ("lora", "lora_extra", "lokr", "lokr_extra")
RUNS = ("turbo_run", "turbo_run_extra", "base_run", "base_run_extra", "repaint_run")
LAYOUTS = ("original", "sharded", "diffusers", "comfyui", "all-in-one")
TOKENS = ("audio_tokenizer", "audio_token_detokenizer")
KNOWN_PARAMS = {
    *("infer_steps", "shift", "timesteps", "sampler_mode", "noise_seeds", "use_progress_bar", "dcw_enabled"),
    *("diffusion_guidance_scale", "cfg_interval_start", "cfg_interval_end", "use_adg"),
    *("repaint_mask", "clean_src_latents", "repaint_crossfade_frames", "repaint_injection_ratio"),
}


def cases(*kinds):
    return [pytest.param(case, id=case["id"]) for case in CASES if case["kind"] in kinds]


def time_last(tensor):
    return tensor.transpose(1, 2).contiguous()


def tensors_of(case):
    return {name: tensor for name, tensor in load_file(GOLDEN / case["file"]).items()}


def assert_near(got, expected, tolerance):
    assert got.shape == expected.shape
    assert float((got.double() - expected.double()).abs().max()) <= tolerance


# ---- models, from every layout ---------------------------------------------------------------------------------------


def as_sharded(source, folder):
    tensors = load_file(source / "model.safetensors")
    names, files = sorted(tensors), ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    for file, part in zip(files, (names[::2], names[1::2])):
        save_file({name: tensors[name] for name in part}, folder / file)
    index = {"weight_map": {name: files[i % 2] for i, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in ("config.json", "silence_latent.pt"):
        shutil.copy(source / name, folder)
    return folder


def as_diffusers(source, folder):
    model = load_stage_model(source, parts=TOKENS)
    for part in ("transformer", "condition_encoder", *TOKENS):
        getattr(model, part).save_pretrained(folder / part)
    return folder


def as_single_file(source, folder, prefix, **others):
    tensors = {prefix + name: tensor for name, tensor in load_file(source / "model.safetensors").items()}
    for start, more in others.items():
        tensors |= {f"{start}.{name}": tensor for name, tensor in more.items()}
    save_file(tensors, folder / "acestep_v1.5_turbo.safetensors")
    shutil.copy(source / "silence_latent.pt", folder)
    return folder / "acestep_v1.5_turbo.safetensors"


def as_all_in_one(source, folder):
    return as_single_file(source, folder, "model.diffusion_model.", vae={"extra": torch.zeros(1)})


BUILD = {
    "original": lambda source, folder: source,
    "sharded": as_sharded,
    "diffusers": as_diffusers,
    "comfyui": lambda source, folder: as_single_file(source, folder, ""),
    "all-in-one": as_all_in_one,
}


def with_window(model, source):
    """ComfyUI's files do not say how far a window reaches: they are run with the published one, these have another."""
    reach = json.loads((source / "config.json").read_text())["sliding_window"]
    for part in ("transformer", "condition_encoder", *TOKENS):
        for module in getattr(model, part).modules():
            if vars(module).get("sliding_window") is not None:
                module.sliding_window = reach
    return model


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """(model name, layout) -> StageModel, each made and read once."""
    known = {}

    def get(name, layout="original"):
        if (name, layout) not in known:
            path = BUILD[layout](GOLDEN / name, tmp_path_factory.mktemp(f"{name}-{layout}"))
            model = load_stage_model(path, parts=TOKENS)
            known[name, layout] = with_window(model, GOLDEN / name) if path.suffix else model
        return known[name, layout]

    return get


# ---- every case has a test or a reason -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases(*NOT_BUILT))
def test_not_built(case):
    pytest.skip(f"{case['kind']}: {NOT_BUILT[case['kind']]} is not built yet")


def test_every_kind_is_known():
    assert {case["kind"] for case in CASES} <= {*NOT_BUILT, *FORWARDS, *ADAPTERS, *RUNS, "train_step", "cascade", "vae"}


# ---- forwards --------------------------------------------------------------------------------------------------------


def states_of(model, tensors):
    with torch.no_grad():
        return pack_condition(
            model.condition_encoder,
            tensors["in.text_hidden_states"],
            tensors["in.text_attention_mask"].bool(),
            tensors["in.lyric_hidden_states"],
            tensors["in.lyric_attention_mask"].bool(),
            time_last(tensors["in.refer_audio_acoustic_hidden_states_packed"]),
            tensors["in.refer_audio_order_mask"],
            timbre_token=model.family == "xl",
        )


def hints_of(model, latents):
    """Latents [B, C, T] -> hints [B, C, T]."""
    with torch.no_grad():
        tokens, _ = semantic_tokens(model.audio_tokenizer, latents, model.silence)
        return semantic_hints(model.audio_token_detokenizer, tokens, latents.shape[-1])


def check_condition_encoder(model, tensors):
    states, mask = states_of(model, tensors)
    assert_near(states, tensors["out.encoder_hidden_states"], FORWARD)
    assert torch.equal(mask, tensors["out.encoder_attention_mask"].bool())
    clips = time_last(tensors["in.refer_audio_acoustic_hidden_states_packed"])
    with torch.no_grad():
        pooled = encode_timbre(model.condition_encoder.timbre_encoder, clips, model.family == "xl")
    order, present = tensors["in.refer_audio_order_mask"], tensors["out.timbre_mask"].bool()
    assert_near(pooled[order.argsort(stable=True)], tensors["out.timbre_unpacked"][present], FORWARD)


def check_decoder(model, tensors):
    condition = Condition(
        tensors["in.encoder_hidden_states"],
        model.condition_encoder.null_condition_emb.detach(),
        time_last(tensors["in.context_latents"]),
    )
    latents, t, r = tensors["in.hidden_states"], tensors["in.timestep"], tensors["in.timestep_r"]
    with torch.no_grad():
        velocity = prepare(model.transformer, condition)
        assert_near(time_last(velocity(time_last(latents), t, r)), tensors["out.velocity"], FORWARD)
        if torch.equal(t, r):
            assert_near(time_last(velocity(time_last(latents), t)), tensors["out.velocity"], FORWARD)


def check_tokenizer(model, tensors):
    latents = time_last(tensors["in.latents"])
    with torch.no_grad():
        tokens, codes = semantic_tokens(model.audio_tokenizer, latents, model.silence)
        hints = semantic_hints(model.audio_token_detokenizer, tokens, tensors["out.detokenized"].shape[1])
        known = tokens_of_codes(model.audio_tokenizer, tensors["in.codes"])
        from_codes = semantic_hints(model.audio_token_detokenizer, known, tensors["out.codes_detokenized"].shape[1])
    assert torch.equal(codes.int(), tensors["out.indices"])
    assert_near(tokens, tensors["out.quantized"], FORWARD)
    assert_near(time_last(hints), tensors["out.detokenized"], FORWARD)
    assert_near(known, tensors["out.codes_quantized"], FORWARD)
    assert_near(time_last(from_codes), tensors["out.codes_detokenized"], FORWARD)


def check_context(model, tensors):
    states, mask = states_of(model, tensors)
    assert_near(states, tensors["out.encoder_hidden_states"], FORWARD)
    assert torch.equal(mask, tensors["out.encoder_attention_mask"].bool())
    assert_near(time_last(context_of(model, tensors)), tensors["out.context_latents"], FORWARD)


def context_of(model, tensors, kept=None):
    """The context that our functions make of a case's inputs."""
    source = time_last(tensors["in.src_latents"])
    covers = tensors["in.is_covers"].bool()
    if covers.any():
        source = torch.where(covers[:, None, None], hints_of(model, source), source)
    if kept is None:
        return context(source)
    silent = model.silent(source.shape[-1])
    assert torch.equal(torch.where(kept.window[:, None], silent, kept.clean), source)  # the case repaints over silence
    return context(silent, kept)


CHECKS = {
    "condition_encoder": check_condition_encoder,
    "decoder": check_decoder,
    "tokenizer": check_tokenizer,
    "context": check_context,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", cases(*FORWARDS))
def test_forward(load, case, layout):
    CHECKS[case["kind"]](load(case["model"], layout), tensors_of(case))


# ---- adapters --------------------------------------------------------------------------------------------------------


def velocity_of(model, tensors):
    """What the transformer makes of a case's inputs, [B, T, C]."""
    null = model.condition_encoder.null_condition_emb.detach()
    condition = Condition(tensors["in.encoder_hidden_states"], null, time_last(tensors["in.context_latents"]))
    with torch.no_grad():
        velocity = prepare(model.transformer, condition)
        return time_last(velocity(time_last(tensors["in.hidden_states"]), tensors["in.timestep"]))


def adapter_files(case, folder):
    """The case's own files, and the same adapter as we save it, in every layout that can hold it."""
    params = case["params"]
    own = [params[key] for key in ("adapter_dir", "comfyui_file", "file") if params.get(key)]
    yield from (GOLDEN / name for name in own)
    adapter = read_adapter(GOLDEN / own[0])
    layouts = ("peft", "comfyui", "diffusers") if case["kind"].startswith("lora") else ("comfyui",)
    for layout in layouts:
        yield save_adapter(adapter, folder / (layout if layout == "peft" else f"{layout}.safetensors"), layout)


@pytest.mark.parametrize("case", cases(*ADAPTERS))
def test_adapter(load, case, tmp_path):
    model, tensors = load(case["model"]), tensors_of(case)
    assert_near(velocity_of(model, tensors), tensors["out.base"], FORWARD)
    before = velocity_of(model, tensors)
    for file in adapter_files(case, tmp_path):
        adapter = read_adapter(file)
        for strength, name in zip(case["params"]["strengths"], ("with_adapter", "half_strength")):
            worn, report = apply_adapter(model, adapter, strength)
            assert report.matched and not report.unmatched
            assert_near(velocity_of(worn, tensors), tensors[f"out.{name}"], FORWARD)
    assert torch.equal(velocity_of(model, tensors), before)


@pytest.mark.parametrize("recomputed", [False, True], ids=["stored", "gradient_checkpointing"])
@pytest.mark.parametrize("case", cases("train_step"))
def test_train_step(load, case, recomputed):
    model, tensors = load(case["model"]), tensors_of(case)
    null = model.condition_encoder.null_condition_emb.detach()
    condition = Condition(tensors["in.encoder_hidden_states"], null, time_last(tensors["in.context_latents"]))
    network = deepcopy(model.transformer).requires_grad_(True)
    music, noised = time_last(tensors["in.x0"]), time_last(tensors["in.x1"])
    loss = flow_loss(
        TrainableVelocity(network, condition, torch.float32, recomputed), music, noised, tensors["in.t"]
    ).mean()
    assert_near(loss.detach()[None], tensors["out.loss"], FORWARD)
    loss.backward()
    names = [name for name in tensors if name.startswith("out.grad.")]
    grads = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
    grads = to_original("transformer", grads)
    assert len(names) == 5
    for name in names:  # the files hold the first rows of each
        assert_near(grads[name.removeprefix("out.grad.")][: len(tensors[name])], tensors[name], FORWARD)


# ---- runs ------------------------------------------------------------------------------------------------------------


def table_of(params, tensors, turbo):
    if "timesteps" in params:
        custom = tensors["in.timesteps"].tolist()
        return turbo_nearest(custom) if turbo else tuple(custom)
    shift = params.get("shift", 1.0)
    if turbo and "infer_steps" not in params:
        return times(8, min((1.0, 2.0, 3.0), key=lambda known: abs(known - shift)))
    return times(params.get("infer_steps", 30), shift)


def guidance_of(params):
    scale = max(1.0, params.get("diffusion_guidance_scale", 7.0))
    interval = params.get("cfg_interval_start", 0.0), params.get("cfg_interval_end", 1.0)
    return Guidance("adg" if params.get("use_adg") else "apg", scale, interval)


def stage_of(model, case, tensors):
    """The stage that does what the case's sampler did: that of the turbo models or that of base and sft."""
    params, turbo = case["params"], "turbo" in case["obtained_by"].split(".")[0]
    model = replace(model, defaults=replace(model.defaults, valid_times=TURBO_TIMES if turbo else None))
    return Stage(
        model,
        times=table_of(params, tensors, turbo),
        solver=params.get("sampler_mode", "euler"),
        guidance=Guidance() if turbo else guidance_of(params),
    )


def kept_of(params, tensors):
    if "repaint_mask" not in params:
        return None
    return Kept(
        time_last(tensors["in.clean_src_latents"]),
        tensors["in.repaint_mask"].bool(),
        params.get("repaint_injection_ratio", 0.5),
        params.get("repaint_crossfade_frames", 10),
    )


@pytest.mark.parametrize("case", cases(*RUNS))
def test_run(load, case):
    params = case["params"]
    if params.get("dcw_enabled"):
        pytest.skip(f"{case['kind']}: DCW is not built yet")
    assert set(params) <= KNOWN_PARAMS
    model, tensors = load(case["model"]), tensors_of(case)
    stage, kept = stage_of(model, case, tensors), kept_of(params, tensors)
    states, _ = states_of(model, tensors)
    assert_near(states, tensors["out.encoder_hidden_states_first"][: len(states)], FORWARD)
    made = context_of(model, tensors, kept)
    assert_near(time_last(made), tensors["out.context_latents_first"], FORWARD)
    condition = Condition(states, model.condition_encoder.null_condition_emb.detach(), made)
    latents = time_last(tensors["in.noise"])
    seeds = params["noise_seeds"]
    assert torch.equal(noise(seeds, *latents.shape[1:]), latents)

    steps = list(run([stage], latents, [condition], seeds, kept=kept))
    assert_near(time_last(steps[-1].latents), tensors["out.target_latents"], RUN)
    assert torch.equal(steps[-1].x0, steps[-1].latents)
    calls = 2 if stage.solver == "heun" else 1
    for step, expected in zip(steps[:-1], tensors["out.x_steps"][calls::calls]):
        assert_near(time_last(step.latents), expected, RUN)


@pytest.mark.parametrize("case", cases("cascade"))
def test_cascade(load, case):
    params, tensors = case["params"], tensors_of(case)
    table = (*params["timesteps"], 0.0)
    first = sum(t >= params["switch_t"] for t in params["timesteps"])
    stages, conditions = [], []
    for name, slot, (_, _, part) in zip(("model_a", "model_b"), "ab", split(table, (first, len(table) - 1 - first))):
        model = load(params[name])
        states, _ = states_of(model, tensors)
        assert_near(states, tensors[f"out.encoder_hidden_states_{slot}"], FORWARD)
        null = model.condition_encoder.null_condition_emb.detach()
        conditions.append(Condition(states, null, time_last(tensors["in.context_latents"])))
        stages.append(Stage(model, times=part, guidance=Guidance()))
    steps = list(run(stages, time_last(tensors["in.noise"]), conditions, seeds=[0]))
    assert [step.stage for step in steps] == tensors["out.expert"].tolist()
    for step, expected in zip(steps, tensors["out.x_steps"][1:]):
        assert_near(time_last(step.latents), expected, RUN)


# ---- vocoder ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["diffusers", "stable-audio"])
def vocoder(request, tmp_path):
    """case -> Vocoder, from either of the case's two files."""

    def get(case):
        folder = (GOLDEN / case["file"]).parent
        if request.param == "diffusers":
            return load_vocoder(folder)
        for name in ("config.json", "comfyui_layout.safetensors"):
            shutil.copy(folder / name, tmp_path)
        return load_vocoder(tmp_path / "comfyui_layout.safetensors")

    return get


@pytest.mark.parametrize("case", cases("vae"))
def test_vae(vocoder, case):
    tensors, params = tensors_of(case), case["params"]
    ours = vocoder(case)
    rate = ours.latents.sample_rate_hz
    for i in range(len(params["audio_lengths"])):
        wave, mean = Waveform(tensors[f"in.audio_{i}"], rate), tensors[f"out.mean_{i}"]
        assert_near(ours.encode(wave), mean, FORWARD)
        drawn = ours.encode(wave, torch.Generator().manual_seed(i))
        fresh = torch.randn(mean.shape, generator=torch.Generator().manual_seed(i))
        assert_near(drawn, mean + tensors[f"out.std_{i}"] * fresh, FORWARD)
    for i in range(len(params["latent_lengths"])):
        assert_near(ours.decode(tensors[f"in.latent_{i}"]).samples, tensors[f"out.decoded_{i}"], FORWARD)
    assert_near(ours.decode(tensors["in.latent_tiled"]).samples, tensors["out.decoded_full"], FORWARD)
    wave = Waveform(tensors["in.wave"], rate)
    assert_near(normalise_peak(wave).samples, tensors["out.wave_minus1dbfs"], FORWARD)


@pytest.mark.parametrize("case", cases("vae"))
def test_vae_in_the_tiles_of_the_original(vocoder, case):
    """The original's tiles see fewer neighbours than reach into them; given as few, ours make the same numbers."""
    tensors, params = tensors_of(case), case["params"]
    ours, hop = vocoder(case), params["hop"]
    chunk, overlap = params["tiled_decode"]["chunk"], params["tiled_decode"]["overlap"]
    ours = ours.tiled(chunk - 2 * overlap)
    ours.decode_context = Context(overlap, overlap)
    assert_near(ours.decode(tensors["in.latent_tiled"]).samples, tensors["out.decoded_tiled"], FORWARD)
    chunk, overlap = (params["tiled_encode"][key] // hop for key in ("chunk_samples", "overlap_samples"))
    ours = ours.tiled(chunk - 2 * overlap)
    ours.encode_context = Context(overlap, overlap)
    wave = Waveform(tensors["in.audio_tiled"], ours.latents.sample_rate_hz)
    assert_near(ours.encode(wave), tensors["out.mean_tiled"], FORWARD)
