"""Every shipped workflow in the real front ends: opened, run to its end there, and listened to.

The front end that ComfyUI pins opens all of them in classic, the newest one every second in Nodes 2.0. Of those that
have a node which none before them has, the newest one runs a few, and the other one the rest. With the environment
variable ACESTEP_RUN_ALL=1 all are opened and run in each pair of front end and renderer.
"""

import json
import os
from collections.abc import Collection
from dataclasses import dataclass

import pytest
from comfyui_tests import install
from comfyui_tests.client import Comfy
from comfyui_tests.install import ROOT
from comfyui_tests.listening import hear
from comfyui_tests.prompts import QUICK_STEPS, STAGES
from comfyui_tests.tasks import edits, refusal

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
NAMES = [path.name for path in WORKFLOWS]
PARSED = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in WORKFLOWS}


def first_with(node_type):
    return next(name for name in NAMES if any(node["type"] == node_type for node in PARSED[name]["nodes"]))


def with_a_new_node():
    seen = set()
    for name in NAMES:
        types = {node["type"] for node in PARSED[name]["nodes"]}
        if types - seen:
            yield name
        seen |= types


WHOLE = NAMES[0]  # the others are made shorter here
TRAINING = first_with("AceStepTrainLora")
APP = next(name for name in NAMES if PARSED[name]["extra"].get("linearMode"))
A_FEW = [first_with("AceStepSpectrogram"), first_with("AceStepReferenceEncode"), TRAINING, APP]
# Front end, renderer -> what is opened there, and what is run.
COMBINATIONS = {
    ("pinned", "classic"): (NAMES, [name for name in with_a_new_node() if name not in A_FEW]),
    ("newest", "nodes 2.0"): (sorted({*NAMES[::2], *A_FEW}), A_FEW),
}
if os.environ.get("ACESTEP_RUN_ALL"):
    others = ("pinned", "nodes 2.0"), ("newest", "classic")
    COMBINATIONS = dict.fromkeys((*COMBINATIONS, *others), (NAMES, NAMES))
SECONDS, CONTINUED_SECONDS = 10, 14  # of shortened songs; one that continues a clip is longer than the clip
TRAINING_STEPS = 6
SOURCES = {"AceStepExampleClip": 12.0, "AceStepPlayScore": 15.9}  # seconds of what comes with the pack


@dataclass(frozen=True)
class Visit:
    """What a front end says about each workflow, by its name, those that it ran, and the server's client."""

    reports: dict[str, dict]
    ran: Collection[str]
    comfy: Comfy


@pytest.fixture(scope="session", params=COMBINATIONS, ids=", ".join)
def visit(request, browser):
    frontend, renderer = request.param
    comfy = request.getfixturevalue("server" if frontend == "pinned" else "newest_server").client
    comfy.clear_history()  # the front end cannot read prompts that hold what JSON has no word for
    comfy.free(unload_models=True, free_memory=True)  # what another renderer ran is run again
    opened, ran = COMBINATIONS[request.param]
    changes = {name: {} if name == WHOLE else shorter(name, f"seen in {renderer}") for name in ran}
    nodes2 = ["--nodes2"] if renderer == "nodes 2.0" else []
    timeout = 60 + 60 * (len(opened) + len(ran))
    files = [path for path in WORKFLOWS if path.name in opened]
    return Visit(browser.open(comfy.url, *files, timeout=timeout, run=changes, options=nodes2), ran, comfy)


def most_seconds(name):
    nodes = PARSED[name]["nodes"]
    continues = any(n["type"] == "AceStepReferenceEncode" and "continuation" in n["widgets_values"] for n in nodes)
    return CONTINUED_SECONDS if continues else SECONDS


