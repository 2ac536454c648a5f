"""The web API where songs are made at once: our own routes, the original's, OpenAI's form, the hostile."""

import base64
import io
import json
import re
import threading
import time
from pathlib import Path

import pytest
import soundfile
import torch
from acestep_pack.acestep_core.audio.live import LiveSound

pytest.importorskip("fastapi", reason="fastapi is not installed; it comes with the extra [serve]")
pytest.importorskip("httpx", reason="httpx, fastapi's test client, is not installed; it comes with [test]")

KEY = "a-key-of-enough-letters"
SONG = {"song": {"caption": "lo-fi beat"}, "settings": {"seed": 7}, "format": "wav"}
WAIT = 30


def ended(client, job):
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        shown = client.get(f"/v1/jobs/{job}").json()
        if shown["state"] not in ("queued", "running"):
            return shown
        time.sleep(0.02)
    raise AssertionError(f"the job did not end: {shown}")


def submit(client, given=SONG):
    answer = client.post("/v1/jobs", json=given)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


# ---- our own routes --------------------------------------------------------------------------------------------------


def test_a_job_from_its_request_to_its_file(client, wav):
    answer = client.post("/v1/jobs", json={**SONG, "preview_seconds": 5})
    job = answer.json()
    assert answer.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    done = ended(client, job["id"])
    assert done["state"] == "done" and done["error"] is None and done["title"] == "lo-fi beat"
    [song] = done["songs"]
    assert song["seed"] == 7 and song["settings"]["seed"] == 7
    sound = client.get(song["audio"])
    assert sound.headers["content-type"] == "audio/wav" and len(sound.content) >= len(wav)
    part = client.get(song["audio"], headers={"range": "bytes=0-3"})
    assert part.status_code == 206 and part.content == b"RIFF"
    assert client.get(done["links"]["preview"]).content == wav
    details = client.get(song["details"]).json()
    assert details["song"]["caption"] == "lo-fi beat" and details["settings"] == {"seed": 7}
    assert [one["id"] for one in client.get("/v1/jobs").json()["jobs"]] == [job["id"]]


def test_scores_and_times_of_a_song_that_was_chosen_among_takes(client):
    [song] = ended(client, submit(client, {**SONG, "best_of": 2, "lrc": True}))["songs"]
    assert song["scores"]["total"] == 0.7 and song["why"] == "the best"
    assert client.get(f"{song['details']}/score").json()["scores"] == song["scores"]
    assert client.get(song["lrc"]).text == "[00:01.00]<00:01.00>neon <00:01.50>rain\n"
    assert client.get(song["lrc"], params={"words": False}).text == "[00:01.00]neon rain\n"
    [plain] = ended(client, submit(client, {**SONG, "settings": {"seed": 8}}))["songs"]
    assert plain["lrc"] is None and "scores" not in plain
    assert {client.get(f"{plain['details']}/{what}").status_code for what in ("lrc", "score")} == {404}


