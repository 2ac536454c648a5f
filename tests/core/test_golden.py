"""Our functions against the original code's numbers, and models read from every file layout.

Cases of editing are in test_golden_editing.py; golden_cases.py tells where cases lie.
"""

import shutil
from copy import deepcopy

import pytest
import torch
from acestep_pack.acestep_core.audio.loudness import normalise_peak
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.checkpoints.layouts import to_original
from acestep_pack.acestep_core.checkpoints.load import load_vocoder
from acestep_pack.acestep_core.flow.guidance import Guidance
from acestep_pack.acestep_core.flow.schedule import split
from acestep_pack.acestep_core.flow.stages import Stage, noise, run
from acestep_pack.acestep_core.lora.adapter import read_adapter
from acestep_pack.acestep_core.lora.apply import apply_adapter
from acestep_pack.acestep_core.lora.save import save_adapter
from acestep_pack.acestep_core.models.condition import Condition, context, encode_timbre
from acestep_pack.acestep_core.models.semantic_codes import semantic_hints, semantic_tokens, tokens_of_codes
from acestep_pack.acestep_core.models.velocity import prepare
from acestep_pack.acestep_core.models.vocoder import Context
from acestep_pack.acestep_core.training.objective import TrainableVelocity, flow_loss
from core_tests.golden_cases import (
    CASES,
    FORWARD,
    LAYOUTS,
    RUN,
    assert_near,
    cases,
    hints_of,
    model_folder,
    stage_of,
    states_of,
    tensors_of,
    time_last,
)

FORWARDS = ("condition_encoder", "decoder", "tokenizer", "context")
ADAPTERS = ("lora", "lora_extra", "lokr", "lokr_extra")
RUNS = ("turbo_run", "turbo_run_extra", "base_run", "base_run_extra")
KNOWN_PARAMS = {
    *("infer_steps", "shift", "timesteps", "sampler_mode", "noise_seeds", "use_progress_bar", "dcw_enabled"),
    *("dcw_mode", "dcw_scaler", "dcw_high_scaler", "dcw_wavelet"),
    *("diffusion_guidance_scale", "cfg_interval_start", "cfg_interval_end", "use_adg"),
}


def test_a_copy_of_one_folder_alone_finds_its_models(tmp_path):
    """As ACESTEP_GOLDEN may name it: cases of one folder run on models of the other."""
    moved = [{**case, "root": tmp_path} for case in CASES if "model_path" in case]
    assert all((model_folder(case) / "config.json").is_file() for case in moved)


# ---- forwards --------------------------------------------------------------------------------------------------------


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


def context_of(model, tensors):
    """The context that our functions make of a case's inputs."""
    source = time_last(tensors["in.src_latents"])
    covers = tensors["in.is_covers"].bool()
    if covers.any():
        source = torch.where(covers[:, None, None], hints_of(model, source), source)
    return context(source)


CHECKS = {
    "condition_encoder": check_condition_encoder,
    "decoder": check_decoder,
    "tokenizer": check_tokenizer,
    "context": check_context,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", [case for case in cases(*FORWARDS) if "cases" not in case.values[0]["params"]])
def test_forward(load, case, layout):
    CHECKS[case["kind"]](load(case, layout), tensors_of(case))


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
    yield from (case["root"] / name for name in own)
    adapter = read_adapter(case["root"] / own[0])
    layouts = ("peft", "comfyui", "diffusers") if case["kind"].startswith("lora") else ("comfyui",)
    for layout in layouts:
        yield save_adapter(adapter, folder / (layout if layout == "peft" else f"{layout}.safetensors"), layout)


@pytest.mark.parametrize("case", cases(*ADAPTERS))
def test_adapter(load, case, tmp_path):
    model, tensors = load(case), tensors_of(case)
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
    model, tensors = load(case), tensors_of(case)
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


@pytest.mark.parametrize("case", cases(*RUNS))
def test_run(load, case):
    params = case["params"]
    assert set(params) <= KNOWN_PARAMS
    model, tensors = load(case), tensors_of(case)
    stage = stage_of(model, case, tensors)
    states, _ = states_of(model, tensors)
    assert_near(states, tensors["out.encoder_hidden_states_first"][: len(states)], FORWARD)
    made = context_of(model, tensors)
    assert_near(time_last(made), tensors["out.context_latents_first"], FORWARD)
    condition = Condition(states, model.condition_encoder.null_condition_emb.detach(), made)
    latents = time_last(tensors["in.noise"])
    seeds = params["noise_seeds"]
    assert torch.equal(noise(seeds, *latents.shape[1:]), latents)

    steps = list(run([stage], latents, [condition], seeds))
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
        model = load(case, name=params[name])
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
        folder = (case["root"] / case["file"]).parent
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
