"""Files of a user are not replaced unasked, and one bad song or file of a list leaves the others."""

import errno
import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core import audio
from acestep_pack.acestep_core.audio.song_tags import song_tags
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.editing.kept_latents import keep_latents, latents_path
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.generation.song_files import check_replaceable
from acestep_pack.acestep_core.song import Song

LINES = "[00:01.00]neon rain\n[00:02.50]caf\u00e9"
RATE = 48000


def sound(seconds=2.0):
    times = torch.arange(int(RATE * seconds)) / RATE
    return Waveform((0.3 * torch.sin(2764 * times)).expand(1, 2, -1).clone(), RATE)


def listed(*songs):
    Path("list.jsonl").write_text("\n".join(map(json.dumps, songs)))
    return "generate", "--songs", "list.jsonl"


def contents():
    return {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}


def refused(command, said, *arguments):
    before = contents()
    code, out, err = command(*arguments)
    assert (code, out) == (2, []) and said in err and len(err.splitlines()) == 1, err
    assert contents() == before


# ---- files beside a song ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "ogg", "opus"])
def test_times_are_replaced_with_the_song_that_has_them_alone(ending, own_folder):
    song, times = Path(f"a.{ending}"), Path("a.lrc")
    times.write_text(f"{LINES}\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"a.lrc: was not written with a.{ending}, and would be lost; rename it"):
        check_replaceable(song, lrc=True)
    audio.write(song, sound(), tags={"syncedlyrics": LINES})
    check_replaceable(song, lrc=True)
    times.write_text(f"{LINES}, corrected\n", encoding="utf-8")
    with pytest.raises(UserError):
        check_replaceable(song, lrc=True)
    check_replaceable(song)  # without --lrc nothing is written there


def test_latents_are_replaced_with_their_song_alone(own_folder):
    audio.write("a.flac", sound())
    kept = keep_latents("a.flac", torch.zeros(1, 4, 8), audio.read("a.flac"))
    check_replaceable(Path("a.flac"), latents=True)
    kept.write_text("mine")
    with pytest.raises(UserError, match="a.flac.latents.safetensors: was not written with a.flac"):
        check_replaceable(Path("a.flac"), latents=True)
    keep_latents("b.flac", torch.zeros(1, 4, 8), audio.read("a.flac"))
    with pytest.raises(UserError):
        check_replaceable(Path("b.flac"), latents=True)


def test_a_users_files_beside_the_output_are_told_before_a_song_is_made(command):
    Path("mine.lrc").write_text("MINE")
    Path("b_take2.lrc").write_text("MINE")
    latents_path("mine.mp3").write_text("MINE")
    audio.write("a.wav", sound(), tags=song_tags(Song("x", seconds=10), {"seed": 4, "models": "tiny"}, {"l": "tiny-l"}))
    retake = "edit", "retake", "a.wav", "--lyrics", "hello", "--steps", 3, "-o", "mine.mp3"
    refused(command, "mine.lrc: was not written with mine.mp3", *retake, "--lrc")
    refused(command, "mine.lrc: was not written with mine.mp3", "generate", "x", "--lrc", "-o", "mine.mp3")
    refused(command, "mine.mp3.latents.safetensors: was not", "generate", "x", "--keep-latents", "-o", "mine.mp3")
    takes = "--best-of", 2, "--keep", 2
    refused(command, "b_take2.lrc: was not", "generate", "x", "--lrc", "-o", "b.mp3", *takes)


def test_files_of_ours_are_replaced_together(command, tiny_family):
    given = "--lyrics", "[Verse]\nla", "--seconds", 10, "--steps", 3, "--models", tiny_family, "--device", "cpu"
    asked = "generate", "x", "--lrc", "--keep-latents", "-o", "a.mp3", *given
    assert command(*asked, "--seed", 1)[0] == 0
    first = contents()
    code, _, err = command(*asked, "--seed", 2)
    assert code == 0, err
    assert len(first) == 3 and all(contents()[name] != data for name, data in first.items() if name != "a.lrc")
    assert Path("a.lrc").read_text().strip() == audio.read_tags("a.mp3")["syncedlyrics"].strip()


# ---- what a command reads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["v.wav", "soft.wav", "hard.wav", "../{}/v.wav"])
def test_a_clip_is_not_replaced_by_a_song(output, command):
    audio.write("v.wav", sound())
    Path("soft.wav").symlink_to("v.wav")
    os.link("v.wav", "hard.wav")
    output = output.format(Path.cwd().name)
    listing = listed({"caption": "x"}, {"caption": "x", "output": output})
    said = f"list.jsonl line 2: output: got {output}, which this command reads and would replace; give another file"
    for option in ("--continue", "--reference"):
        refused(command, said, *listing, option, "v.wav")
        refused(command, said, *listing, option, "soft.wav")


def test_music_to_edit_and_song_files_are_not_replaced(command):
    audio.write(
        "x.flac", sound(6), tags=song_tags(Song("x", seconds=10), {"seed": 4, "models": "tiny"}, {"l": "tiny-l"})
    )
    said = "output: got x.flac, which this command reads"
    refused(command, said, "edit", "repaint", "x.flac", "--region", "1-2", "-o", "x.flac")
    refused(command, said, "edit", "retake", "x.flac", "-o", "x.flac")
    refused(command, said, "generate", "--from", "x.flac", "-o", "x.flac")
    takes = "--best-of", 2, "--keep", 2
    os.link("x.flac", "x_take2.flac")
    refused(command, "got x_take2.flac, which", "generate", "--from", "x.flac", "-o", "x.flac", *takes)
    Path("words.lrc").write_text("la")
    refused(command, "words.lrc", "generate", "x", "--lyrics", "@words.lrc", "--lrc", "-o", "words.wav")


def test_a_named_song_does_not_replace_one_of_the_same_command_without_a_name(command):
    free = listed({"caption": "x", "seed": 5}, {"caption": "y", "output": "x-5.flac"})
    refused(command, "line 2: x-5.flac: would be written twice", *free)


# ---- lists -----------------------------------------------------------------------------------------------------------


def test_bad_files_are_told_and_the_others_are_scored(command):
    audio.write("a.wav", sound())
    audio.write("b.wav", sound())
    Path("broken.flac").write_bytes(b"no sound")
    code, out, err = command("score", "a.wav", "./broken.flac", "gone.flac", "b.wav", "--json")
    assert code == 2 and sorted(json.loads(line)["file"] for line in out) == ["a.wav", "b.wav"]
    broken, gone, end = (line.removeprefix("acestep-cascade: ") for line in err.splitlines())
    assert broken.startswith("broken.flac: holds no sound") and broken.count("broken.flac") == 1
    assert gone == "gone.flac: does not exist, expected an audio file"
    assert end == "2 of 4 files were not scored; see above"
    refused(command, "gone.flac: does not exist", "score", "gone.flac")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bpm", 9000], "bpm: got '9000'"),
        (["--song", "gone.json"], "gone.json: could not be read"),
        (["--lyrics", "@gone.txt"], "gone.txt: could not be read"),
        (["--words", "--models", "nonsense"], "nonsense is neither a file or folder"),
        (["--planner", "nonsense"], "nonsense"),
    ],
)
def test_a_mistake_of_the_command_is_told_once_and_not_for_each_file(options, said, command):
    for name in ("a.wav", "b.wav"):
        audio.write(name, sound())
    refused(command, said, "score", "a.wav", "b.wav", *options)


