"""Songs made by a running ComfyUI: caching, Cancel, mistakes, memory, and core's nodes on both ends."""

import contextlib
import io
import json
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import pytest
from comfyui_tests import material, prompts
from comfyui_tests.client import Refused
from comfyui_tests.listening import hear, likeness

AFTER_TEXT = ["l", "m", "s", "vocode", "save"]


def song_of(comfy, prompt):
    """The one file that the prompt's save node writes, heard."""
    run = comfy.run(prompt)
    assert run.succeeded, run.error
    (file,) = run.files("save")
    return hear(comfy.view(file))


# ---- text to music ---------------------------------------------------------------------------------------------------


def test_text_becomes_a_song_of_the_asked_length(comfy):
    sound = song_of(comfy, prompts.text_to_music(seconds=10.0, quick=False))
    assert sound.seconds == pytest.approx(10.0, abs=0.1)
    assert sound.samples.shape[1] == 2
    assert not sound.is_silent_in_parts()
    assert np.abs(sound.samples).max() <= 1.0


def test_texts_go_to_the_page_that_queued_and_stay_in_the_result(comfy):
    with comfy.overheard(seconds=60) as others:
        run = comfy.run(prompts.text_to_music(seed=51))
        others.deadline = time.monotonic() + 1
        heard = []
        with contextlib.suppress(TimeoutError):
            for event in others:
                heard.append(event)
    assert run.succeeded, run.error
    assert any(text.startswith("L 3/3") for text in run.texts_of("l"))
    assert "status" in {event.type for event in heard}
    assert not [event for event in heard if event.type in ("text", "acestep-cascade.text")]
    (line,) = run.lines_of("cascade")
    assert " GB for a song of 10 s, " in line and run.lines_of("l") == []


def test_a_preview_is_kept_when_the_page_asks_for_it(comfy):
    prompt = prompts.text_to_music(seed=52)
    prompt["save"] = prompts.save("vocode", "tests/%AceStepSong.bpm%/kept", preview_only=True)
    run = comfy.run(prompt)
    (file,) = run.files("save")
    (row,) = run.outputs["save"]["acestep_sound"]
    assert file["type"] == "temp" and row["keep"] and row["seed"] == 52 and -60 < row["lufs"] < 0
    given = {"filename": file["filename"], "subfolder": file["subfolder"]}
    kept = json.loads(comfy.post("/acestep-cascade/keep", given))
    assert kept == {"filename": "kept_00001.flac", "subfolder": "tests/0", "type": "output"}
    assert comfy.view(kept) == comfy.view(file)
    again = comfy.run(prompt)  # out of the cache: the same file is played
    assert again.executed == [] and again.files("save") == [file]


def test_the_page_learns_tokens_and_downloads(comfy):
    told = json.loads(comfy.post("/acestep-cascade/tokens", {"lyrics": "[Verse]\nla la", "language": "English"}))
    assert told["lyrics"]["most"] == 2048 and 0 < told["lyrics"]["tokens"] < 40
    (name, *_) = comfy.get_json("/acestep-cascade/download")["absent"]
    assert comfy.get_json("/acestep-cascade/download")["allowed"] == []
    prompt = prompts.changed(prompts.text_to_music(), cascade={"l": "acestep-v15-sft"})
    assert "a workflow alone does not download its" in comfy.run(prompt).error
    assert json.loads(comfy.post("/acestep-cascade/download", {"choice": name})) == {"allowed": [name]}


def test_saved_song_holds_its_prompt(comfy):
    prompt = prompts.text_to_music()
    run = comfy.run(prompt)
    with av.open(io.BytesIO(comfy.view(run.files("save")[0]))) as file:
        tags = {key.lower(): value for key, value in file.metadata.items()}
    assert json.loads(tags["prompt"])["song"]["inputs"]["caption"] == prompt["song"]["inputs"]["caption"]


@pytest.mark.parametrize(
    "choices",
    [
        {"format": "flac", "format.bit_depth": "16"},
        {"format": "wav", "format.bit_depth": "24"},
        {"format": "wav", "format.bit_depth": "32f"},
        {"format": "mp3"},
        {"format": "ogg"},
        {"format": "opus"},
        {"format": "flac", "format.bit_depth": "24", "loudness": "target", "loudness.lufs": -20.0},
    ],
    ids=lambda choices: "-".join(map(str, choices.values())),
)
def test_song_is_saved_in_every_format(comfy, choices):
    prompt = prompts.text_to_music()
    prompt["save"] = prompts.save("vocode", "tests/format", **choices)
    sound = song_of(comfy, prompt)
    assert sound.seconds == pytest.approx(10.0, abs=0.2)
    assert not sound.is_silent_in_parts()


def test_batch_holds_the_songs_of_following_seeds(comfy):
    run = comfy.run(prompts.text_to_music(seed=40, batch_size=2))
    assert run.succeeded, run.error
    first, second = (hear(comfy.view(file)) for file in run.files("save"))
    alone = song_of(comfy, prompts.text_to_music(seed=41))
    assert np.abs(second.samples - alone.samples).max() < 1e-3
    assert np.abs(first.samples - alone.samples).max() > 1e-2


