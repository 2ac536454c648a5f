"""The command `serve` as a process: it starts, makes songs, and is killed; the next one knows what was lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed; it comes with the extra [serve]")
pytest.importorskip("uvicorn", reason="uvicorn is not installed; it comes with the extra [serve]")
httpx = pytest.importorskip("httpx", reason="httpx is not installed; it comes with the extra [test]")

ROOT = Path(__file__).resolve().parents[2]
MAIN = "import sys; from acestep_core.cli.parser import main; sys.exit(main())"
WAIT = 400

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="kills a process with SIGKILL"),
]


@pytest.fixture
def serve(tmp_path):
    """Starts the server over a folder; (process, client)."""
    processes = []

    def start():
        command = [sys.executable, "-c", MAIN, "serve", "--folder", str(tmp_path / "songs"), "--port", "0"]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        listen = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        process = subprocess.Popen([*command, "--device", "cpu"], env=env, stdout=-1, stderr=-1, text=True, **listen)
        processes.append(process)
        address = process.stdout.readline().split()[0]
        return process, httpx.Client(base_url=address, timeout=WAIT)

    yield start
    for process in processes:
        process.kill()
        process.wait()


def submit(client, seed):
    request = {"song": {"caption": "lo-fi", "seconds": 10}, "settings": {"seed": seed, "steps": 3}, "format": "wav"}
    return client.post("/v1/jobs", json=request).raise_for_status().json()["id"]


def ended(client, job):
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        shown = client.get(f"/v1/jobs/{job}").json()
        if shown["state"] not in ("queued", "running"):
            return shown
        time.sleep(0.2)
    raise AssertionError(shown)


def test_a_killed_server_keeps_its_songs_and_tells_what_was_lost(serve):
    process, client = serve()
    done, *others = [submit(client, seed) for seed in range(6)]
    song = ended(client, done)["songs"][0]
    process.send_signal(signal.SIGKILL)
    process.wait()

    process, client = serve()
    assert ended(client, done)["songs"][0] == song
    assert client.get(song["audio"]).content[:4] == b"RIFF"
    states = [ended(client, job) for job in others]
    assert states[-1]["state"] == "lost" and "server was stopped" in states[-1]["error"]
    assert all(one["state"] in ("lost", "done") for one in states)
    assert client.get("/v1/songs").json()["total"] >= 1

    process.send_signal(signal.SIGINT)
    process.wait(60)
    assert "Traceback" not in process.stderr.read()
