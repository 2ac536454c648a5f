"""Editing tasks against the original code's numbers, through every file layout."""

import json
from dataclasses import replace

import pytest
import torch
from acestep_pack.acestep_core.audio.splice import Splice
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.editing import prepare as prepared
from acestep_pack.acestep_core.editing.edit import Edit
from acestep_pack.acestep_core.editing.music import SourceMusic
from acestep_pack.acestep_core.editing.tasks import TASKS, TRACKS, instruction
from acestep_pack.acestep_core.flow.song_run import SongRun
from acestep_pack.acestep_core.flow.stage_plan import StagePlan
from acestep_pack.acestep_core.flow.stages import Stage
from acestep_pack.acestep_core.models.condition import Condition
from acestep_pack.acestep_core.models.kept import Kept, context
from acestep_pack.acestep_core.models.reference import Reference
from acestep_pack.acestep_core.models.source import CODES, SILENCE, SOURCE, EditSource, Morph, Variation
from acestep_pack.acestep_core.models.velocity import prepare
from acestep_pack.acestep_core.prompt import TEXT_TO_MUSIC
from acestep_pack.acestep_core.spec import PUBLISHED_LATENTS
from core_tests.golden_cases import (
    CASES,
    FORWARD,
    LAYOUTS,
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
    *("lm_score", "dtw", "alignment", "alignment_model"),
    *("planner_prompts", "planner_tables", "planner_trace", "planner_sampling", "merge"),
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


def test_every_kind_is_known():
    assert {case["kind"] for case in CASES} <= {*OTHER_KINDS, *RUNS, "instructions", "splice"}


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
        return EditSource(**given, shows=SILENCE)
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


def steps_of(case, stage, source, condition, kept):
    """The steps of a run as a cascade makes it."""
    params, variation = case["params"], None
    if "retake_variance" in params:
        variation = Variation(params["retake_variance"], params["retake_seed"][0])
    plan = StagePlan(stage.times, stage.solver, stage.guidance)
    reference, shift = Reference(source=source, variation=variation), params.get("shift", 1.0)
    song = SongRun([plan], reference, params["noise_seeds"], source.latents.shape[1], source.frames, shift)
    (part,) = song.parts
    stage = Stage(stage.model, times=part.plan.times, solver=stage.solver, guidance=stage.guidance)
    return song.play(replace(part, kept=kept), stage, song.latents(), condition)


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


def context_source(case, tensors, silent):
    """The source that our own types make of one case of contexts.json: at the original's frames."""
    task, (kind, first, last), frames = case["task"], case["span"], case["frames"]
    if case["n_codes"]:
        return EditSource(silent[..., :1], frames, shows=CODES, codes=tensors["in.codes"][None, :, None])
    if "in.source_latents" not in tensors:
        return EditSource(silent, frames, shows=SILENCE)
    latents = time_last(tensors["in.source_latents"][None])
    if kind == "full" or (task == "lego" and (first, last) == (0, frames)):
        return EditSource(latents, frames, shows=CODES if case["is_cover"] else SOURCE)
    window = torch.zeros(1, frames, dtype=torch.bool)
    window[:, first:last] = True
    return EditSource(latents, frames, window=window, keeps=task == "repaint")


def context_cases():
    return [
        pytest.param(entry, case, id=f"{case['index']}-{case['task']}")
        for entry in CASES
        if entry["id"] == "editing/contexts"
        for case in entry["params"]["cases"]
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("entry, case", context_cases())
def test_context(load, entry, case, layout):
    model = load(entry, layout)
    prefix = f"{case['index']}."
    tensors = {name.removeprefix(prefix): value for name, value in tensors_of(entry).items() if name.startswith(prefix)}
    silent = model.silent(case["frames"])
    source = context_source(case, tensors, silent)
    shown, mask = source.context(silent, source.hints(model) if source.shows == CODES else None).chunk(2, dim=1)
    expected = time_last(tensors["out.src_latents"])
    if "out.hints" in tensors:
        expected = time_last(tensors["out.hints"])
    if case["is_cover"] and not case["n_codes"]:  # the original makes the hints of a cover later, in the model
        assert_near(source.filled(silent), expected, FORWARD)
    else:
        assert_near(shown, expected, FORWARD)
    if case["chunk_mask_mode"] == "explicit":  # "auto" is ones by mistake, see tasks of repaint
        assert torch.equal(mask[:, 0], tensors["out.chunk_mask"].float())


def has_window(case):
    return case["task"] == "repaint" and case["frames"] != case["span"][2] - case["span"][1]


@pytest.mark.parametrize("entry, case", [one for one in context_cases() if has_window(one.values[1])])
def test_our_windows_are_the_originals_or_a_frame_wider(entry, case):
    start, end, seconds = case["start"], case["end"], case["source_seconds"]
    end = seconds if end < 0 else end
    inside = (max(start, 0.0), min(end, seconds))
    edit = Edit("repaint", regions=(inside,)) if start >= 0 and end <= seconds else None
    if edit is None:
        edit = Edit("extend", before=max(0.0, -start), after=max(0.0, end - seconds))
    spec, samples = PUBLISHED_LATENTS, torch.full((1, 2, round(seconds * 48000)), 0.1)
    latents = torch.zeros(1, 64, -(-samples.shape[-1] // 1920))
    source = prepared.prepare(edit, SourceMusic(latents, Waveform(samples, 48000)), spec)
    ours, (_, first, last) = source.window[0].nonzero().flatten(), case["span"]
    if edit.task == "repaint":
        assert first - 1 <= int(ours[0]) <= first and last <= int(ours[-1]) + 1 <= last + 1
        assert source.frames == case["frames"]
    else:  # the source stays on its own frames, and only what is outside it is made
        assert len(ours) <= last - first + 1 and abs(source.frames - case["frames"]) <= 1


@pytest.mark.parametrize(
    "entry", [case for case in CASES if case["kind"] == "instructions"], ids=lambda case: case["id"]
)
def test_instructions(entry):
    table = json.loads((entry["root"] / entry["json"]).read_text(encoding="utf-8"))
    assert tuple(table["track_names"]) == TRACKS
    for row in table["instructions"]:
        name, tracks = row["task"].removesuffix("-nofsq"), tuple(row.get("tracks", ()))
        made = TEXT_TO_MUSIC if name == "text2music" else instruction(TASKS[name], tracks)
        assert made == row["text"], row


@pytest.mark.parametrize("entry", cases("splice"))
def test_seams(entry):
    tensors, params = tensors_of(entry), entry["params"]
    for number, mask in enumerate(params["soft_masks"]):
        window = torch.zeros(1, mask["frames"], dtype=torch.bool)
        window[:, mask["start"] : mask["end"]] = True
        shares = Kept(torch.zeros(1, 1, mask["frames"]), window, blend_frames=mask["crossfade"])._shares()
        assert_near(shares, tensors[f"out.soft.{number}"], FORWARD)
    for mode in params["modes"]:
        if mode["mode"] == "balanced":
            assert prepared.blend_frames(mode["strength"], PUBLISHED_LATENTS) == mode["blend_frames"]
            assert prepared.crossfade_seconds(mode["strength"]) == pytest.approx(max(mode["wav_crossfade"], 0.01))
    for number, splice in enumerate(params["splices"]):
        check_splice(tensors, number, splice)


def check_splice(tensors, number, splice):
    made, source = tensors["in.made"], tensors["in.source"]
    length, fade = made.shape[-1], round(splice["crossfade"] * 48000)
    first, last = (min(round(splice[name] * 48000), length) for name in ("start", "end"))
    ours = Splice(Waveform(source, 48000), 0, length, regions=((first, last),), fade=fade, outside="source")
    share = ours.shares(ramps_outside=True)
    assert_near(share * made + (1 - share) * source, tensors[f"out.{number}"], FORWARD)
    untouched = torch.ones(length, dtype=torch.bool)  # by our own ramps, which lie inside
    untouched[first:last] = False
    assert torch.equal(ours(Waveform(made, 48000)).samples[..., untouched], source[..., untouched])
