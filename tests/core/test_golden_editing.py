"""Editing tasks against the original code's numbers, through every file layout."""

import pytest
import torch
from acestep_pack.acestep_core.flow.morph import run_morph
from acestep_pack.acestep_core.flow.schedule import share_time, start_time
from acestep_pack.acestep_core.flow.stages import Stage, item_seeds, mixed_noise, noise, run
from acestep_pack.acestep_core.models.condition import Condition
from acestep_pack.acestep_core.models.kept import Kept, context
from acestep_pack.acestep_core.models.source import CODES, SILENCE, SOURCE, EditSource, Morph
from acestep_pack.acestep_core.models.velocity import prepare
from core_tests.golden_cases import (
    CASES,
    FORWARD,
    LAYOUTS,
    NOT_BUILT,
    RUN,
    assert_near,
    cases,
    stage_of,
    states_of,
    tensors_of,
    time_last,
)

RUNS = (
    *("cover_run", "codes_run", "retake_run", "repaint_run", "lego_run", "extract_run", "complete_run"),
    "flow_edit_run",
)
OTHER_KINDS = {
    *("condition_encoder", "decoder", "tokenizer", "context", "turbo_run", "turbo_run_extra", "base_run"),
    *("base_run_extra", "lora", "lora_extra", "lokr", "lokr_extra", "train_step", "cascade", "vae"),
}
KNOWN_PARAMS = {
    *("infer_steps", "shift", "sampler", "noise_seeds", "dcw_enabled", "use_progress_bar", "mode", "strength"),
    *("diffusion_guidance_scale", "cfg_interval_start", "cfg_interval_end"),
    *("audio_cover_strength", "cover_noise_strength", "retake_variance", "retake_seed"),
    *("non_cover_text_hidden_states", "non_cover_text_attention_mask", "repaint_mask", "clean_src_latents"),
    *("repaint_injection_ratio", "repaint_crossfade_frames", "edit_n_min", "edit_n_max", "edit_n_avg"),
}


@pytest.mark.parametrize("case", cases(*NOT_BUILT))
def test_not_built(case):
    pytest.skip(f"{NOT_BUILT[case['kind']]} is not built yet")


def test_every_kind_is_known():
    assert {case["kind"] for case in CASES} <= {*NOT_BUILT, *OTHER_KINDS, *RUNS, "instructions", "splice"}


# ---- runs ------------------------------------------------------------------------------------------------------------


def source_of(case, tensors):
    """The source that our own types make of a case."""
    kind, params, latents = case["kind"], case["params"], time_last(tensors["in.src_latents"])
    given = {"latents": latents, "frames": latents.shape[-1]}
    given |= {
        "structure": params.get("audio_cover_strength", 1.0),
        "closeness": params.get("cover_noise_strength", 0.0),
    }
    if "in.codes" in tensors:
        return EditSource(**given, shows=CODES, codes=tensors["in.codes"][None, :, None])
    if kind == "cover_run":
        return EditSource(**given, shows=CODES if tensors["in.is_covers"].any() else SOURCE)
    if kind == "retake_run":
        mixed = {"variation": params["retake_variance"], "variation_seed": params["retake_seed"][0]}
        return EditSource(**given, shows=SILENCE, **mixed)
    if kind == "flow_edit_run":
        morph = Morph(params["edit_n_min"], params["edit_n_max"], params["edit_n_avg"])
        return EditSource(**given, shows=SILENCE, morph=morph)
    if kind == "repaint_run" and "auto_mask" not in case["id"]:
        clean, window = time_last(tensors["in.clean_src_latents"]), tensors["in.repaint_mask"].bool()
        held = {
            "injection_ratio": params["repaint_injection_ratio"],
            "blend_frames": params["repaint_crossfade_frames"],
        }
        return EditSource(**{**given, "latents": clean}, window=window, keeps=True, **held)
    ones = bool((tensors["in.chunk_masks"] == 1).all())
    return EditSource(**given, window=None if ones else tensors["in.chunk_masks"][..., 0].bool())


def kept_of(case, source, tensors):
    """What a run keeps; also where only the original's rules do, as where it treats a stem as a repaint."""
    if "in.repaint_mask" not in tensors or source.keeps:
        return source.kept(source.frames)
    ratio, blend = (case["params"][f"repaint_{name}"] for name in ("injection_ratio", "crossfade_frames"))
    return Kept(time_last(tensors["in.clean_src_latents"]), tensors["in.repaint_mask"].bool(), ratio, blend)


