"""Sounds by their handles: outlines, other formats; and jobs that listen to them."""

import asyncio
import io

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed; it comes with the extra [serve]")

from acestep_pack.acestep_core.checkpoints import cascade_models
from acestep_pack.acestep_core.errors import CheckpointError, UserError
from acestep_pack.acestep_core.server.answers import changed_jobs
from acestep_pack.acestep_core.server.jobs import Made
from acestep_pack.acestep_core.server.listening import order_of, steps_of
from acestep_pack.acestep_core.song import Song
from core_tests.conftest import save_tiny_family

SECONDS = 10


@pytest.fixture
def song(server, write_song, make_sound):
    """The handle of a song of ten seconds in the library."""
    path = write_song(server.library.folder, "a.flac", Song("lo-fi", bpm=90), data=make_sound(SECONDS, format="FLAC"))
    return server.library.add(path).id


def test_a_sound_has_an_outline_and_any_format_with_its_tags(client, song, tmp_path):
    import soundfile
    from acestep_pack.acestep_core.generation.settings import read_song

    outline = client.get(f"/v1/sounds/{song}/peaks?columns=50").json()
    assert outline["seconds"] == SECONDS and len(outline["peaks"]) == 50
    assert all(low < 0 < high for low, high in outline["peaks"])
    own = client.get(f"/v1/sounds/{song}/audio")
    assert own.headers["content-type"] == "audio/flac" and own.content[:4] == b"fLaC"
    other = client.get(f"/v1/sounds/{song}/audio?format=ogg&download=true")
    assert other.headers["content-disposition"] == 'attachment; filename="a.ogg"'
    assert soundfile.info(io.BytesIO(other.content)).duration == pytest.approx(SECONDS, abs=0.1)
    (tmp_path / "a.ogg").write_bytes(other.content)
    assert read_song(str(tmp_path / "a.ogg")).song.caption == "lo-fi"
    assert "expected one of" in client.get(f"/v1/sounds/{song}/audio?format=exe").json()["error"]["message"]


def test_an_upload_is_heard_and_drawn_too(client, wav):
    upload = client.post("/v1/uploads", content=wav).json()["id"]
    assert client.get(f"/v1/sounds/{upload}/audio").headers["content-type"] == "audio/wav"
    assert client.get(f"/v1/sounds/{upload}/peaks").json()["seconds"] == SECONDS
    assert client.get("/v1/sounds/..%2Fa/audio").status_code in (400, 404)


def test_beats_are_those_of_the_tags_else_as_asked_else_measured(client, song, wav):
    beats = client.get(f"/v1/sounds/{song}/beats?bpm=120").json()
    assert beats["beat"] == pytest.approx(60 / 90) and beats["in_bar"] == 4 and abs(beats["first"]) < 60 / 90
    upload = client.post("/v1/uploads", content=wav).json()["id"]
    assert client.get(f"/v1/sounds/{upload}/beats?bpm=120").json()["beat"] == 0.5
    assert client.get(f"/v1/sounds/{upload}/beats").json() == {}  # noise has none
    assert client.get("/v1/sounds/u_0/beats").status_code == 400


def answer(order, load=None):
    return next(event for event in steps_of(order, load, "cpu") if isinstance(event, Made)).answer


def test_a_score_is_kept_in_the_tags_of_its_song(client, server, song):
    order = order_of({"kind": "score", "source": song}, server.requests)
    scored = answer(order)
    assert 0 < scored["total"] <= 1 and "90 bpm asked" in scored["tempo"]["remark"]
    assert client.get(f"/v1/songs/{song}").json()["scores"]["total"] == scored["total"]


def test_only_sung_songs_are_timed_and_codes_need_a_tokenizer(server, song, monkeypatch, tmp_path):
    bare = cascade_models.find_cascade(save_tiny_family(tmp_path / "bare"))
    monkeypatch.setattr(cascade_models, "find_cascade", lambda **names: bare)
    with pytest.raises(UserError, match="nothing to time"):
        order_of({"kind": "lyric_times", "source": song}, server.requests)
    with pytest.raises(CheckpointError, match="audio_tokenizer|audio tokenizer"):
        order_of({"kind": "codes", "source": song, "models": "tiny"}, server.requests)


def test_the_events_of_all_jobs_begin_with_those_that_are_there_and_follow_them(client, server):
    made = client.post("/v1/jobs", json={"song": {"caption": "lo-fi"}, "format": "wav"}).json()["id"]

    async def until_done():
        states = []
        async for job in changed_jobs(server.queue):
            assert job.id == made
            states.append(job.state)
            if job.state == "done":
                return states

    assert asyncio.run(asyncio.wait_for(until_done(), 30))[-1] == "done"