def test_three_stages_of_one_model_are_one_stage(comfy):
    one_model = {slot: "tiny-m" for slot in prompts.STAGES}
    plain = {"guidance": "none", "shift": 3.0}
    # Of four steps with shift 3: t = 1, 0.9, 0.75, 0.5, 0.
    cut = prompts.changed(
        prompts.text_to_music(),
        cascade=one_model,
        l=prompts.stretch(1.0, 0.75, steps=2, **plain),
        m=prompts.stretch(0.75, 0.5, steps=1, **plain),
        s=prompts.stretch(0.5, 0.0, steps=1, **plain),
    )
    whole = prompts.changed(cut, l=prompts.stretch(1.0, 0.0, steps=4, **plain), vocode={"latent": ["l", 0]})
    whole = {node_id: node for node_id, node in whole.items() if node_id not in ("m", "s")}
    assert np.array_equal(song_of(comfy, cut).samples, song_of(comfy, whole).samples)


# ---- caching, progress and Cancel ------------------------------------------------------------------------------------


def test_identical_run_is_taken_from_the_cache(comfy):
    prompt = prompts.text_to_music()
    comfy.run(prompt)
    again = comfy.run(prompt)
    assert again.succeeded
    assert again.executed == []
    assert again.cached == set(prompt)


@pytest.mark.parametrize(("stage", "rerun"), [("l", AFTER_TEXT), ("m", AFTER_TEXT[1:]), ("s", AFTER_TEXT[2:])])
def test_changed_seed_reruns_its_stage_and_what_follows(comfy, stage, rerun):
    prompt = prompts.text_to_music()
    comfy.run(prompt)
    other = comfy.run(prompts.changed(prompt, **{stage: {"seed": 8}}))
    assert other.succeeded, other.error
    assert other.executed == rerun
    assert other.cached == set(prompt) - set(rerun)


def test_stage_tells_its_progress(comfy):
    prompt = prompts.changed(prompts.text_to_music(seed=30), l={"steps": 5})
    progress = comfy.run(prompt).progress_of("l")
    assert progress[-1] == (5, 5)
    assert sorted(progress) == progress


def test_cancel_stops_a_stage_within_a_step(comfy):
    steps = 80
    asked_at = []

    def cancel_after_two_steps(event):
        done, _ = event.progress_of("l") or (0, 0)
        if done >= 2 and not asked_at:
            asked_at.append(done)
            comfy.interrupt()

    prompt = prompts.changed(prompts.text_to_music(seed=31), l={"steps": steps})
    run = comfy.run(prompt, on_event=cancel_after_two_steps)
    assert run.interrupted and not run.succeeded
    assert run.executed[-1] == "l"
    # The step under way ends; another may have ended while the wish to cancel travelled.
    assert max(done for done, _ in run.progress_of("l")) <= asked_at[0] + 2 < steps
    after = comfy.run(prompts.text_to_music(seed=31))
    assert after.succeeded, after.error


# ---- mistakes --------------------------------------------------------------------------------------------------------


def problem(comfy, prompt):
    """What ComfyUI tells the user, whether it refuses the prompt or a node fails."""
    try:
        run = comfy.run(prompt)
    except Refused as exc:
        return str(exc)
    assert not run.succeeded, "it ran"
    assert run.error and "\n" not in run.error, run.error
    return run.error


ELSEWHERE = Path(tempfile.gettempdir())

