"""What takes files in the real front ends: regions drawn on Audio Region, moved, snapped, undone, saved, copied,
and shown after a run; clips cropped on LoRA Dataset; a score uploaded on Play Score.
"""

import json
from pathlib import Path

import pytest
from comfyui_tests import material, prompts

pytestmark = pytest.mark.slow

SCRIPTS = [Path(__file__).with_name(name) for name in ("use_regions.mjs", "use_files.mjs")]
COMBINATIONS = [("pinned", "classic"), ("newest", "nodes 2.0")]
SECONDS, BEAT = 60, 0.5  # of the sound, a note in each beat
CLIPS, CLIP_SECONDS = "acestep-tests-crops", 10


@pytest.fixture(scope="module", params=COMBINATIONS, ids=", ".join)
def reports(request, browser, tmp_path_factory):
    """What the two scripts report."""
    frontend, renderer = request.param
    server = request.getfixturevalue("server" if frontend == "pinned" else "newest_server")
    folder = tmp_path_factory.mktemp("graphs")
    name = server.client.upload("acestep-tests-regions.wav", material.clip(SECONDS))
    clips = server.base / "input" / CLIPS
    clips.mkdir(exist_ok=True)
    for number in range(2):
        (clips / f"{number}.wav").write_bytes(material.clip(CLIP_SECONDS))
    for graph, file in ((graph_of_regions(name), "regions.json"), (graph_of_files(), "files.json")):
        (folder / file).write_text(json.dumps(graph))
    options = [word for script in SCRIPTS for word in ("--do", str(script))]
    options += ["--nodes2"] if renderer == "nodes 2.0" else []
    told = browser.open(server.client.url, folder / "regions.json", folder / "files.json", options=options)
    for report in told.values():
        assert report["pageErrors"] == report["consoleErrors"] == report["httpErrors"] == []
    return server, told


def graph_of_regions(name):
    graph = {
        "1": prompts.node("LoadAudio", audio=name),
        "2": prompts.node("AceStepAudioRegion", audio=["1", 0], regions="10-15, bars 26-27"),
        "3": prompts.node("AceStepExampleClip"),
        "4": prompts.node("AceStepAudioRegion", audio=["3", 0], regions="2-4"),
    }
    return titled(graph, {"2": "fed", "4": "run"})


def graph_of_files():
    folder = {"clips": "folder", "clips.folder": CLIPS}
    graph = {
        "1": prompts.node("AceStepLoraDataset", **folder, trigger="", regions=""),
        "2": prompts.node("AceStepPlayScore", score="example", instrument="as written"),
    }
    return titled(graph, {"1": "clips", "2": "score"})


def titled(graph, titles):
    return {key: node | ({"_meta": {"title": titles[key]}} if key in titles else {}) for key, node in graph.items()}


@pytest.fixture(scope="module")
def used(reports):
    return reports[1]["regions.json"]["done"]


@pytest.fixture(scope="module")
def filed(reports):
    return reports[1]["files.json"]["done"]


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


def test_clips_are_cropped_one_after_another(filed):
    assert filed["opened"] == {"options": ["0.wav", "1.wav"], "regions": 0}
    assert cropped(filed["first"]) == {"0.wav": pytest.approx((2, 5), abs=0.2)}
    assert filed["other"] == {"options": ["* 0.wav", "1.wav"], "regions": 0}
    both = cropped(filed["second"])
    assert both["0.wav"] == cropped(filed["first"])["0.wav"] and both["1.wav"] == pytest.approx((6, 9), abs=0.2)
    assert filed["back"] == {"options": ["* 0.wav", "* 1.wav"], "regions": 1}


def test_undo_stays_with_its_clip(filed):
    assert filed["undone"] == filed["second"]


def test_crops_are_saved_with_the_workflow(filed):
    assert filed["reloaded"] == {**filed["back"], "text": filed["second"]}


def cropped(text):
    """Name of a clip -> (start, end) of its one region."""
    parts = (part.split(": ") for part in text.split(" | "))
    return {name: regions(times)[0] for name, times in parts}


def test_a_score_is_uploaded_and_another_file_is_not(reports, filed):
    server, _ = reports
    assert filed["refused"] == "example" and filed["chosen"] == "acestep-tests.mid"
    assert filed["taken"] is True and filed["left"] is False
    written = {path.name: path.read_bytes()[:4] for path in (server.base / "input").iterdir() if path.is_file()}
    assert written["acestep-tests.mid"] == written["dropped.MIDI"] == b"MThd" and "tune.txt" not in written
