"""Songs by the embedded family: made by the server as the command line makes them."""

import io
import json
from dataclasses import replace

import pytest
import soundfile
from acestep_pack.acestep_core.audio.live import LiveSound
from acestep_pack.acestep_core.cli.parser import OK, main
from acestep_pack.acestep_core.generation.making import Machine
from acestep_pack.acestep_core.generation.settings import GenerationSettings
from acestep_pack.acestep_core.server.jobs import Preview, Progress
from acestep_pack.acestep_core.server.making import SongMaker
from acestep_pack.acestep_core.server.server import Server
from acestep_pack.acestep_core.server.shelf import LibraryShelf

SONG = {"song": {"caption": "lo-fi beat", "seconds": 10}, "settings": {"seed": 3, "steps": 3}, "format": "wav"}


@pytest.fixture
def server(tmp_path):
    (tmp_path / "songs").mkdir()
    server = Server.start(tmp_path / "songs", [Machine("cpu")], GenerationSettings(models="tiny"))
    yield server
    server.close()


def done(server, given):
    [job] = server.queue.submit(server.requests.order(given))
    assert server.queue.wait(job, 300)
    assert job.state == "done", job.error
    return job


@pytest.mark.slow
def test_a_song_is_the_command_lines_to_the_sample(server, tmp_path, capsys):
    job = done(server, {**SONG, "preview_seconds": 1})
    made = server.library.path(job.made[0]["id"])
    line = ["generate", "lo-fi beat", "--seconds", "10", "--seed", "3", "--steps", "3", "--models", "tiny"]
    assert main([*line, "--device", "cpu", "-o", str(tmp_path / "line.wav"), "-q"]) == OK
    assert (soundfile.read(made)[0] == soundfile.read(tmp_path / "line.wav")[0]).all()
    tags = server.library.tagged(job.made[0]["id"])
    assert tags.settings == GenerationSettings(models="tiny", seed=3, steps=3)
    assert tags.digests and job.made[0]["models"]["l"] == "tiny-l"
    assert job.preview.data and job.preview.media_type == "audio/mpeg"
    assert job.progress == Progress("decoding", share=0.95)

    cascade = server.makers[0]._kept.cascade
    edit = {"task": "repaint", "source": job.made[0]["id"], "regions": [[2, 4]]}
    edited = done(server, {"edit": edit, "settings": {"steps": 3, "seed": 1}, "keep_latents": True, "format": "wav"})
    assert server.makers[0]._kept.cascade is cascade  # models are loaded once
    assert edited.made[0]["settings"]["source"] == job.made[0]["id"]
    assert len(list(server.library.folder.glob("*.latents.safetensors"))) == 1
    [before, after] = (soundfile.read(server.library.path(one.made[0]["id"]))[0] for one in (job, edited))
    rate_hz = job.made[0]["rate_hz"]
    assert (before[: 2 * rate_hz] == after[: 2 * rate_hz]).all() and (before[3 * rate_hz] != after[3 * rate_hz]).any()


@pytest.mark.slow
def test_the_best_take_is_the_command_lines_with_its_times(server, tmp_path, capsys):
    words = {"caption": "lo-fi beat", "lyrics": "[Verse]\nneon rain", "seconds": 10}
    chosen = {"best_of": 2, "draft": 3, "lrc_words": True}
    job = done(server, {**SONG, "song": words, **chosen})
    [made] = job.made
    line = ["generate", "lo-fi beat", "--lyrics", words["lyrics"], "--seconds", "10", "--seed", "3", "--steps", "3"]
    line += ["--best-of", "2", "--draft", "3", "--device", "cpu", "-o", str(tmp_path / "line.wav"), "--json", "-q"]
    assert main(line) == OK
    told = json.loads(capsys.readouterr().out)
    assert (made["seed"], made["scores"]) == (told["seed"], told["scores"]) and made["why"]
    assert made["lrc"] and "neon" in server.library.lyric_times(made["id"])
    assert server.library.tagged(made["id"]).scores == told["scores"]
    assert [note.partition(":")[0] for note in job.notes][:2] == ["take 1 of 2", "take 2 of 2"]


@pytest.mark.slow
def test_a_song_is_given_while_it_is_decoded(server):
    maker = SongMaker(LibraryShelf(server.requests), Machine("cpu"))
    events = list(maker.steps(server.requests.order(SONG)))
    [live] = [event for event in events if isinstance(event, LiveSound)]
    heard, _ = soundfile.read(io.BytesIO(b"".join(live.parts())))
    song, _ = soundfile.read(server.library.path(events[-1].answer["id"]))
    assert heard.shape == song.shape and abs(heard / abs(heard).max() - song / abs(song).max()).max() < 2e-2


def test_other_models_are_loaded_on_request_and_a_step_ends_a_cancelled_song(server):
    maker = SongMaker(LibraryShelf(server.requests), Machine("cpu"))
    order = server.requests.order({**SONG, "settings": {"seed": 1, "steps": 6, "models": "tiny-s"}})
    steps = maker.steps(order)
    seen = [next(steps) for _ in range(3)]
    steps.close()
    assert [event.phase for event in seen] == ["loading models", "tiny-s", "tiny-s"]
    assert maker.models == {"stage 1": "tiny-s", "text": "tiny-text", "vocoder": "tiny-vocoder"}
    assert not any(isinstance(event, Preview) for event in seen)
    assert server.library.songs().total == 0


def test_a_task_that_the_models_do_not_know_fails_as_it_fails_on_the_command_line(server, write_song, monkeypatch):
    from acestep_pack.acestep_core.generation import edit_verbs
    from acestep_pack.acestep_core.song import Song

    check = edit_verbs.check_models

    def of_less(edit, stages):
        check(edit, [(name, family, replace(own, tasks=("text2music",))) for name, family, own in stages])

    monkeypatch.setattr(edit_verbs, "check_models", of_less)
    song = server.library.add(write_song(server.library.folder, "a.wav", Song("x", seconds=10)))
    edit = {"task": "extract", "source": song.id, "tracks": ["drums"]}
    [job] = server.queue.submit(server.requests.order({"edit": edit, "settings": {"steps": 3}}))
    assert server.queue.wait(job, 300)
    assert job.state == "failed" and "extract" in job.error and job.made == []
