"""Jobs whose songs workers make: the same files as of one machine, though a worker is lost on the way."""

import io
import pickle

import numpy as np
import pytest
import soundfile
from acestep_pack.acestep_core.cluster.pool import Slot, WorkerLost
from acestep_pack.acestep_core.cluster.worker import WorkerProcess
from acestep_pack.acestep_core.generation.making import Machine
from acestep_pack.acestep_core.generation.settings import GenerationSettings
from acestep_pack.acestep_core.server.cluster_making import MakeOrderTasks
from acestep_pack.acestep_core.server.server import Server
from core_tests.conftest import taught_family  # noqa: F401  the fixture

SONG = {"song": {"caption": "x", "lyrics": "[Verse]\nneon rain", "seconds": 10}, "format": "wav", "lrc": True}


class NearWorker:
    """A worker in this process, to which everything goes as bytes. It is lost at the call of `next` of that number."""

    def __init__(self, lost_at=None):
        self._process, self._lost_at, self._calls = WorkerProcess(MakeOrderTasks(Machine("cpu"))), lost_at, 0

    def __getattr__(self, name):
        def call(*given):
            return pickle.loads(pickle.dumps(getattr(self._process, name)(*pickle.loads(pickle.dumps(given)))))

        return call

    def next(self):
        self._calls += 1
        if self._calls == self._lost_at:
            raise WorkerLost("a worker was lost")
        return pickle.loads(pickle.dumps(self._process.next()))


@pytest.fixture
def start(tmp_path, taught_family):  # noqa: F811
    servers = []

    def make(name, **given):
        (tmp_path / name).mkdir()
        defaults = GenerationSettings(models=str(taught_family))
        servers.append(Server.start(tmp_path / name, [Machine("cpu")], defaults, **given))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def files_of(server, *given):
    """{name: bytes} of the songs of jobs, and the jobs."""
    jobs = [server.queue.submit(server.requests.order(one))[0] for one in given]
    assert all(server.queue.wait(job, 300) for job in jobs)
    assert [job.error for job in jobs] == [None] * len(jobs)
    places = [path for path in server.library.folder.iterdir() if path.is_file()]
    return {path.name: path.read_bytes() for path in places}, jobs


def test_songs_of_workers_are_those_of_one_machine(start, make_sound):
    workers = iter([NearWorker(4), NearWorker()])
    here, there = start("here"), start("there", slots=[Slot(lambda: next(workers))])
    jobs, sounds = [], make_sound(3)
    for server in (here, there):
        clip = server.uploads.put(io.BytesIO(sounds)).id
        song = {**SONG, "settings": {"seed": 3, "reference": [clip]}, "keep_latents": True, "count": 2}
        files, [job] = files_of(server, song)
        jobs.append((files, job))
    (ours, one), (theirs, other) = jobs
    assert len(ours) == 6 and theirs.keys() == ours.keys()
    for name in ours:
        if not name.endswith(".wav"):  # whose tags have the upload's handle
            assert theirs[name] == ours[name], name
    for made, same in zip(one.made, other.made):
        paths = [server.library.path(song["id"]) for server, song in ((here, made), (there, same))]
        assert (soundfile.read(paths[0])[0] == soundfile.read(paths[1])[0]).all()
        kept = [server.library.tagged(song["id"]).settings for server, song in ((here, made), (there, same))]
        assert [str(server.uploads.folder) in tags.reference[0] for server, tags in zip((here, there), kept)] == [1, 1]
        changing = {"made_in_seconds": 0, "settings": 0}
        assert {**made, **changing} == {**same, **changing}
    assert "what it made is made again" in " ".join(other.notes) and there.makers[0].models == here.makers[0].models


def test_mistakes_of_workers_are_those_of_this_machine(start):
    server = start("there", slots=[Slot(NearWorker)])
    silent = io.BytesIO()
    soundfile.write(silent, np.zeros((32_000, 2)), 16_000, format="WAV")
    silent.seek(0)
    clip = server.uploads.put(silent).id
    [job] = server.queue.submit(server.requests.order({**SONG, "settings": {"seed": 3, "reference": [clip]}}))
    assert server.queue.wait(job, 300)
    assert job.state == "failed" and "acestep-worker" not in job.error and clip in job.error