def test_a_song_that_cannot_be_written_leaves_the_others(command, tiny_family, monkeypatch):
    from acestep_pack.acestep_core.system import files

    Path("full").mkdir()
    flush = files._flush

    def full(file, mode):
        if file.parent.name == "full":
            raise OSError(errno.EIO, "Input/output error")
        flush(file, mode)

    monkeypatch.setattr(files, "_flush", full)
    songs = [{"caption": "x", "seconds": 10, "output": name} for name in ("full/a.wav", "b.wav")]
    given = "--steps", 3, "--models", tiny_family, "--device", "cpu"
    code, out, err = command(*listed(*songs), "-q", *given)
    assert code == 1 and len(out) == 1 and out[0].startswith("b.wav  10.0 s") and not list(Path("full").iterdir())
    first, end = err.splitlines()
    assert "failed: list.jsonl line 1: full/a.wav: could not be written (Input/output error)" in first
    assert end == "acestep-cascade: failed: 1 of 2 songs were not made; see above"


@pytest.mark.parametrize("lengths", [(10, 20), (20, 10)])
def test_a_song_shorter_than_its_clip_is_told_with_its_line_before_any_is_made(lengths, command, tiny_family):
    audio.write("clip.wav", sound(12))
    songs = [{"caption": "x", "seconds": seconds} for seconds in lengths]
    line = lengths.index(10) + 1
    said = f"list.jsonl line {line}: continuation: the song is 10.0 s and the clip to continue ("
    given = "--continue", "clip.wav", "--models", tiny_family, "--device", "cpu"
    refused(command, said, *listed(*songs), "-o", "s.wav", *given)


