"""Audio Region in the real front ends: regions drawn, moved, snapped, undone, saved, copied, and shown after a run."""

import json
from pathlib import Path

import pytest
from comfyui_tests import material, prompts

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("use_regions.mjs")
COMBINATIONS = [("pinned", "classic"), ("newest", "nodes 2.0")]
SECONDS, BEAT = 60, 0.5  # of the sound, a note in each beat


@pytest.fixture(scope="module", params=COMBINATIONS, ids=", ".join)
def used(request, browser, tmp_path_factory):
    """What use_regions.mjs reports."""
    frontend, renderer = request.param
    comfy = request.getfixturevalue("server" if frontend == "pinned" else "newest_server").client
    name = comfy.upload("acestep-tests-regions.wav", material.clip(SECONDS))
    graph = {
        "1": prompts.node("LoadAudio", audio=name),
        "2": prompts.node("AceStepAudioRegion", audio=["1", 0], regions="10-15, bars 26-27"),
        "3": prompts.node("AceStepExampleClip"),
        "4": prompts.node("AceStepAudioRegion", audio=["3", 0], regions="2-4"),
    }
    for node, title in (("2", "fed"), ("4", "run")):
        graph[node]["_meta"] = {"title": title}
    file = tmp_path_factory.mktemp("regions") / "regions.json"
    file.write_text(json.dumps(graph))
    options = ["--do", str(SCRIPT), *(["--nodes2"] if renderer == "nodes 2.0" else [])]
    report = browser.open(comfy.url, file, options=options)[file.name]
    assert report["pageErrors"] == report["consoleErrors"] == report["httpErrors"] == []
    return report["done"]


def regions(text):
    """(start, end) of each region that is written in seconds."""
    pairs = [part.split("-") for part in text.split(", ") if not part.startswith("bars")]
    return [(float(start), float(end)) for start, end in pairs]


def on_beats(first, *times):
    return all(abs((time - first) / BEAT - round((time - first) / BEAT)) < 0.03 for time in times)


def test_the_sound_and_its_regions_are_drawn_before_anything_runs(used):
    opened = used["opened"]
    assert opened["drawn"] > 1000 and opened["regions"] == 2 and opened["lines"] > 10
    assert "120 bpm" in opened["words"] and "1:00.0" in opened["words"]
    assert opened["text"] == "10-15, bars 26-27"


def test_a_drag_draws_moves_and_resizes_on_beats(used):
    typed, drawn = regions(used["drawn"])
    assert typed == (10, 15) and drawn == pytest.approx((20, 26), abs=0.4)
    first = drawn[0]
    moved = regions(used["moved"])[1]
    assert moved == pytest.approx((30, 36), abs=0.6) and moved[1] - moved[0] == pytest.approx(
        drawn[1] - drawn[0],
        abs=0.002,  # times are written in whole milliseconds
    )
    resized = regions(used["resized"])[1]
    assert resized == pytest.approx((moved[0], 40), abs=0.4)
    assert on_beats(first, drawn[1], *moved, *resized)
    assert all(used[step].endswith("bars 26-27") for step in ("drawn", "moved", "resized"))


def test_alt_places_a_region_anywhere(used):
    assert not on_beats(regions(used["resized"])[1][0], regions(used["free"])[1][0])


def test_undo_redo_and_keys(used):
    assert used["undone"] == used["resized"] and used["redone"] == used["free"]
    before, after = regions(used["undone"])[1], regions(used["nudged"])[1]
    assert after == pytest.approx((before[0] + BEAT, before[1] + BEAT), abs=0.01)
    assert used["deleted"] == "10-15, bars 26-27"
    assert used["nodes"] == 4  # no key of the waveform's reached the graph


def test_the_wheel_zooms_the_waveform_and_not_the_graph(used):
    start, _, span, _ = used["zoomed"]["view"]
    assert 0 < start < 5 < start + span < SECONDS / 2
    assert len(set(used["scale"])) == 1


def test_a_text_is_read_and_what_is_no_region_told(used):
    assert "what is no region; write 10-20" in used["typed"]


def test_a_copy_has_the_regions_and_its_own_waveform(used):
    assert used["copied"] == {"copied": "1-2, 3-end", "original": "1-2, 3-end", "waveforms": 1}


def test_regions_are_saved_with_the_workflow(used):
    assert used["reloaded"]["text"] == "1-2, 3-end"
    assert used["reloaded"]["regions"] == 2 and used["reloaded"]["drawn"] > 1000


def test_any_sound_is_drawn_after_a_run(used):
    assert "press Run" in used["waits"]["words"] and used["waits"]["drawn"] == used["waits"]["regions"] == 0
    assert "0:12.0" in used["ran"]["words"] and used["ran"]["drawn"] > 1000 and used["ran"]["regions"] == 1
