"""The shipped workflows as files: their order, their layout, and that they run with what the pack ships."""

import json
from itertools import combinations

import pytest
from acestep_pack.acestep_core.lora.find import EMBEDDED_FOLDER
from comfyui_tests.install import ROOT

FILES = sorted((ROOT / "workflows").glob("*.json"))
WORKFLOWS = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in FILES}
TITLE = 30  # pixels that a node's title takes above its position
EMBEDDED = ("tiny-", "auto")  # how names of embedded models begin

each_workflow = pytest.mark.parametrize("name", WORKFLOWS)


def of_type(name: str, node_type: str) -> list[dict]:
    return [node for node in WORKFLOWS[name]["nodes"] if node["type"] == node_type]


def notes(name: str) -> str:
    return " ".join(node["widgets_values"][0] for node in of_type(name, "MarkdownNote"))


def test_they_are_numbered_in_the_order_in_which_one_learns_them():
    assert [int(name[:2]) for name in WORKFLOWS] == list(range(1, len(WORKFLOWS) + 1))
    sizes = [len(WORKFLOWS[name]["nodes"]) - len(of_type(name, "MarkdownNote")) for name in WORKFLOWS]
    assert sizes[0] == min(sizes[:5])


@each_workflow
def test_every_workflow_explains_itself(name):
    assert len(notes(name)) > 80


@each_workflow
def test_a_clip_is_to_be_replaced(name):
    """Where there is an example, a note says what to put in its place; there is never a file that others lack."""
    assert of_type(name, "LoadAudio") == []
    if of_type(name, "AceStepExampleClip"):
        assert "Load Audio" in notes(name)


def test_the_example_clip_is_used():
    assert sum(bool(of_type(name, "AceStepExampleClip")) for name in WORKFLOWS) >= 3


@each_workflow
def test_all_that_is_loaded_is_shipped(name):
    for node in of_type(name, "AceStepApplyLora"):
        adapter = node["widgets_values_named"]["adapter"]
        trained = next(socket for socket in node["inputs"] if socket["name"] == "trained")["link"]
        assert (EMBEDDED_FOLDER / adapter).is_file() or (adapter == "none" and trained), adapter
    for node in WORKFLOWS[name]["nodes"]:
        if node["type"].startswith("AceStepLoad"):
            values = node["widgets_values_named"]
            chosen = {values[key] for key in ("l", "m", "s", "model", "text_encoder", "vocoder") if key in values}
            assert all(value.startswith(EMBEDDED) for value in chosen), node["type"]


@each_workflow
def test_no_node_lies_over_another(name):
    for one, other in combinations(map(box, WORKFLOWS[name]["nodes"]), 2):
        apart = any(
            one[axis] + one[axis + 2] <= other[axis] or other[axis] + other[axis + 2] <= one[axis] for axis in (0, 1)
        )
        assert apart, (one, other)


def box(node):
    (left, top), (width, height) = node["pos"], node["size"]
    return left, top - TITLE, width, height + TITLE


def test_one_opens_as_a_page_and_shows_a_song():
    (name,) = [name for name, workflow in WORKFLOWS.items() if workflow["extra"].get("linearMode")]
    page, nodes = WORKFLOWS[name]["extra"]["linearData"], {node["id"]: node for node in WORKFLOWS[name]["nodes"]}
    for node_id, widget, *_ in page["inputs"]:
        assert widget in nodes[node_id]["widgets_values_named"]
    assert [widget for _, widget, *_ in page["inputs"]] == ["caption", "lyrics", "seconds", "seed"]
    assert [nodes[node_id]["type"] for node_id in page["outputs"]] == ["AceStepSaveAudio"]