def shorter(name, adapter):
    """Shorter and fewer songs in few steps, and a short training, of a name of its own: a finished one would be done at
    once.
    """
    training = {"name": adapter, "steps": TRAINING_STEPS, "preview_every": 3, "measure_every": 2}
    few = {"AceStepSong": {"seconds": most_seconds(name)}, "AceStepEmptyLatent": {"batch_size": 2}}
    steps = {f"AceStepStage{slot.upper()}": {"steps": {"exactly": n}} for slot, n in zip(STAGES, QUICK_STEPS)}
    return few | steps | {"AceStepTrainLora": training}


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


def test_the_front_end_is_the_one_that_is_meant(visit, request):
    frontend, _ = request.node.callspec.params["visit"]
    newest = install.newest_frontend()
    version = install.installed_versions()[install.FRONTEND] if frontend == "pinned" else newest.name.split("-")[1]
    assert {report["frontend"] for report in visit.reports.values()} == {version}


@pytest.mark.parametrize("name", NAMES)
def test_workflow_opens_in_the_front_end(name, visit):
    if name not in visit.reports:
        pytest.skip("the other front end opens it")
    report = visit.reports[name]
    assert report["missing"] == []
    assert report["invalid"] == []
    errors = {key: report[key] for key in ("pageErrors", "consoleErrors", "httpErrors")}
    assert errors == {key: [] for key in errors}


def test_nothing_deprecated_is_used(visit):
    said = {text for report in visit.reports.values() for text in report["deprecations"]}
    assert {text for text in said if "output.links" in text} == set()  # core itself still uses other such things


def test_app_opens_as_a_page(visit):
    offered = PARSED[APP]["extra"]["linearData"]["inputs"]
    assert len(visit.reports[APP]["page"]) == len(offered) > 0


def test_workflows_run_there_and_make_sound(visit):
    for name in visit.ran:
        run, prompt = (visit.reports[name][key] for key in ("run", "api"))
        if why := refusal(prompt):
            assert run["status"] == "error" and why in json.dumps(run), (name, run)
            continue
        assert run["status"] == "success", (name, run)
        assert run["overlaps"] == [], name
        saved = [node_id for node_id, node in prompt.items() if node["class_type"] == "AceStepSaveAudio"]
        assert saved, name
        for file in (file for node_id in saved for file in run["outputs"][node_id]["audio"]):
            sound = hear(visit.comfy.view(file))
            asked = asked_seconds(prompt, name)  # nothing where a planner chose the length
            assert min((abs(sound.seconds - seconds) for seconds in asked), default=0) < 0.1 and sound.seconds > 9, name
            assert not sound.is_silent_in_parts(), name


def asked_seconds(prompt, name):
    """Lengths that the files of a workflow may have: of an edit, that of its source and of the music around it."""
    asked = [node["inputs"]["seconds"] for node in prompt.values() if node["class_type"] == "AceStepSong"]
    asked = asked if name == WHOLE else [min(most_seconds(name), seconds) for seconds in asked]
    sources = [SOURCES[node["class_type"]] for node in prompt.values() if node["class_type"] in SOURCES] or asked
    around = [sum(node["inputs"].get(side, 0) for side in ("before", "after")) for node in edits(prompt)]
    if any(node["class_type"] == "AceStepEncodeAudio" for node in prompt.values()):
        around = [0]  # the music of a clip, made again
    return [seconds + more for seconds in sources for more in around] or asked


def test_the_curve_and_the_previews_of_a_training_are_seen(visit):
    if TRAINING not in visit.ran:
        pytest.skip("the other front end runs it")
    seen = [one for one in visit.reports[TRAINING]["run"]["seen"] if one["widget"] == "learning"]
    live, last = [one["text"] for one in seen], seen[-1]
    done = f"step {TRAINING_STEPS} of {TRAINING_STEPS}"
    assert any(f"of {TRAINING_STEPS}" in text and done not in text for text in live), live
    assert "loss" in last["text"] and "held out" in last["text"] and done in last["text"]
    assert last["buttons"] >= 3 and last["drawn"] > 100
