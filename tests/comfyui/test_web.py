"""The pack's own widgets in the real front ends: strips, sockets, texts of nodes, and the tools of lyrics."""

import os
from pathlib import Path

import pytest
from acestep_pack.acestep_core.checkpoints.checkpoint import read_checkpoint
from comfyui_tests.install import ROOT

EDGES = read_checkpoint(ROOT / "acestep_core" / "tiny" / "m").defaults.boundaries  # where tiny-m begins and ends

pytestmark = pytest.mark.slow

WORKFLOW = sorted((ROOT / "workflows").glob("*.json"))[0]
SCRIPT = Path(__file__).with_name("use_widgets.mjs")
COMBINATIONS = [("pinned", "classic"), ("newest", "nodes 2.0")]
if os.environ.get("ACESTEP_RUN_ALL"):
    COMBINATIONS.append(("pinned", "nodes 2.0"))
LINKS_OF_CORE = "input.link is deprecated"  # once a page, out of the front end's own reading of a workflow


@pytest.fixture(scope="module", params=COMBINATIONS, ids=", ".join)
def used(request, browser):
    """What use_widgets.mjs reports."""
    frontend, renderer = request.param
    comfy = request.getfixturevalue("server" if frontend == "pinned" else "newest_server").client
    comfy.clear_history()
    options = ["--do", str(SCRIPT), *(["--nodes2"] if renderer == "nodes 2.0" else [])]
    report = browser.open(comfy.url, WORKFLOW, options=options)[WORKFLOW.name]
    assert report["pageErrors"] == report["consoleErrors"] == report["httpErrors"] == []
    return report["done"]


def words(stages):
    """First line of each stage's strip: where it begins and ends."""
    return {slot: stage["words"].splitlines()[0].split(" · ")[0] for slot, stage in stages.items()}


def test_a_strip_follows_bypass(used):
    begin, end = EDGES
    assert words(used["opened"]) == {"L": f"1 → {begin}", "M": f"{begin} → {end}", "S": f"{end} → 0"}
    assert words(used["bypassed"]) == {"L": f"1 → {begin}", "M": "bypassed", "S": f"{begin} → 0"}
    assert words(used["runs again"]) == words(used["opened"])


def test_a_seed_is_shown_where_it_counts_and_keeps_its_value(used):
    assert {slot: stage["seed"] for slot, stage in used["opened"].items()} == {"L": True, "M": False, "S": False}
    assert len({stage["seedValue"] for stage in used["opened"].values()}) == 1


def test_custom_begins_with_auto_and_can_be_dragged(used):
    assert used["opened"]["M"]["ends"] == [None, None]
    assert used["custom"]["M"]["ends"] == list(EDGES)
    start, end = used["dragged"]
    assert abs(start - 0.6) < 0.02 and end == EDGES[1]


def test_each_kind_of_socket_has_a_colour_of_its_own(used):
    colours = used["colours"]
    assert all(len(set(three)) == 1 and three[0].startswith("#") for three in colours.values()), colours
    assert len({three[0] for three in colours.values()}) == len(colours) >= 5


def test_a_report_is_plain_text_that_can_be_selected(used):
    assert used["reported"] == {"text": "<b>bold</b> ![x](y)\nsecond line", "elements": 0}
    assert used["selected"] == used["reported"]["text"]


def test_reports_come_back_and_go_with_the_outputs(used):
    gone, kept = used["restored"]
    assert gone == {"text": "", "hidden": True}
    assert kept["text"] == "kept by the history" and not kept["hidden"]


def test_sections_are_inserted_at_the_cursor_and_tokens_are_counted(used):
    assert used["lyrics"]["lyrics"] == "[Verse]\nla la\n\n[Chorus]\n"
    assert used["lyrics"]["counter"].endswith(" of 2,048 tokens")


def test_every_widget_of_every_node_is_saved_with_the_workflow(used):
    assert used["every"]["lost"] == [] and used["every"]["widgets"] > 300


def test_no_deprecated_part_of_the_front_end_is_used(used):
    assert [text for text in used["warnings"] if "deprecated" in text and LINKS_OF_CORE not in text] == []
