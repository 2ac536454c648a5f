"""The page of a real server in a real browser: a song from a line, its repaint, and both again after a restart."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from comfyui_tests.browser import find_browser

pytest.importorskip("gradio", reason="gradio is not installed; it comes with the extra [serve]")

ROOT = Path(__file__).resolve().parents[2]
MAIN = "import sys; from acestep_core.cli.parser import main; sys.exit(main())"
WAIT, DESKTOP, PHONE = 900, 1360, 390

pytestmark = pytest.mark.slow


@pytest.fixture
def browser():
    found = find_browser()
    if isinstance(found, str):
        pytest.skip(f"{found}; python tests/comfyui/install.py says how to get it")
    return found


@pytest.fixture
def serve(tmp_path):
    """Starts the server over one folder; (process, its address)."""
    processes = []

    def start(**environment):
        command = [sys.executable, "-c", MAIN, "serve", "--folder", str(tmp_path / "songs"), "--port", "0"]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
        log = (tmp_path / "log.txt").open("a")
        process = subprocess.Popen([*command, "--device", "cpu"], env=env, stdout=-1, stderr=log, text=True)
        processes.append(process)
        return process, process.stdout.readline().split()[0]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def visit(browser, url, *arguments):
    """What tests/server/page.mjs reports of a visit."""
    command = [browser.node, str(Path(__file__).with_name("page.mjs")), url, *map(str, arguments)]
    env = os.environ | {"NODE_PATH": str(browser.modules), "CHROMIUM": browser.chromium}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["errors"] == [] and report["foreign"] == []
    assert report["wide"] <= 0, "the page is wider than its window"
    return report


def test_a_visitor_makes_repaints_and_finds_a_song(browser, serve, tmp_path, wav):
    clip = tmp_path / "clip.wav"
    clip.write_bytes(wav)
    process, url = serve()
    made = visit(browser, url, "make", DESKTOP, clip, *shot("desktop"))
    assert re.search("step|decoding", made["progress"]) and made["upload"] == "clip.wav"
    assert made["recorded"] > 1
    start, end = map(float, made["regions"].split("-"))
    assert start == pytest.approx(3, abs=0.5) and end == pytest.approx(5, abs=0.5)
    beats = [(edge - made["beats"]["first"]) / made["beats"]["beat"] for edge in (start, end)]
    assert beats == pytest.approx([round(beat) for beat in beats], abs=0.01), "the edges are not on beats"
    process.terminate()
    process.wait(60)

    _, url = serve()
    found = visit(browser, url, "return", PHONE, clip, *shot("phone"))
    assert found["count"] == "2 songs" and "repaint" in found["tasks"]
    assert found["clips"] == "clips: 1, labelled: 1"
    assert "Traceback" not in (tmp_path / "log.txt").read_text()


def test_a_song_is_played_while_it_is_decoded_and_goes_on_when_it_is_finished(browser, serve, tmp_path):
    _, url = serve()
    made = visit(browser, url, "early", DESKTOP, "", *shot("early"))
    at, is_paused, players = made["early"]
    assert at > 0.2 and is_paused and players == 0, "the early player is there still"
    assert made["wave"][0] > at and made["wave"][1] is False
    assert "Traceback" not in (tmp_path / "log.txt").read_text()


def test_a_visitor_trains_an_adapter_and_makes_a_song_with_it(browser, serve, tmp_path, wav):
    clip = tmp_path / "clip.wav"
    clip.write_bytes(wav)
    _, url = serve(ACESTEP_MODELS=str(tmp_path / "models"))
    made = visit(browser, url, "train", DESKTOP, clip, *shot("train"))
    assert made["clips"] == "clips: 6, labelled: 6" and made["steps"] == 20 and made["state"] == "20 steps"
    assert made["typed"] == ["typed at once", "typed at once"]
    assert made["previews"] == 2 and made["worn"] == ["soft.safetensors:1"]
    assert "Traceback" not in (tmp_path / "log.txt").read_text()


def test_a_planner_labels_clips_and_nothing_that_was_typed_is_lost(browser, serve, tmp_path, wav):
    clip = tmp_path / "clip.wav"
    clip.write_bytes(wav)
    _, url = serve(ACESTEP_MODELS=str(tmp_path / "models"))
    first, second, third, *others = visit(browser, url, "label", PHONE, clip, *shot("label"))["labels"]
    for caption, lyrics, bpm, key in (first, second, *others[:2]):
        assert len(caption) > 10 and lyrics and 30 <= float(bpm) <= 300 and re.search("major|minor", key)
    assert second[1] == "la la" and third == ["my own", "", "", ""]
    assert others[2][0] and others[2][3] == "typed meanwhile"
    assert "Traceback" not in (tmp_path / "log.txt").read_text()


def shot(name):
    """A picture of the visit's end, where ACESTEP_SHOTS names a folder for it."""
    folder = os.environ.get("ACESTEP_SHOTS")
    return [str(Path(folder, f"{name}.png"))] if folder else []
