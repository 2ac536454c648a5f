"""Workflows and prompts saved by earlier versions of the pack, in a running ComfyUI of today.

They are opened in the real front end and validated by the server; none is run.
"""

import json

import pytest
from comfyui_tests.install import ROOT

pytestmark = pytest.mark.slow

FOLDER = ROOT / "tests" / "compat" / "workflows"
FILES = sorted(FOLDER.glob("*.json"))
NAMES = [path.name for path in FILES]


@pytest.fixture(scope="module")
def opened(comfy, browser):
    """What the front end says about each workflow, by its name."""
    comfy.clear_history()
    return browser.open(comfy.url, *FILES, timeout=600)


def queued(name):
    """The prompt that the front end of that time made of a workflow."""
    return json.loads((FOLDER / "api" / name).read_text(encoding="utf-8"))


def refusal(comfy, prompt):
    answer = json.loads(comfy.post("/acestep-tests/validate", prompt))
    return None if answer["valid"] and not answer["node_errors"] else answer


def test_the_server_refuses_what_is_wrong(comfy):
    prompt = queued(NAMES[0])
    node_id, song = next(item for item in prompt.items() if item[1]["class_type"] == "AceStepSong")
    song["inputs"]["seconds"] = -1
    assert node_id in refusal(comfy, prompt)["node_errors"]


@pytest.mark.parametrize("name", NAMES)
def test_saved_prompts_are_accepted(name, comfy):
    assert refusal(comfy, queued(name)) is None


@pytest.mark.parametrize("name", NAMES)
def test_saved_workflows_open_with_their_values(name, opened, comfy):
    report = opened[name]
    assert (report["missing"], report["invalid"], report["pageErrors"]) == ([], [], [])
    for node_id, node in queued(name).items():
        now = report["api"][node_id]
        assert now["class_type"] == node["class_type"]
        assert {key: now["inputs"].get(key) for key in node["inputs"]} == node["inputs"], (node_id, node["class_type"])
    assert refusal(comfy, report["api"]) is None