def test_the_events_of_a_job_end_with_it(client):
    job = submit(client)
    with client.stream("GET", f"/v1/jobs/{job}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert events[-1]["state"] == "done" and len(events[-1]["songs"]) == 1
    assert {line for line in lines if line.startswith("event")} == {"event: job"}


def test_places_cancel_and_a_full_queue(make_server, connect):
    gate = threading.Semaphore(0)
    client = connect(make_server(waiting_most=2, gate=gate))
    first = submit(client)
    while client.get(f"/v1/jobs/{first}").json()["state"] == "queued":
        time.sleep(0.01)
    second, third = submit(client), submit(client)
    assert [client.get(f"/v1/jobs/{job}").json()["place"] for job in (first, second, third)] == [None, 1, 2]
    full = client.post("/v1/jobs", json=SONG)
    assert full.status_code == 429 and full.headers["retry-after"] and "2 jobs wait" in full.json()["error"]["message"]
    assert client.delete(f"/v1/jobs/{second}").json()["state"] == "cancelled"
    assert client.delete(f"/v1/jobs/{first}").json()["cancelled"] is True
    gate.release()
    assert ended(client, first)["state"] == "cancelled"
    gate.release(3)
    assert ended(client, third)["state"] == "done"
    assert client.get(f"/v1/jobs/{first}/preview").status_code == 204


def test_a_song_is_heard_while_it_is_decoded(make_server, connect):
    gate = threading.Semaphore(0)
    server = make_server(gate=gate)
    client = connect(server)
    job = submit(client)
    assert client.get(f"/v1/jobs/{job}/sound").status_code == 204
    live = LiveSound(8000, 1, 200)
    server.queue._take(server.queue.get(job), live)
    address = client.get(f"/v1/jobs/{job}").json()["links"]["sound"]
    live.add(torch.full((1, 100), 0.5), 0)
    later = threading.Timer(0.2, lambda: (live.add(torch.full((1, 100), -0.5), 100), live.close()))
    later.start()
    heard = client.get(address)
    sound, rate = soundfile.read(io.BytesIO(heard.content))
    assert heard.headers["content-type"] == "audio/wav" and rate == 8000
    assert len(sound) == 200 and abs(sound[0] - 0.5) < 1e-3 and abs(sound[-1] + 0.5) < 1e-3
    gate.release(3)
    assert "sound" not in ended(client, job)["links"]


def test_the_library_is_searched_and_songs_are_thrown_away(client):
    song = ended(client, submit(client))["songs"][0]
    found = client.get("/v1/songs", params={"q": "LO-FI", "limit": 5}).json()
    assert found["total"] == 1 and found["songs"][0]["id"] == song["id"]
    assert client.get("/v1/songs", params={"q": "metal"}).json() == {"songs": [], "total": 0}
    assert client.delete(f"/v1/songs/{song['id']}").json()["removed"] is True
    assert client.get(song["audio"]).status_code == 404


def test_a_sound_is_sent_and_stands_for_itself(client, wav):
    by_form = client.post("/v1/uploads", files={"file": ("../../x.wav", wav)}).json()
    by_body = client.post("/v1/uploads", content=wav, headers={"content-type": "audio/wav"}).json()
    assert by_form["seconds"] == by_body["seconds"] == 10 and by_form["id"] != by_body["id"]
    edit = {"task": "repaint", "source": by_form["id"], "regions": [[1, 2]]}
    done = ended(client, submit(client, {**SONG, "edit": edit}))
    assert done["songs"][0]["settings"]["source"] == by_form["id"]
    assert "/" not in done["songs"][0]["settings"]["source"]


def test_errors_are_those_of_the_command_line_without_places(client, server):
    wrong = client.post("/v1/jobs", json={"song": {"caption": "x", "bpm": 900}})
    assert wrong.status_code == 400
    assert wrong.json()["error"] == {
        "message": "bpm: got 900, expected a number from 30 to 300",
        "type": "invalid_request_error",
        "param": None,
        "code": 400,
    }
    (server.library.folder / "bare.wav").write_bytes(b"no sound")
    server.library.refresh()
    bare = server.library.by_name("bare.wav").id
    said = client.get(f"/v1/songs/{bare}").json()["error"]["message"]
    assert said.startswith("bare.wav: ") and str(server.library.folder) not in said


def test_an_unexpected_error_tells_nothing(client, server, monkeypatch):
    monkeypatch.setattr(type(server.library), "songs", lambda *given, **more: 1 / 0)
    answer = client.get("/v1/songs")
    assert answer.status_code == 500 and "division" not in answer.text


def test_the_openapi_page_has_an_example_of_every_body(client):
    paths = client.get("/openapi.json").json()["paths"]
    bodies = [(path, one["post"]) for path, one in paths.items() if "post" in one]
    assert len(bodies) >= 8
    for path, post in bodies:
        assert all("example" in content for content in post["requestBody"]["content"].values()), path
        assert post["summary"] and post["tags"]


def test_the_inventory_has_what_is_here(client):
    inventory = client.get("/v1/model_inventory").json()
    assert inventory["models"][0] == "tiny" and {"tiny-l", "tiny-m", "tiny-s"} <= set(inventory["models"])


# ---- the original's --------------------------------------------------------------------------------------------------


def result(client, task):
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        [found] = client.post("/query_result", json={"task_id_list": json.dumps([task])}).json()["data"]
        if found["status"]:
            return found
        time.sleep(0.02)
    raise AssertionError(found)


def test_a_client_of_the_original_gets_its_songs(client):
    asked = {"prompt": "upbeat pop song", "lyrics": "Hello world", "inference_steps": 8, "audio_format": "flac"}
    released = client.post("/release_task", json=asked).json()
    assert (released["code"], released["error"], released["data"]["status"]) == (200, None, "queued")
    found = result(client, released["data"]["task_id"])
    songs = json.loads(found["result"])
    assert found["status"] == 1 and len(songs) == 2
    assert songs[0]["prompt"] == "upbeat pop song" and songs[0]["dit_model"] == "tiny-l"
    assert songs[0]["file"].startswith("/v1/audio?path=s_")
    sound = client.get(songs[0]["file"])
    assert sound.headers["content-type"] == "audio/flac" and sound.content[:4] == b"fLaC"
    stats = client.get("/v1/stats").json()["data"]
    assert stats["jobs"]["succeeded"] == 1 and stats["queue_maxsize"] == 20


def test_forms_and_files_of_the_originals_clients(client, wav):
    form = {"prompt": "remix this song", "task_type": "repaint", "repainting_end": "2", "batch_size": "1"}
    task = client.post("/release_task", data=form, files={"src_audio": ("song.wav", wav)}).json()["data"]["task_id"]
    assert result(client, task)["status"] == 1
    task = client.post("/release_task", data={"prompt": "x", "batch_size": "1"}).json()["data"]["task_id"]
    assert client.post("/query_result", data={"task_id_list": json.dumps([task])}).status_code == 200


def test_an_unknown_task_has_failed(client):
    [found] = client.post("/query_result", json={"task_id_list": ["no-such"]}).json()["data"]
    assert found["status"] == 2


@pytest.mark.parametrize("sent, status", [({"prompt": "x", "ai_token": KEY}, 200), ({"prompt": "x"}, 401)])
def test_the_key_may_stand_in_the_body_of_the_originals_routes(server, connect, sent, status):
    client = connect(server, key=KEY)
    assert client.post("/release_task", json=sent).status_code == status
    by_header = client.post("/release_task", json={"prompt": "x"}, headers={"authorization": f"Bearer {KEY}"})
    assert by_header.status_code == 200
    assert client.post("/release_task", json={**sent, "ai_token": "wrong"}).status_code == 401
    assert client.post("/v1/jobs", json={**SONG, "ai_token": KEY}).status_code == 401
    assert client.get("/health").status_code == 200


def test_words_by_the_originals_routes(client, monkeypatch):
    from acestep_pack.acestep_core.server import requests

    monkeypatch.setattr(requests, "check_planner", lambda name: name)
    asked = {"prompt": "pop rock", "lyrics": "Walking", "param_obj": '{"duration": 180, "language": "en"}'}
    words = client.post("/format_input", json=asked).json()["data"]
    assert (words["caption"], words["vocal_language"], words["bpm"]) == ("pop rock", "en", 100)
    sample = client.post("/create_random_sample", json={"sample_type": "simple_mode"}).json()["data"]
    assert sample["caption"] and 30 <= sample["bpm"] <= 300 and sample["duration"] == 30


def test_models_in_the_originals_form_and_in_openais(client):
    ours = client.get("/v1/models").json()["data"]
    assert ours["default_model"] == "tiny" and {"name": "tiny", "is_default": True} in ours["models"]
    by_name = client.get("/v1/models", headers={"user-agent": "OpenAI/Python 2.0"}).json()
    assert by_name == client.get("/openai/v1/models").json()
    assert by_name["object"] == "list" and by_name["data"][0]["id"] == "tiny"


# ---- OpenAI's form ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/openai"])
def test_speech_is_a_song(client, server, prefix):
    given = {"model": "tiny", "input": "la la", "instructions": "folk", "voice": "x", "response_format": "flac"}
    answer = client.post(f"{prefix}/v1/audio/speech", json=given)
    assert answer.headers["content-type"] == "audio/flac" and answer.content[:4] == b"fLaC"
    [row] = server.library.songs("folk").songs
    assert server.library.tagged(row.id).song.lyrics == "la la"


def test_chat_answers_with_sound(client):
    given = {
        "model": "tiny",
        "modalities": ["text", "audio"],
        "audio": {"format": "wav", "voice": "x"},
        "messages": [{"role": "user", "content": "<prompt>pop</prompt><lyrics>la</lyrics>"}],
    }
    answer = client.post("/v1/chat/completions", json=given).json()
    message = answer["choices"][0]["message"]
    assert base64.b64decode(message["audio"]["data"])[:4] == b"RIFF" and "pop" in message["audio"]["transcript"]
    plain = {"messages": given["messages"], "audio_config": {"format": "wav", "bpm": 90}}
    audio = client.post("/v1/chat/completions", json=plain).json()["choices"][0]["message"]["audio"]
    assert audio[0]["audio_url"]["url"].startswith("data:audio/wav;base64,")


def test_chat_takes_sound_and_streams(client, server, wav):
    sound = {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav).decode(), "format": "wav"}}
    message = {"role": "user", "content": [{"type": "text", "text": "calm"}, sound]}
    given = {"messages": [message], "stream": True, "audio": {"format": "wav"}, "modalities": ["audio"]}
    with client.stream("POST", "/v1/chat/completions", json=given) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    deltas = [json.loads(line)["choices"][0] for line in lines[:-1]]
    assert deltas[0]["delta"]["role"] == "assistant" and deltas[-1]["finish_reason"] == "stop"
    assert base64.b64decode(deltas[1]["delta"]["audio"]["data"])[:4] == b"RIFF"
    [job] = server.queue.jobs()
    assert job.order.settings[0].reference[0].startswith(str(server.uploads.folder))


