"""A server whose maker writes real files at once, without models: what is tested here is all around it."""

import io
import json
import threading
from functools import lru_cache

import numpy as np
import pytest

SECONDS, RATE_HZ = 10, 16_000
TIMED, SCORES = "[00:01.00]<00:01.00>neon <00:01.50>rain", {"total": 0.7}


@lru_cache
def sound(seconds=SECONDS, channels=2, format="WAV", rate_hz=RATE_HZ) -> bytes:
    import soundfile

    rows = 0.1 * np.random.default_rng(0).standard_normal((int(seconds * rate_hz), channels))
    target = io.BytesIO()
    soundfile.write(target, rows, rate_hz, format=format)
    return target.getvalue()


@pytest.fixture(scope="session")
def wav():
    return sound()


def song_file(folder, name, song, settings=None, data=None, models=None, **more):
    """A sound file with a song in its tags."""
    from acestep_pack.acestep_core.audio.song_tags import song_tags
    from acestep_pack.acestep_core.audio.tags import tagged

    ending = name.rpartition(".")[2]
    data = data or sound(1, format=ending.upper())
    tags = song_tags(song, settings or {"seed": 7}, models or {"l": "tiny-l", "m": "tiny-m", "s": "tiny-s"})
    tags |= more
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tagged(data, ending, tags))
    return path


class FileMaker:
    """Makes files of noise with the right tags. With `gate`, each step waits for a permit."""

    models = {"l": "tiny-l"}

    def __init__(self, requests, wav):
        self.requests, self.library, self.wav = requests, requests.library, wav
        self.gate: threading.Semaphore | None = None
        self.steps_made = 0

    def steps(self, order):
        from acestep_pack.acestep_core.server.jobs import Made, Preview, Progress

        for number in range(1, 4):
            if self.gate is not None:
                assert self.gate.acquire(timeout=60)
            self.steps_made += 1
            yield Progress("tiny-l", number, 3, number / 4)
        if order.kind in ("train_lora", "label"):
            yield Made({"made": order.title})
            return
        if order.kind != "songs":
            yield self.answer(order)
            return
        if order.preview_seconds:
            yield Preview(self.wav, "audio/wav")
        for settings in order.settings:
            yield self.song(order, settings)

    def answer(self, order):
        from dataclasses import asdict, replace

        from acestep_pack.acestep_core.server.jobs import Made

        song = replace(order.song, caption=order.song.caption or order.step.line, bpm=100, seconds=20)
        return Made({"song": asdict(song), "planner": "fake", "seed": order.seed})

    def song(self, order, settings):
        from dataclasses import asdict

        from acestep_pack.acestep_core.server.jobs import Made

        given = json.loads(json.dumps(settings.given()))
        name = f"song-{settings.seed}-{self.steps_made}.{order.file.format}"
        data = self.wav if order.file.format == "wav" else sound(1, format=order.file.format.upper())
        more = {"syncedlyrics": TIMED} if order.file.lrc else {}
        more |= {"scores": json.dumps(SCORES)} if order.takes.are_wanted else {}
        row = self.library.add(song_file(self.library.folder, name, order.song, given, data, **more))
        shown = {"id": row.id, "file": row.path, "seconds": row.seconds, "rate_hz": RATE_HZ, "seed": settings.seed}
        shown |= {"made_in_seconds": 0.1, "models": {"l": "tiny-l", "text": "tiny-text"}}
        shown |= {"lrc": order.file.lrc} | ({"scores": SCORES, "why": "the best"} if order.takes.are_wanted else {})
        return Made({**shown, "song": asdict(order.song), "settings": self.requests.shown_settings(settings)})


@pytest.fixture
def make_server(tmp_path, wav):
    from acestep_pack.acestep_core.generation.settings import GenerationSettings
    from acestep_pack.acestep_core.server.jobs import JobQueue
    from acestep_pack.acestep_core.server.journal import Journal
    from acestep_pack.acestep_core.server.library import Library
    from acestep_pack.acestep_core.server.requests import RequestReader
    from acestep_pack.acestep_core.server.server import Server
    from acestep_pack.acestep_core.server.uploads import Uploads

    folder, made = tmp_path / "songs", []
    folder.mkdir()

    def make(waiting_most=20, defaults=None, gate=None, **uploads):
        library = Library(folder)
        kept = Uploads(library.own_folder, **uploads)
        requests = RequestReader(library, kept, defaults or GenerationSettings())
        maker = FileMaker(requests, wav)
        maker.gate = gate
        journal = Journal(library.own_folder / "jobs.sqlite")
        server = Server(library, kept, requests, (maker,), journal, JobQueue((maker,), journal, waiting_most))
        made.append(server)
        return server

    yield make
    for server in made:
        server.queue.close(1)


@pytest.fixture
def server(make_server):
    return make_server()


@pytest.fixture
def client(server):
    """A client of a server without a key on this machine."""
    return client_of(server)


def client_of(server, address="127.0.0.1", base="http://127.0.0.1", page=False, **access):
    pytest.importorskip("fastapi", reason="fastapi is not installed; it comes with the extra [serve]")
    pytest.importorskip("httpx", reason="httpx, fastapi's test client, is not installed; it comes with [test]")
    from acestep_pack.acestep_core.server.app import create_app
    from acestep_pack.acestep_core.server.security import Access
    from fastapi.testclient import TestClient

    app = create_app(server, Access(address, **access), "0.0", page)
    return TestClient(app, base, raise_server_exceptions=False)


@pytest.fixture
def connect():
    return client_of


@pytest.fixture
def write_song():
    return song_file


@pytest.fixture
def make_sound():
    return sound
