"""Real clients over a real connection: OpenAI's own package, Gradio's, and fifty at once."""

import base64
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed; it comes with the extra [serve]")
uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed; it comes with the extra [serve]")
httpx = pytest.importorskip("httpx", reason="httpx is not installed; it comes with the extra [test]")

KEY = "a-key-of-enough-letters"
WAIT = 120

pytestmark = pytest.mark.slow


@pytest.fixture
def listen():
    """Serves a server on a free port of this machine; its address."""
    from acestep_pack.acestep_core.server.app import create_app
    from acestep_pack.acestep_core.server.security import Access

    running = []

    def start(server, page=False, **access):
        app = create_app(server, Access(**access), "0.0", page)
        web = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((web, thread))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for web, thread in running:
        web.should_exit = True
        thread.join(WAIT)


def test_openais_own_client(server, listen):
    openai = pytest.importorskip("openai", reason="openai is not installed; it comes with the extra [test]")
    address = listen(server, key=KEY)
    client = openai.OpenAI(base_url=f"{address}/openai/v1", api_key=KEY, max_retries=0)
    assert client.models.list().data[0].id == "tiny"
    asked = {"model": "tiny", "voice": "alloy", "instructions": "folk", "response_format": "wav"}
    assert client.audio.speech.create(input="la la", **asked).read()[:4] == b"RIFF"
    asked = {"model": "tiny", "modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
    asked["messages"] = [{"role": "user", "content": "calm piano"}]
    message = client.chat.completions.create(**asked).choices[0].message
    assert base64.b64decode(message.audio.data)[:4] == b"RIFF" and "calm piano" in message.audio.transcript
    chunks = [chunk.choices[0] for chunk in client.chat.completions.create(**asked, stream=True)]
    sounds = [(chunk.delta.model_dump().get("audio") or {}).get("data") or "" for chunk in chunks]
    assert chunks[-1].finish_reason == "stop" and base64.b64decode("".join(sounds))[:4] == b"RIFF"
    with pytest.raises(openai.BadRequestError, match="input: is empty"):
        client.audio.speech.create(model="tiny", voice="alloy", input=" ")
    with pytest.raises(openai.AuthenticationError, match="key: is missing or wrong"):
        openai.OpenAI(base_url=f"{address}/openai/v1", api_key="wrong", max_retries=0).models.list()
    assert server.library.songs("calm piano").total == 2


def test_gradios_own_client(server, listen, tmp_path):
    gradio_client = pytest.importorskip("gradio_client", reason="gradio_client comes with gradio, of the extra [serve]")
    address = listen(server, page=True, key=KEY)
    made = {"download_files": str(tmp_path / "got"), "verbose": False, "analytics_enabled": False}
    made["httpx_kwargs"] = {"timeout": WAIT}
    with pytest.raises(gradio_client.exceptions.AuthenticationError):
        gradio_client.Client(address, **made)
    client = gradio_client.Client(address, headers={"Authorization": f"Bearer {KEY}"}, **made)
    assert list(client.view_api(return_format="dict", print_info=False)["named_endpoints"]) == ["/generate"]
    given = {"format": "wav", "request": {"settings": {"seed": 7}, "song": {"bpm": 100}}, "api_name": "/generate"}
    file, job = client.predict("calm piano", **given)
    row = server.library.songs("calm piano").songs[0]
    assert Path(file).read_bytes() == server.library.path(row.id).read_bytes() and Path(file).name == row.path
    assert job["songs"][0]["seed"] == 7 and job["songs"][0]["song"]["bpm"] == 100
    with pytest.raises(gradio_client.exceptions.AppError, match="bpm: got 9000"):
        client.predict("x", request={"song": {"bpm": 9000}}, api_name="/generate")
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    for path in (secret, f"s_0/{secret}", "../secret.txt", "s_0123456789abcdef/secret.txt"):
        answer = httpx.get(f"{address}/gradio_api/file={path}", headers=client.headers)
        assert answer.status_code in (400, 404), path
    client.close()


def test_fifty_clients_at_once_lose_nothing(make_server, listen):
    gate, waiting_most = threading.Semaphore(0), 40
    server = make_server(waiting_most=waiting_most, gate=gate)
    address = listen(server)

    def ask(seed):
        given = {"song": {"caption": "x"}, "settings": {"seed": seed}, "format": "wav"}
        return httpx.post(f"{address}/v1/jobs", json=given, timeout=WAIT)

    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(ask, range(50)))
    taken = {answer.json()["id"]: seed for seed, answer in enumerate(answers) if answer.status_code == 202}
    full = [answer for answer in answers if answer.status_code == 429]
    assert len(taken) + len(full) == 50 and len(taken) in (waiting_most, waiting_most + 1)  # one may run already
    assert all(answer.headers["retry-after"] for answer in full)
    gate.release(200)
    jobs = [server.queue.get(job) for job in taken]
    until = time.monotonic() + WAIT
    while not all(job.has_ended for job in jobs) and time.monotonic() < until:
        time.sleep(0.05)
    assert [job.made[0]["seed"] for job in jobs] == list(taken.values())
    in_order = sorted(jobs, key=lambda job: job.created)
    assert [job.started for job in in_order] == sorted(job.started for job in jobs)
    assert httpx.get(f"{address}/v1/songs", timeout=WAIT).json()["total"] == len(taken)