@pytest.mark.parametrize(("lines", "count"), [(900_000, 1), (5001, 2)])
def test_too_many_songs_are_told_at_once(lines, count, command):
    Path("list.jsonl").write_text('{"caption":"a"}\n' * lines)
    began = time.process_time()
    said = f"list.jsonl: got {lines * count} songs, expected at most 10000 in one command"
    refused(command, said, "generate", "--songs", "list.jsonl", "--count", count)
    assert time.process_time() - began < 5


def test_a_full_disk_ends_a_list_and_a_second_run_makes_what_is_left(command, tiny_family, monkeypatch):
    flush, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    made = listed(*({"caption": f"x {number}", "seconds": 10} for number in range(4)))
    asked = *made, "-o", "a.wav", "--steps", 3, "--models", tiny_family, "--device", "cpu"
    code, out, err = command(*asked)
    assert code == 1 and len(out) == 1 and len(calls) == 2
    failed, summary = err.splitlines()[-2:]
    assert "failed: list.jsonl line 2: a_2.wav: could not be written (No space left on device); free" in failed
    assert summary == "acestep-cascade: failed: 3 of 4 songs were not made; see above"
    first = Path("a_1.wav").read_bytes()
    code, out, err = command(*asked)
    assert code == 0 and len(out) == 3 and "1 of 4 songs are made already" in err
    assert Path("a_1.wav").read_bytes() == first


def test_a_second_run_of_a_list_makes_what_is_asked_for_anew(command, tiny_family, tmp_path):
    models = tmp_path / "family"
    shutil.copytree(tiny_family, models)
    made = listed(*({"caption": "x", "lyrics": "[Verse]\nla", "seconds": 10} for _ in range(2)))
    asked = *made, "-o", "a.mp3", "--lrc", "--steps", 3, "--models", models, "--device", "cpu"
    assert command(*asked)[0] == 0
    Path("a_1.lrc").write_text("corrected", encoding="utf-8")
    code, out, err = command(*asked)
    assert (code, out) == (0, []) and "2 of 2 songs are made already" in err
    assert Path("a_1.lrc").read_text(encoding="utf-8") == "corrected"
    refused(command, "a_1.lrc: was not written with a_1.mp3", *asked, "--title", "Rain")
    Path("a_1.lrc").unlink()
    code, out, _ = command(*asked)
    assert code == 0 and len(out) == 1 and Path("a_1.lrc").is_file()
    weights = models / "s" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    code, out, err = command(*asked)
    assert code == 0 and len(out) == 2 and "made already" not in err