MISTAKES = {
    "times that do not meet": (
        {"l": prompts.stretch(1.0, 0.5), "m": prompts.stretch(0.3, 0.1)},
        ["t = 0.5", "t = 0.3"],
    ),
    "a stretch that goes backwards": ({"l": prompts.stretch(0.2, 0.6)}, ["0.2", "0.6"]),
    "a picture as a stage model": ({"cascade": {"m": material.FOREIGN}}, [material.FOREIGN]),
    "a damaged stage model": ({"cascade": {"s": material.DAMAGED}}, [material.DAMAGED]),
    "a vocoder as a stage model": ({"cascade": {"m": "tiny-vocoder"}}, ["tiny-vocoder"]),
    "a model outside the models folder": ({"cascade": {"l": "../../secret.safetensors"}}, ["../../secret.safetensors"]),
    "too short a song": ({"song": {"seconds": 9.0}}, ["seconds", "9", "10"]),
    "too long a song": ({"song": {"seconds": 601.0}}, ["seconds", "601", "600"]),
    "no length at all": ({"song": {"seconds": float("nan")}}, ["seconds"]),
    "an impossible tempo": ({"song": {"bpm": 10}}, ["bpm", "10", "30"]),
    "an unknown key": ({"song": {"key": "H minor"}}, ["key", "H minor"]),
    "a file outside the output folder": ({"save": {"filename_prefix": "../../acestep-tests-evil"}}, ["output folder"]),
    "a file anywhere": ({"save": {"filename_prefix": str(ELSEWHERE / "acestep-tests-evil")}}, ["output folder"]),
    "a negative number of steps": ({"l": {"steps": -1}}, ["steps", "-1"]),
    "an unknown solver": ({"l": {"solver": "magic"}}, ["solver", "magic"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_told(comfy, server, mistake):
    inputs, words = MISTAKES[mistake]
    told = problem(comfy, prompts.changed(prompts.text_to_music(seed=50), **inputs))
    assert [word for word in words if word not in told] == [], told
    assert [*server.base.parent.rglob("acestep-tests-evil*"), *ELSEWHERE.glob("acestep-tests-evil*")] == []


def test_reference_longer_than_the_song_is_told(comfy):
    clip = comfy.upload("acestep-tests-long.wav", material.clip(14.0))
    told = problem(comfy, prompts.with_reference(prompts.text_to_music(seconds=10.0), clip, "continuation"))
    assert "10" in told and "14" in told


# ---- beside other nodes ----------------------------------------------------------------------------------------------


def free_until_nothing_is_loaded(comfy, server, seconds=30.0, **what):
    """Asks again and again: ComfyUI overhears what is asked just when its worker begins to wait."""
    deadline = time.monotonic() + seconds
    while server.state()["loaded"] and time.monotonic() < deadline:
        comfy.free(**what)
        time.sleep(1.0)
    assert server.state()["loaded"] == []


def test_models_share_memory_with_an_image_model(comfy, server):
    image = prompts.upscaled_image(material.UPSCALER, color=1)
    song_of(comfy, image | prompts.text_to_music(seed=60))
    assert server.our_models()
    assert len(server.our_models()) < len(server.state()["loaded"])
    again = comfy.run(prompts.changed(image, image={"color": 2}) | prompts.text_to_music(seed=60))
    assert again.succeeded, again.error
    assert again.executed == ["image", "upscale", "preview"]


def test_freed_models_are_loaded_again_by_the_next_song(comfy, server):
    before = song_of(comfy, prompts.text_to_music(seed=61))
    free_until_nothing_is_loaded(comfy, server, unload_models=True)
    run = comfy.run(prompts.text_to_music(seed=62))
    assert run.succeeded, run.error
    assert "cascade" in run.cached
    assert server.our_models()

    free_until_nothing_is_loaded(comfy, server, unload_models=True, free_memory=True)
    after = comfy.run(prompts.text_to_music(seed=61))
    assert after.cached == set()
    assert np.array_equal(before.samples, hear(comfy.view(after.files("save")[0])).samples)


def test_clip_lends_its_timbre(comfy):
    clip = comfy.upload("acestep-tests-clip.wav", material.clip(6.0))
    plain = prompts.text_to_music(seed=70)
    heard = song_of(comfy, prompts.with_reference(plain, clip, "timbre"))
    assert heard.seconds == pytest.approx(10.0, abs=0.1)
    assert np.abs(heard.samples - song_of(comfy, plain).samples).max() > 1e-2


def test_continuation_begins_with_the_clip(comfy):
    clip = material.clip(5.0)
    name = comfy.upload("acestep-tests-beginning.wav", clip)
    longer = song_of(comfy, prompts.with_reference(prompts.text_to_music(12.0, seed=71), name, "continuation"))
    assert longer.seconds == pytest.approx(12.0, abs=0.1)
    assert likeness(longer, hear(clip), 4.0) > 0.95
    assert not longer.is_silent_in_parts()


def test_core_nodes_take_what_ours_give(comfy):
    prompt = prompts.text_to_music()
    prompt["listen"] = prompts.node("PreviewAudio", audio=["vocode", 0])
    prompt["picture"] = prompts.node("AceStepSpectrogram", audio=["vocode", 0], width=256, height=128)
    prompt["picture"]["inputs"] |= {"fmax_hz": 8000, "range_db": 80}
    prompt["show"] = prompts.node("PreviewImage", images=["picture", 0])
    prompt["envelope"] = prompts.node("AceStepEnvelope", audio=["vocode", 0], fps=24.0, frames=0, measure="loudness")
    prompt["envelope"]["inputs"] |= {"smoothing": 0.1}
    prompt["count"] = prompts.node("PreviewAny", source=["envelope", 1])
    run = comfy.run(prompt)
    assert run.succeeded, run.error
    assert hear(comfy.view(run.files("listen")[0])).seconds == pytest.approx(10.0, abs=0.1)
    assert comfy.view(run.files("show", "images")[0])[:4] == b"\x89PNG"
    assert int(run.outputs["count"]["text"][0]) == 240


def test_stage_refines_a_finished_latent(comfy):
    prompt = prompts.text_to_music()
    prompt["again"] = prompts.changed(prompt, s=prompts.stretch(0.3, 0.0, latent=["s", 0], seed=9))["s"]
    refined = prompts.changed(prompt, vocode={"latent": ["again", 0]})
    sound = song_of(comfy, refined)
    assert not sound.is_silent_in_parts()


def test_x0_of_the_first_stage_can_be_heard(comfy):
    sketch = prompts.changed(prompts.text_to_music(), vocode={"latent": ["l", 1]})
    sketch = {node_id: node for node_id, node in sketch.items() if node_id not in ("m", "s")}
    assert not song_of(comfy, sketch).is_silent_in_parts()
