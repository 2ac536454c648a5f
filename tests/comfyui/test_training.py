"""Adapters trained by a running ComfyUI: what comes of it, Cancel, and the base."""

import numpy as np
import pytest
from comfyui_tests import material, prompts
from comfyui_tests.listening import hear

EVENT, TEXT_EVENT = "acestep-cascade.training", "acestep-cascade.text"
STEPS = 6
SONG = ["song", "text", "latent", "stage", "vocode", "save"]


@pytest.fixture(scope="module")
def clips(server):
    """A folder below ComfyUI's input folder."""
    folder = server.base / "input" / "acestep-tests-clips"
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / f"{number}.wav").write_bytes(material.clip(4.0 + number))
        (folder / f"{number}.txt").write_text("caption: plucked notes\nbpm: 120\nkey: A major\n")
    return folder.name


@pytest.fixture
def prompt(clips):
    """Trains an adapter of tiny-s and plays a song with it. Nodes: model, dataset, train, lora, info, curve ..."""
    played = prompts.text_to_music()
    song = {name: played[name] for name in ("song", "text", "latent", "vocode", "save")}
    memory = {"memory": "custom", "memory.rank": 4, "memory.crop_seconds": 3.0, "memory.frugal": False}
    how = prompts.TRAINING | {"steps": STEPS, "preview_every": 3, "measure_every": 2, "hold_out": 0.25} | memory
    links = {"model": ["model", 0], "text_encoder": ["encoder", 0], "vocoder": ["vocoder", 0]}
    made = song | {
        "model": prompts.node("AceStepLoadStageModel", model="tiny-s", dtype="auto"),
        "encoder": prompts.node("AceStepLoadTextEncoder", text_encoder="tiny-text", dtype="auto"),
        "vocoder": prompts.node("AceStepLoadVocoder", vocoder="tiny-vocoder"),
        "dataset": prompts.node("AceStepLoraDataset", **{"clips": "folder", "clips.folder": clips}, trigger="zzpluck"),
        "train": prompts.node("AceStepTrainLora", **links, dataset=["dataset", 0], **how),
        "lora": prompts.node(
            "AceStepApplyLora", model=["model", 0], trained=["train", 0], adapter="gone.safetensors", strength=1.0
        ),
        "info": prompts.node("AceStepLoraInfo", trained=["train", 0], adapter="none"),
        "curve": prompts.node("PreviewImage", images=["train", 2]),
        "stage": prompts.node(
            "AceStepStageS", model=["lora", 0], text=["text", 0], latent=["latent", 0], seed=3, **ALONE
        ),
    }
    links = {"text": {"text_encoder": ["encoder", 0]}, "latent": {"vocoder": ["vocoder", 0]}}
    return prompts.changed(made, **links, vocode={"vocoder": ["vocoder", 0], "latent": ["stage", 0]})


ALONE = prompts.AUTO_STAGE | prompts.stretch(1.0, 0.0, steps=3, guidance="none")


def named(prompt, name, **other):
    return prompts.changed(prompt, train={"name": name, **other})


def bare(prompt, seed=3):
    """The song alone, without the adapter."""
    nodes = {name: prompt[name] for name in ("model", "encoder", "vocoder", *SONG)}
    return prompts.changed(nodes, stage={"model": ["model", 0], "seed": seed})


def samples(comfy, run):
    assert run.succeeded, run.error
    return hear(comfy.view(run.files("save")[0])).samples


def test_a_style_is_learnt_and_worn_and_the_base_stays_as_it_was(comfy, server, prompt):
    prompt = named(prompt, "worn")
    before = samples(comfy, comfy.run(bare(prompt)))
    run = comfy.run(prompt)
    after = samples(comfy, run)
    assert not np.array_equal(after, before)
    # The models are those that were taught upon; a song by the way makes ComfyUI play this one anew.
    comfy.run(bare(prompt, seed=4))
    again = comfy.run(prompts.changed(bare(prompt), save={"filename_prefix": "tests/again"}))
    assert {"model", "encoder", "vocoder"} <= again.cached
    assert np.array_equal(samples(comfy, again), before)

    (view,) = run.outputs["train"]["acestep_training"]
    assert view["step"] == view["of"] == STEPS and len(view["points"]) == STEPS
    assert all(hear(comfy.view(file)).seconds > 2 for file in view["previews"]) and len(view["previews"]) >= 2
    assert comfy.view(run.files("curve", "images")[0])[:4] == b"\x89PNG"
    assert run.progress_of("train")[-1] == (STEPS, STEPS)
    assert any("left" in text and "loss" in text for text in run.texts_of("train"))
    assert "4 clips, 0.4 minutes" in "\n".join(run.lines_of("dataset"))
    assert "zzpluck" in "\n".join(run.lines_of("info"))
    assert (server.base / "models" / "loras" / "worn.safetensors").is_file()
    offered = comfy.get_json("/object_info/AceStepApplyLora")["AceStepApplyLora"]["input"]["required"]["adapter"]
    assert "worn.safetensors" in offered[1]["options"]


def test_cancel_keeps_what_was_learnt_and_run_goes_on_there(comfy, server, prompt):
    only = {name: node for name, node in prompt.items() if name in ("model", "encoder", "vocoder", "dataset", "train")}

    def cancel_after_a_step(event):
        if event.type == EVENT and not asked:
            asked.append(event.data["step"])
            comfy.interrupt()

    asked = []
    run = comfy.run(named(only, "stopped", steps=400), on_event=cancel_after_a_step)
    lines = [event.data["lines"] for event in run.events if event.type == TEXT_EVENT and event.data["node"] == "train"]
    assert run.interrupted and "saved at step" in lines[-1][-1]
    kept = int(lines[-1][-1].split()[3])
    assert asked[0] <= kept <= asked[0] + 20 and not _adapter(server, "stopped").exists()
    on = comfy.run(named(only, "stopped", steps=400), on_event=lambda event: _stop_at(comfy, event, kept + 3))
    first = next(event.data["step"] for event in on.events if event.type == EVENT)
    assert first == kept + 1


def _adapter(server, name):
    return server.base / "models" / "loras" / f"{name}.safetensors"


def _stop_at(comfy, event, step):
    if event.type == EVENT and event.data["step"] >= step:
        comfy.interrupt()


def test_training_again_is_cached_and_other_settings_do_not_replace_it(comfy, server, prompt):
    only = {name: node for name, node in prompt.items() if name in ("model", "encoder", "vocoder", "dataset", "train")}
    assert comfy.run(named(only, "again")).succeeded
    assert comfy.run(named(only, "again")).executed == []
    kept = _adapter(server, "again").read_bytes()
    refused = comfy.run(named(only, "again", seed=5))
    assert "other seed" in refused.error and refused.failed_node == "train"
    assert _adapter(server, "again").read_bytes() == kept
