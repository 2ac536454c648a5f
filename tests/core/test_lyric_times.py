"""Times of lyrics of whole songs: in the library, in the shell, and in the tags of files."""

import json
from pathlib import Path

import av
import pytest
import torch
from acestep_pack.acestep_core.audio import read, write
from acestep_pack.acestep_core.audio.tags import read_tags
from acestep_pack.acestep_core.cli import parser as cli
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.generation.cascade import Cascade
from acestep_pack.acestep_core.models.stage_model import StageModel
from acestep_pack.acestep_core.planner.planned_song import PlannedSong
from acestep_pack.acestep_core.song import Song

LYRICS = "[Verse]\nneon rain on the window\nhold on to me\n\n[Chorus]\nwe drive until morning"
SUNG = ["neon rain on the window", "hold on to me", "we drive until morning"]
SONG = Song("lo-fi beat", LYRICS, seconds=10, language="en")


@pytest.fixture(scope="module")
def cascade(taught_family):
    return Cascade.load(taught_family, device="cpu", text_cache=False)


@pytest.fixture
def command(own_folder, capsys):
    def run(*arguments):
        code = cli.main([*map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def check_lines(lines, seconds=10):
    assert [line.text for line in lines] == SUNG
    starts = [line.start for line in lines]
    assert starts == sorted(starts) and starts[0] >= 0 and lines[-1].end <= seconds
    assert [" ".join(word.text for word in line.words) for line in lines] == SUNG


def test_music_of_this_cascade_and_any_other_music_are_timed(cascade):
    wave = cascade.generate(SONG, seed=1)
    found = cascade.lyric_times(wave, SONG)
    check_lines(found.lines)
    assert 0 <= found.score.score <= 1 and not found.cut
    longer = cascade.lyric_times(wave.crop(9.0), Song("x", LYRICS, seconds=30))
    check_lines(longer.lines, 9.1)


def test_codes_and_clips_are_part_of_the_condition(cascade):
    wave = cascade.generate(PlannedSong(SONG, tuple(range(50))), seed=1)
    plain = cascade.lyric_times(wave, SONG)
    coded = cascade.lyric_times(wave, PlannedSong(SONG, tuple(range(50))))
    clipped = cascade.lyric_times(wave, SONG, reference=wave)
    check_lines(coded.lines)
    assert len({plain.score.confidence, coded.score.confidence, clipped.score.confidence}) == 3


def test_a_cascade_of_models_in_memory(cascade):
    held = Cascade([cascade.pool[key] for key in cascade.stages], cascade.pool["text"], cascade.pool["vocoder"])
    assert all(isinstance(held.pool[key], StageModel) for key in held.stages)
    latents = torch.randn(1, held.latents.channels, held.latents.frames(10))
    assert held.align_lyrics(latents, SONG) == cascade.align_lyrics(latents, SONG)


def test_nothing_to_time_is_an_error(cascade):
    with pytest.raises(UserError, match="^lyrics: the song has none"):
        cascade.lyric_times(cascade.generate(SONG, seed=1), Song("x"))


def frames_of(data):
    """Names of the frames in the ID3v2.4 tag of an mp3 file."""
    size = sum(byte << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0)))
    names, place = [], 10
    while place < 10 + size and data[place] != 0:
        names.append(data[place : place + 4].decode())
        place += 10 + sum(byte << shift for byte, shift in zip(data[place + 4 : place + 8], (21, 14, 7, 0)))
    return names


