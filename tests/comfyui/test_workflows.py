"""Every shipped workflow: opened in the real front end, converted there, run to its end, and listened to."""

import json

import pytest
from comfyui_tests import material
from comfyui_tests.install import ROOT
from comfyui_tests.listening import hear

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
NAMES = [path.name for path in WORKFLOWS]
WHOLE = "text_to_music_cascade.json"  # the others make shorter and fewer songs here, and train for fewer steps


@pytest.fixture(scope="session")
def opened(comfy, browser):
    """What the front end says about each workflow, by its name; clips that they load are uploaded before."""
    for path in WORKFLOWS:
        for clip in _clips(json.loads(path.read_text(encoding="utf-8"))):
            comfy.upload(clip, material.clip(12.0))
    comfy.clear_history()  # the front end cannot read prompts that hold what JSON has no word for
    return browser.open(comfy.url, *WORKFLOWS, timeout=60 + 60 * len(WORKFLOWS))


def _clips(workflow):
    return {node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "LoadAudio"}


def test_there_are_workflows():
    assert WORKFLOWS


@pytest.mark.parametrize("name", NAMES)
def test_workflow_has_a_picture(name):
    picture = (ROOT / "workflows" / name).with_suffix(".jpg")
    assert picture.read_bytes()[:3] == b"\xff\xd8\xff"


@pytest.mark.parametrize("name", NAMES)
def test_workflow_is_offered_as_a_template(name, comfy):
    offered = comfy.get_json("/workflow_templates")
    assert name.removesuffix(".json") in offered["acestep-cascade"]


@pytest.mark.parametrize("name", NAMES)
def test_workflow_opens_in_the_front_end(name, opened):
    report = opened[name]
    assert report["missing"] == []
    assert report["invalid"] == []
    errors = {key: report[key] for key in ("pageErrors", "consoleErrors", "httpErrors")}
    assert errors == {key: [] for key in errors}


@pytest.mark.parametrize("name", NAMES)
def test_workflow_runs_and_is_heard(name, opened, comfy, server):
    prompt = opened[name]["api"] if name == WHOLE else _shortened(opened[name]["api"])
    run = comfy.run(prompt, timeout=900)
    assert run.succeeded, run.error
    saved = [node_id for node_id, node in prompt.items() if node["class_type"] == "AceStepSaveAudio"]
    assert saved
    for file in (file for node_id in saved for file in run.files(node_id)):
        sound = hear(comfy.view(file))
        assert min(abs(sound.seconds - seconds) for seconds in _asked_seconds(prompt)) < 0.1
        assert not sound.is_silent_in_parts()


MOST = {"AceStepSong": ("seconds", 15), "AceStepEmptyLatent": ("batch_size", 2), "AceStepTrainLora": ("steps", 6)}


def _shortened(prompt):
    for node in prompt.values():
        if node["class_type"] in MOST:
            setting, most = MOST[node["class_type"]]
            node["inputs"][setting] = min(node["inputs"][setting], most)
    return prompt


def _asked_seconds(prompt):
    return [node["inputs"]["seconds"] for node in prompt.values() if node["class_type"] == "AceStepSong"]
