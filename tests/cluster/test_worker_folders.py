"""The folder of a killed worker is removed by whoever comes next; those of living ones never are."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from acestep_pack.acestep_core.cluster.worker import WorkerProcess
from acestep_pack.acestep_core.cluster.worker_folders import LOCK_FILE, PREFIX

ROOT = Path(__file__).resolve().parents[2]
WORKER = """
import tempfile
import time
from acestep_core.cluster.worker import WorkerProcess

worker = WorkerProcess(object, 1)
worker.attach("key", {"clip.wav": b"sound"})
open(tempfile.mkdtemp() + "/song.flac", "wb").close()
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The temporary folder, of this process and of those that it starts."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


def killed_worker(folder):
    """The folder that a worker leaves which is killed."""
    before, environment = set(folder.iterdir()), {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGKILL)
    [left] = set(folder.iterdir()) - before
    return left


@pytest.mark.skipif(os.name != "posix", reason="kills a process with SIGKILL")
def test_a_killed_workers_folder_goes_with_the_next_worker_and_living_ones_stay(folder, tmp_path):
    living = WorkerProcess(object)
    living.attach("key", {"clip.wav": b"sound"})
    unlocked = folder / f"{PREFIX}unlocked"  # nothing says whether somebody uses it
    unlocked.mkdir()
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / LOCK_FILE).touch()
    (folder / f"{PREFIX}link").symlink_to(tmp_path / "music")
    dead = killed_worker(folder)
    assert (dead / "key" / "clip.wav").is_file()
    assert [path.name for path in dead.rglob("song.flac")] == ["song.flac"]  # a temporary file of the worker
    following = WorkerProcess(object)
    assert not dead.exists() and unlocked.is_dir() and (tmp_path / "music" / LOCK_FILE).exists()
    assert (living._folder.path / "key" / "clip.wav").read_bytes() == b"sound"
    for worker in (living, following):
        worker.leave()
    assert {path.name for path in folder.iterdir()} == {f"{PREFIX}unlocked", f"{PREFIX}link"}