def test_songs_are_made_with_times_in_their_tags_and_beside_them(taught_family, command):
    options = "--models", taught_family, "--seconds", 10, "--lyrics", LYRICS, "--seed", 1, "--steps", 3
    for ending in ("mp3", "flac", "wav"):
        Path("a.lrc").unlink(missing_ok=True)  # of the other file
        code, out, err = command("generate", "lo-fi", "-o", f"a.{ending}", "--lrc", *options)
        assert code == 0, err
        lines = Path("a.lrc").read_text(encoding="utf-8").splitlines()
        assert [line[10:] for line in lines] == SUNG and all(line[0] == "[" and line[9] == "]" for line in lines)
        assert read_tags(f"a.{ending}")["syncedlyrics"].splitlines() == lines
        assert read_tags(f"a.{ending}")["lyrics"] == LYRICS
    data = Path("a.mp3").read_bytes()
    assert {"SYLT", "USLT", "TIT2"} <= set(frames_of(data))
    at = data.index(b"SYLT")
    minutes, seconds = lines[0][1:9].split(":")
    when = round((60 * int(minutes) + float(seconds)) * 1000).to_bytes(4, "big")
    assert SUNG[0].encode() + b"\0" + when in data[at : at + 200]
    assert len(read("a.mp3").samples[0, 0]) > 0 and command("show", "a.mp3")[0] == 0
    code, out, err = command("generate", "lo-fi", "-o", "b.wav", "--lrc", *options[:4])
    assert code == 0 and "no words" in err and not Path("b.lrc").exists()


def test_the_times_of_a_file(taught_family, command):
    command("generate", "lo-fi", "-o", "a.flac", "--models", taught_family, "--seconds", 10, "--lyrics", LYRICS)
    sound = read("a.flac").samples
    code, out, err = command("lrc", "a.flac")
    assert code == 0 and [line[10:] for line in out.splitlines()] == SUNG
    told = json.loads(command("lrc", "a.flac", "--json", "--words", "-o", "x.lrc")[1])
    assert [line["text"] for line in told["lines"]] == SUNG and told["lrc"].count("<") == 13
    assert Path("x.lrc").read_text(encoding="utf-8") == told["lrc"] + "\n"
    assert command("lrc", "a.flac", "--tag")[0] == 0
    assert read_tags("a.flac")["syncedlyrics"] == out.strip() and torch.equal(read("a.flac").samples, sound)
    write("plain.wav", read("a.flac"))
    code, out, err = command("lrc", "plain.wav", "--lyrics", "neon rain", "--models", taught_family)
    assert code == 0 and out.endswith("]neon rain\n")


def test_files_without_lyrics_models_or_place_are_one_error_each(taught_family, command):
    command("generate", "lo-fi", "-o", "a.flac", "--models", taught_family, "--seconds", 10, "--steps", 3)
    write("plain.wav", read("a.flac"))
    for arguments, said in (
        (["a.flac"], "has no lyrics in its tags; give them"),
        (["plain.wav", "--lyrics", "la"], "its tags name no models"),
        (["absent.flac"], "absent.flac"),
        (["a.flac", "-o", "nowhere/x.lrc"], "is not a folder"),
    ):
        code, out, err = command("lrc", *arguments)
        assert code == 2 and said in err and len(err.strip().splitlines()) == 1


@pytest.mark.skipif(not hasattr(av.stream, "Disposition"), reason="this PyAV writes no cover pictures")
def test_a_file_with_a_picture_keeps_it(taught_family, command):
    command("generate", "lo-fi", "-o", "a.mp3", "--models", taught_family, "--seconds", 10, "--lyrics", LYRICS)
    picture = av.VideoFrame(16, 16, "yuvj420p")
    with av.open("a.mp3") as source, av.open("b.mp3", "w") as made:
        sound, cover = made.add_stream_from_template(source.streams.audio[0]), made.add_stream("mjpeg")
        cover.width, cover.height, cover.pix_fmt = 16, 16, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        made.mux(cover.encode(picture))
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = sound
                made.mux(packet)
    before = Path("b.mp3").read_bytes()
    code, out, err = command("lrc", "b.mp3", "--tag", "--lyrics", "la", "--models", taught_family)
    assert code == 2 and "holds a picture" in err and Path("b.mp3").read_bytes() == before
