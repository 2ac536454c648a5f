"""Golden cases: numbers of the original code on tiny models, and those models in every file layout.

A folder of cases holds `cases.json`, which lists them: tests/golden, tests/golden_tasks, or the one that ACESTEP_GOLDEN
names, of either form. Latents lie there as [B, T, C], here time is the last axis.
"""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.flow.guidance import Guidance
from acestep_pack.acestep_core.flow.schedule import TURBO_TIMES, times, turbo_nearest
from acestep_pack.acestep_core.flow.stages import Stage
from acestep_pack.acestep_core.models.semantic_codes import semantic_hints, semantic_tokens
from core_tests.in_diffusers import in_diffusers, pack_condition
from safetensors.torch import load_file, save_file

TESTS = Path(__file__).resolve().parents[1]
NAMED = os.environ.get("ACESTEP_GOLDEN")
FOLDERS = [Path(NAMED).resolve()] if NAMED else [TESTS / "golden", TESTS / "golden_tasks"]
CASES = [
    {**case, "root": root}
    for root in FOLDERS
    for case in json.loads((root / "cases.json").read_text(encoding="utf-8"))["cases"]
]
FORWARD, RUN = 1e-4, 1e-3
LAYOUTS = ("original", "sharded", "diffusers", "comfyui", "all-in-one")
TOKENS = ("audio_tokenizer", "audio_token_detokenizer")


def cases(*kinds):
    return [pytest.param(case, id=case["id"]) for case in CASES if case["kind"] in kinds]


def model_folder(case):
    """That of the case; of a copy of one folder alone, whose models may lie in the other one, that of these tests."""
    path = case.get("model_path", case["model"])
    own = case["root"] / path
    return (own if own.is_dir() else TESTS / "golden_tasks" / path).resolve()


def time_last(tensor):
    return tensor.transpose(1, 2).contiguous()


def tensors_of(case):
    return load_file(case["root"] / case["file"])


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
        in_diffusers(getattr(model, part)).save_pretrained(folder / part)
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


def load_layout(source, layout, folder):
    """The StageModel of an original folder in another layout, which is built in `folder`."""
    path = BUILD[layout](source, folder)
    model = load_stage_model(path, parts=TOKENS)
    return with_window(model, source) if path.suffix else model


# ---- what cases of every form hold -----------------------------------------------------------------------------------


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
    params = case["params"]
    turbo = "turbo" in params.get("sampler", case["obtained_by"].split(".")[0])
    model = replace(model, defaults=replace(model.defaults, valid_times=TURBO_TIMES if turbo else None))
    return Stage(
        model,
        times=table_of(params, tensors, turbo),
        solver=params.get("sampler_mode", "euler"),
        guidance=Guidance() if turbo else guidance_of(params),
        dcw=bool(params.get("dcw_enabled")),
    )