# ---- the hostile -----------------------------------------------------------------------------------------------------

PATHS = [
    "../../etc/passwd",
    "/etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "s_0000000000000000",
    "u_" + "0" * 32,
    "\x00",
    "a" * 5000,
]
DEEP = "[" * 100_000
BODIES = [
    "",
    "null",
    "[]",
    "7",
    '"x"',
    "{",
    '{"song": NaN}',
    DEEP,
    '{"song": ' + DEEP,
    '{"song": {"caption": "\\ud800"}}',
]
POSTS = [
    "/v1/jobs",
    "/v1/datasets",
    "/v1/training/start",
    "/v1/lora/load",
    "/release_task",
    "/query_result",
    "/format_input",
    "/v1/audio/speech",
    "/v1/chat/completions",
]
VALUES = [None, True, -1, 1e308, "x" * 100_000, [], {}, [[]], {"a": {"b": []}}, "/etc/passwd", ["/etc/passwd"], 10**30]
FIELDS = {
    "/v1/jobs": [
        "kind",
        "song",
        "settings",
        "edit",
        "again",
        "plan",
        "count",
        "format",
        "bit_depth",
        "title",
        "line",
        "best_of",
        "keep",
        "retry_below",
        "draft",
        "lrc",
        "dataset",
        "name",
        "model",
    ],
    "/release_task": ["prompt", "lyrics", "bpm", "seed", "batch_size", "metas", "src_audio_path", "task_type", "model"],
    "/query_result": ["task_id_list"],
    "/v1/datasets": ["name"],
    "/v1/dataset/scan": ["audio_dir", "custom_tag", "all_instrumental"],
    "/v1/training/start": ["tensor_dir", "lora_output_dir", "lora_rank", "train_epochs", "learning_rate"],
    "/v1/lora/load": ["lora_path", "adapter_name"],
    "/v1/lora/scale": ["scale", "adapter_name"],
    "/v1/audio/speech": ["model", "input", "response_format", "instructions", "seed", "seconds"],
    "/v1/chat/completions": ["messages", "audio", "audio_config", "modalities"],
}