def with_text(tensors, prefix):
    """The tensors of a case with another text in the place of its own."""
    own = {
        f"in.{name.removeprefix(f'in.{prefix}_')}": value for name, value in tensors.items() if f".{prefix}_" in name
    }
    return {**tensors, **own}


def condition_of(model, case, source, tensors):
    null = model.condition_encoder.null_condition_emb.detach()
    silent = model.silent(source.frames)
    if "auto_mask" in case["id"]:  # not a form of ours: the original's default, and what it meant
        mask = time_last(tensors["in.chunk_masks"])
        return Condition(states_of(model, tensors)[0], null, torch.cat([time_last(tensors["in.src_latents"]), mask], 1))
    shown = source.context(silent, source.hints(model) if source.shows == CODES else None)
    own = Condition(states_of(model, tensors)[0], null, shown)
    if "in.non_cover_text_hidden_states" in tensors:
        other = Condition(states_of(model, with_text(tensors, "non_cover"))[0], null, context(silent))
        return Condition(own.states, null, own.context, other)
    if "in.target_text_hidden_states" in tensors:
        return Condition(states_of(model, with_text(tensors, "target"))[0], null, shown, own)
    return own


def cut(stage, t):
    """The stage from a later time of its table on."""
    times = stage.times[stage.times.index(t) :]
    return Stage(stage.model, times=times, guidance=stage.guidance, solver=stage.solver)


def begin(stage, source, seeds):
    first = noise(seeds, source.latents.shape[1], source.frames)
    if source.variation:
        other = noise(item_seeds(source.variation_seed, len(seeds)), source.latents.shape[1], source.frames)
        first = mixed_noise(first, other, source.variation)
    t = start_time([stage.times], source.closeness)
    return cut(stage, t), t * first + (1 - t) * source.latents if t < 1 else first


def steps_of(case, stage, source, condition, kept):
    params, seeds = case["params"], case["params"]["noise_seeds"]
    if source.morph:
        shift = params["shift"]
        return run_morph([stage], source.latents, [condition], seeds, source.latents, source.morph, shift=shift)
    stage, latents = begin(stage, source, seeds)
    switch = share_time(source.structure, params.get("shift", 1.0), stage.start)
    return run([stage], latents, [condition], seeds, kept=kept, switch=switch)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", cases(*RUNS))
def test_run(load, case, layout):
    assert set(case["params"]) <= KNOWN_PARAMS
    model, tensors = load(case, layout), tensors_of(case)
    stage, source = stage_of(model, case, tensors), source_of(case, tensors)
    condition = condition_of(model, case, source, tensors)
    check_forwards(model, condition, source, tensors)
    kept = kept_of(case, source, tensors)
    steps = list(steps_of(case, stage, source, condition, kept))
    assert_near(time_last(steps[-1].latents), tensors["out.target_latents"], RUN)
    assert torch.equal(steps[-1].x0, steps[-1].latents)
    if not source.morph:
        for step, expected in zip(steps, tensors.get("out.x_steps", ())[1:]):
            assert_near(time_last(step.latents), expected, RUN)


def check_forwards(model, condition, source, tensors):
    """Contexts and states, and the first and the last forward pass, of the original's own latents."""
    first, last = condition, condition
    if source.morph:
        first, last = condition.other, condition
    elif condition.other:
        last = condition.other
    assert_near(time_last(first.context), tensors["out.context_latents_first"][:1], FORWARD)
    assert_near(first.states, tensors["out.encoder_hidden_states_first"][:1], FORWARD)
    assert_near(time_last(last.context), tensors.get("out.context_latents_last", time_last(last.context)), FORWARD)
    times, called = tensors["out.timesteps"], tensors.get("out.x_steps", ())
    for name, own, t in (("first", first, times[0]), ("last", last, times[-1])):
        latents = called[0 if name == "first" else -1] if len(called) else tensors[f"out.x_{name}"]
        expected = tensors[f"out.v_{name}"]
        with torch.no_grad():
            velocity = prepare(model.transformer, own)
            made = velocity(time_last(latents), float(t))
            made = [made, velocity.null(time_last(latents), float(t))][: len(expected)]
        assert_near(time_last(torch.cat(made)), expected, FORWARD)


# ---- contexts, instructions, seams -----------------------------------------------------------------------------------
