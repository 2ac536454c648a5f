"""Uploads: known by their first bytes, bounded, named by handles that nobody can guess or bend."""

import io
import os
import time

import pytest
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.server import uploads as module
from acestep_pack.acestep_core.server.uploads import UPLOAD_ID, TooLarge, Uploads

ID3 = b"ID3\x04\x00\x00\x00\x00\x00\x00"  # a tag of no bytes
PLAYLIST = b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n"


@pytest.fixture
def uploads(tmp_path):
    return Uploads(tmp_path)


def put(uploads, data):
    return uploads.put(io.BytesIO(data))


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_sounds_are_kept_under_a_handle(uploads, make_sound, format):
    made = put(uploads, make_sound(2, format=format))
    assert UPLOAD_ID.fullmatch(made.id) and abs(made.seconds - 2) < 0.1
    assert uploads.path(made.id) == made.path and made.path.suffix == f".{format.lower()}"


def test_a_tag_may_come_before_the_sound(uploads, make_sound):
    assert put(uploads, ID3 + make_sound(1, format="MP3")).path.suffix == ".mp3"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no sound",
        PLAYLIST,
        ID3 + PLAYLIST,
        ID3 * 20 + PLAYLIST,
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<?xml version='1.0'?><MPD></MPD>",
        b"PK\x03\x04" + b"\0" * 100,
        b"RIFF\0\0\0\0WAVE",
        b"fLaC" + b"\xff" * 1000,
        b"OggS" + b"\0" * 1000,
        b"\xff\xfb" + b"\0" * 1000,
        b"\0\0\0\x20ftypM4A " + b"\0" * 1000,
    ],
)
def test_what_is_no_sound_is_refused_and_not_kept(uploads, data):
    with pytest.raises(UserError, match="^upload: "):
        put(uploads, data)
    assert list(uploads.folder.iterdir()) == []


def test_a_file_may_have_so_many_bytes(tmp_path, wav):
    uploads = Uploads(tmp_path, bytes_most=1000)
    with pytest.raises(TooLarge, match="more than 0.001 MB"):
        put(uploads, wav)
    assert list(uploads.folder.iterdir()) == []


def test_a_small_file_of_a_long_sound_is_refused_while_it_is_read(uploads, monkeypatch):
    import soundfile

    silence = io.BytesIO()
    with soundfile.SoundFile(silence, "w", 48_000, 2, format="FLAC") as file:
        file.write([[0.0, 0.0]] * 200_000)
    assert len(silence.getvalue()) < 10_000
    monkeypatch.setattr(module, "SAMPLES_MOST", 100_000)
    with pytest.raises(UserError, match="more than 100,000 samples"):
        put(uploads, silence.getvalue())


def test_too_many_channels_and_odd_rates_are_refused(uploads, make_sound):
    with pytest.raises(UserError, match="12 channels"):
        put(uploads, make_sound(0.1, channels=12))
    with pytest.raises(UserError, match="1000 Hz"):
        put(uploads, make_sound(1, rate_hz=1000))


@pytest.mark.parametrize(
    "handle", ["../../etc/passwd", "/etc/passwd", "u_" + "0" * 32, "u_*", "", "u_" + "0" * 31 + "\n"]
)
def test_only_handles_lead_to_files(uploads, handle):
    with pytest.raises(UserError, match="^upload: "):
        uploads.path(handle)


def test_uploads_are_kept_for_a_time_after_their_last_use(tmp_path, wav):
    uploads = Uploads(tmp_path, keep_seconds=100)
    old, used = put(uploads, wav), put(uploads, wav)
    for upload in (old, used):
        os.utime(upload.path, (time.time() - 200,) * 2)
    uploads.path(used.id)
    put(uploads, wav)
    assert uploads.path(used.id).is_file()
    with pytest.raises(UserError, match="send it again"):
        uploads.path(old.id)


def test_all_uploads_together_have_a_limit(uploads, wav, monkeypatch):
    put(uploads, wav)
    monkeypatch.setattr(module, "TOTAL_BYTES_MOST", 1000)
    with pytest.raises(TooLarge):
        put(uploads, wav)