@pytest.mark.slow
def test_hostile_requests_bring_nothing_down(make_server, connect):
    server = make_server(waiting_most=1000)
    client = connect(server, requests_a_minute=100_000)
    statuses = []
    for path in PATHS:
        quoted = path.replace("\x00", "%00")
        for place in (
            f"/v1/songs/{quoted}",
            f"/v1/songs/{quoted}/audio",
            f"/v1/jobs/{quoted}",
            f"/v1/audio?path={quoted}",
        ):
            answer = client.get(place)
            statuses.append(answer.status_code)
            assert answer.status_code in (400, 404) and "root:" not in answer.text
    for place in POSTS:
        for body in BODIES:
            statuses.append(client.post(place, content=body, headers={"content-type": "application/json"}).status_code)
        statuses.append(client.post(place, content=b"\xff", headers={"content-type": "text/xml"}).status_code)
    usual = {"/v1/jobs": SONG, "/release_task": {"prompt": "x"}, "/v1/audio/speech": {"input": "x"}}
    for place, fields in FIELDS.items():
        for field in fields:
            for value in VALUES:
                if place in ("/v1/audio/speech", "/v1/chat/completions") and value in ("x" * 100_000,):
                    continue  # a song that is asked for, and waited for
                sent = json.dumps({**usual.get(place, {}), field: value})
                answer = client.post(place, content=sent, headers={"content-type": "application/json"})
                statuses.append(answer.status_code)
                assert "root:" not in answer.text and str(server.library.folder) not in answer.text
    assert len(statuses) >= 300
    assert set(statuses) <= {200, 202, 400, 401, 404, 413, 415, 422, 429}
    assert client.get("/health").status_code == 200


