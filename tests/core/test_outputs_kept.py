"""What was on the disk before a command stays there, and what cannot be written is refused before a song is made."""

import json
import os
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core import audio
from acestep_pack.acestep_core.audio.tags import read_tags, with_tags
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.generation.settings import GenerationSettings
from acestep_pack.acestep_core.generation.song_files import MadeSong, PackedSong, SongFile, unpack_song, write_song
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.system import files

posix = pytest.mark.skipif(os.name != "posix", reason="has no permissions and links as of POSIX")
LINE = "[00:01.00]neon rain"


def sound(seconds=1.0, level=0.1):
    times = torch.arange(int(48000 * seconds)) / 48000
    return Waveform((level * torch.sin(2764 * times)).expand(1, 2, -1).clone(), 48000)


def refused(command, said, *arguments):
    before = {path: path.read_bytes() for path in Path(".").iterdir() if path.is_file()}
    code, out, err = command(*arguments)
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1 and not out
    assert before == {path: path.read_bytes() for path in Path(".").iterdir() if path.is_file()}


def test_the_times_of_a_song_do_not_replace_a_song(command):
    audio.write("s.flac", sound())
    os.link("s.flac", "hard.lrc")
    Path("soft.lrc").symlink_to("s.flac")
    for output in ("s.flac", "hard.lrc", "soft.lrc"):
        refused(command, "which is the song itself", "lrc", "s.flac", "-o", output)
    refused(command, "the name of a sound", "lrc", "s.flac", "-o", "other.WAV")


@posix
def test_a_file_written_again_keeps_its_links_and_its_mode(own_folder):
    for mode in (0o600, 0o444, 0o664):
        real = Path(f"{mode:o}.txt")
        real.write_text("before")
        real.chmod(mode)
        link = Path(f"{mode:o}.link")
        link.symlink_to(real)
        files.write_again(link, b"after")
        assert link.is_symlink() and real.read_text() == "after" and real.stat().st_mode & 0o777 == mode


@posix
def test_tags_go_into_the_file_that_a_link_points_at(taught_family, command):
    Path("songs").mkdir()
    options = "--lyrics", "[Verse]\nneon rain", "--seconds", 10, "--steps", 3, "--models", taught_family
    assert command("generate", "lo-fi", "-o", "songs/real.wav", *options)[0] == 0
    real, link = Path("songs/real.wav"), Path("link.wav")
    real.chmod(0o600)
    link.symlink_to(real)
    assert command("lrc", link, "--tag")[0] == 0
    assert link.is_symlink() and real.stat().st_mode & 0o777 == 0o600 and "neon rain" in read_tags(real)["syncedlyrics"]


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        (b"cue " + (4).to_bytes(4, "little") + bytes(4), "holds cue,"),
        (b"LIST" + (4).to_bytes(4, "little") + b"adtl", "holds LIST adtl,"),
        (b"smpl" + (36).to_bytes(4, "little") + bytes(36), "holds smpl,"),
    ],
    ids=["cue", "adtl", "smpl"],
)
def test_a_wav_with_chunks_that_would_be_lost_is_not_written_again(chunk, said, command):
    data = audio.write("plain.wav", sound(), tags={"title": "Rain"}).read_bytes()
    assert len(with_tags("plain.wav", {"syncedlyrics": LINE})) > 0
    size = len(data) + len(chunk) - 8
    Path("a.wav").write_bytes(b"RIFF" + size.to_bytes(4, "little") + data[8:] + chunk)
    with pytest.raises(UserError, match=f"{said} which would be lost; write a file beside it"):
        with_tags("a.wav", {"syncedlyrics": LINE})
    refused(command, said, "lrc", "a.wav", "--tag", "--lyrics", "la", "--models", "tiny")


def test_bytes_behind_a_wav_and_streamed_wavs_are_no_chunks(own_folder):
    data = audio.write("a.wav", sound()).read_bytes()
    at = data.index(b"data") + 4
    for changed in (data + b"junk behind it", data[:at] + bytes(4) + data[at + 4 :]):
        Path("a.wav").write_bytes(changed)
        assert with_tags("a.wav", {"title": "Rain"})


def test_a_song_without_a_name_of_its_own_leaves_files_beside_it(own_folder):
    Path("song.lrc").write_text("mine")
    Path("song_2.flac.latents.safetensors").write_text("mine")
    made = MadeSong(sound(), Song("x"), GenerationSettings(seed=1), {}, timed=LINE)
    assert write_song(made, SongFile(lrc=True), Path("song.flac"), replace=False) == Path("song_2.flac")
    packed = PackedSong(b"sound", b"times", b"latents", {})
    assert unpack_song(packed, Path("song.flac"), replace=False) == Path("song_3.flac")
    assert Path("song_2.lrc").read_text().strip() == LINE and Path("song_3.lrc").read_text() == "times"
    assert Path("song.lrc").read_text() == Path("song_2.flac.latents.safetensors").read_text() == "mine"
    assert write_song(made, SongFile(), Path("song.flac")) == Path("song.flac")
    assert Path("song.lrc").read_text().strip() == LINE


def test_two_songs_do_not_share_a_file_of_times(command):
    lines = [json.dumps({"caption": "x", "output": name}) for name in ("c.flac", "c.wav")]
    Path("two.jsonl").write_text("\n".join(lines))
    refused(command, "c.lrc: would be written twice", "generate", "--songs", "two.jsonl", "--lrc")


@pytest.mark.parametrize(
    ("lines", "options", "said"),
    [
        (1, ["--count", 2], "-o -: got 2 songs, expected one, as stdout holds one file"),
        (2, [], "-o -: got 2 songs, expected one, as stdout holds one file"),
        (1, ["--best-of", 2, "--keep", 2], "--keep: got 2 and -o -, expected 1, as stdout holds one file"),
    ],
)
def test_stdout_holds_one_file_whoever_names_it(lines, options, said, command):
    Path("songs.jsonl").write_text('{"caption": "x", "output": "-"}\n' * lines)
    refused(command, said, "generate", "--songs", "songs.jsonl", "--format", "wav", *options)


def test_places_of_all_files_are_checked_before_a_song_is_made(command):
    Path("lr.lrc").mkdir()
    Path("b_take2.lrc").mkdir()
    given = "generate", "x", "--models", "absent"  # refused too, but later
    refused(command, "lr.lrc: is a folder", *given, "--lrc", "-o", "lr.flac")
    refused(command, "b_take2.lrc: is a folder", *given, "--lrc", "-o", "b.flac", "--best-of", 2, "--keep", 2)
    refused(command, "is too long for the name of a file", *given, "--keep-latents", "-o", f"{'n' * 245}.flac")


def test_the_lowest_loudness_is_a_gain_alone():
    wave = sound(3)
    wave.samples[..., 48000:96000] *= 0.01
    made = audio.normalise_loudness(wave, -70)
    gain = 10 ** ((-70 - audio.loudness_lufs(wave)[0]) / 20)
    assert torch.allclose(made.samples, wave.samples * gain) and made.samples.abs().max() > 0