def test_foreign_pages_and_names_are_refused_everywhere(client):
    for place in ("/", "/health", "/v1/jobs", "/docs", "/v1/uploads"):
        assert client.get(place, headers={"host": "evil.example"}).status_code == 403
        assert client.post(place, headers={"origin": "https://evil.example"}).status_code == 403


def test_a_page_of_an_allowed_origin_may_read_answers(server, connect):
    client = connect(server, key=KEY, origins=("https://a.example",))
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    allowed = client.options("/v1/jobs", headers={**asked, "origin": "https://a.example"})
    assert allowed.status_code == 200 and allowed.headers["access-control-allow-origin"] == "https://a.example"
    answer = client.get("/v1/jobs", headers={"origin": "https://a.example", "authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "https://a.example"
    foreign = client.options("/v1/jobs", headers={**asked, "origin": "https://evil.example"})
    assert foreign.status_code == 400 and "access-control-allow-origin" not in foreign.headers


def test_the_key_is_in_no_log(server, connect, caplog):
    caplog.set_level("DEBUG")
    client = connect(server, key=KEY)
    client.post("/release_task", json={"prompt": "x", "ai_token": KEY})
    client.get("/v1/jobs", headers={"authorization": f"Bearer {KEY}"})
    assert KEY not in caplog.text


def test_the_guides_client_makes_songs(client, wav, tmp_path):
    guide = Path(__file__).resolve().parents[2] / "web" / "docs" / "guides" / "serving.md"
    part = guide.read_text(encoding="utf-8").partition("## A client in Python")[2]
    code = re.search(r"^```python\n(.*?)^```$", part, re.DOTALL | re.MULTILINE)[1]
    assert len(code.splitlines()) <= 60
    names = {"__name__": "guide"}
    exec(compile(code, str(guide), "exec"), names)
    clip = tmp_path / "clip.wav"
    clip.write_bytes(wav)
    reference = names["upload"](client, str(clip))
    given = {**SONG, "settings": {"seed": 7, "reference": [reference]}, "count": 2}
    paths = names["make"](client, tmp_path, **given)
    assert len(paths) == 2 and all(path.read_bytes()[:4] == b"RIFF" for path in paths)
    with pytest.raises(SystemExit, match="caption: is empty"):
        names["make"](client, tmp_path, song={"caption": ""})
