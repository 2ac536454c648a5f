"""`acestep-cascade edit`, run in this process."""

import json
import math
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core import audio
from acestep_pack.acestep_core.audio.song_tags import song_tags
from acestep_pack.acestep_core.cli import parser as cli
from acestep_pack.acestep_core.song import Song

RATE = 16000  # of the small family's vocoder
STEP = 2**-23  # of 24 bits

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture
def run(taught_family, capsys):
    """acestep-cascade with the small family that knows every task; (exit code, lines of stdout, stderr)."""

    def call(*arguments, models=taught_family):
        named = ["--models", str(models)] if models else []
        code = cli.main([*map(str, arguments), *named, "--device", "cpu"])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err

    return call


@pytest.fixture
def edit(run):
    return lambda *arguments, **more: run("edit", *arguments, **more)


def names():
    return sorted(entry.name for entry in Path().iterdir())


def sound(seconds=6.0, rate=RATE, level=0.4):
    t = torch.arange(round(seconds * rate)) / rate
    hum = sum(torch.sin(2 * math.pi * hz * t * (1 + 0.02 * t)) for hz in (110, 277, 440)) / 3
    return audio.Waveform((level * hum).expand(1, 2, -1).clone(), rate)


def write_song(path="song.flac", **fields):
    song = Song(**{"caption": "lo-fi beat", "seconds": 10, "bpm": 120, **fields})
    return audio.write(path, sound(), tags=song_tags(song, {"seed": 4}))


def test_a_region_of_a_song_of_ours_needs_no_words(edit):
    write_song()
    code, lines, said = edit("repaint", "song.flac", "--region", "1-2", "--seed", 3, "-o", "new.flac")
    assert code == 0, said
    source, made = audio.read("song.flac").samples, audio.read("new.flac").samples
    assert (made[..., 2 * RATE :] - source[..., 2 * RATE :]).abs().max() <= STEP
    assert (made[..., :RATE] - source[..., :RATE]).abs().max() <= STEP
    assert (made - source)[..., RATE : 2 * RATE].abs().max() > 0.01
    tags = audio.read_tags("new.flac")
    settings = json.loads(tags["settings"])
    assert settings["edit"] == {"task": "repaint", "regions": [[1.0, 2.0]]} and settings["seed"] == 3
    assert settings["source"] == str(Path("song.flac").resolve())
    assert json.loads(tags["song"])["caption"] == "lo-fi beat" and "source" in json.loads(tags["digests"])


@pytest.mark.slow
def test_an_edit_is_made_again_from_its_tags(run, edit):
    write_song()
    edit("repaint", "song.flac", "--region", "1-2", "--region", "bars 2-2", "--seed", 3, "-o", "new.flac")
    code, _, said = run("generate", "--from", "new.flac", "-o", "again.flac", models=None)
    assert code == 0, said
    expected = audio.read("new.flac").samples
    assert torch.equal(audio.read("again.flac").samples, expected)
    code, _, said = edit("--from", "new.flac", "--strength", 1, "-o", "free.flac", models=None)
    assert code == 0 and not torch.equal(audio.read("free.flac").samples, expected), said
    code, _, said = edit("--from", "new.flac", "--region", "3-4", "-o", "there.flac", models=None)
    assert code == 0 and not torch.equal(audio.read("there.flac").samples, expected), said
    assert json.loads(audio.read_tags("there.flac")["settings"])["edit"]["regions"] == [[3.0, 4.0]]
    code, _, said = run("generate", "--from", "new.flac", "--continue", "song.flac", "-o", "x.flac", models=None)
    assert code == 2 and "repaint: got a clip to continue too" in said
    audio.write("song.flac", sound(5.0), tags=audio.read_tags("song.flac"))
    code, _, said = edit("--from", "new.flac", "-o", "other.flac", models=None)
    assert code == 0 and "source: not the files that made this song before" in said


def test_bars_are_counted_at_the_tempo_of_the_tags(edit, monkeypatch):
    monkeypatch.setattr("acestep_pack.acestep_core.audio.beat_and_key.is_available", lambda: False)
    write_song()
    code, _, said = edit("repaint", "song.flac", "--region", "bars 2-2", "-o", "new.flac")
    assert code == 0 and "bars are counted at 120 bpm, from its beginning" in said
    assert json.loads(audio.read_tags("new.flac")["settings"])["edit"]["regions"] == [[2.0, 4.0]]


@pytest.mark.parametrize(
    "source, target, depth",
    [("FLOAT", "new.wav", "FLOAT"), ("FLOAT", "new.flac", "PCM_24"), ("PCM_16", "new.wav", "PCM_24")],
)
def test_the_file_takes_the_depth_of_the_source(edit, source, target, depth):
    import soundfile

    soundfile.write("song.wav", sound().samples[0].numpy().T, RATE, subtype=source)
    assert edit("extend", "song.wav", "folk", "--after", 2, "-o", target)[0] == 0
    assert soundfile.info(target).subtype == depth
    made, before = audio.read(target).samples, audio.read("song.wav").samples
    assert made.shape[-1] == 8 * RATE
    assert (made[..., : before.shape[-1]] - before).abs().max() <= (0 if depth == "FLOAT" else STEP)


@pytest.mark.slow
def test_one_file_for_each_stem(edit):
    write_song()
    assert edit("extract", "song.flac", "--track", "drums", "--track", "bass", "-o", "stem.flac")[0] == 0
    assert names() == ["song.flac", "stem_bass.flac", "stem_drums.flac"]
    assert edit("lego", "song.flac", "--track", "bass", "--mix", "--seed", 5)[0] == 0
    assert "song-lego-bass-5.flac" in names()
    assert edit("complete", "song.flac", "--tracks", "drums, bass", "-o", "band.flac")[0] == 0
    assert json.loads(audio.read_tags("band.flac")["settings"])["edit"]["tracks"] == ["drums", "bass"]


@pytest.mark.slow
def test_retakes_of_a_song(run, edit):
    run("generate", "folk", "--seconds", 10, "--seed", 4, "-o", "song.flac")
    code, _, said = edit(
        "retake", "song.flac", "--amount", 0.1, "--seed", 7, "--count", 2, "-o", "take.flac", models=None
    )
    assert code == 0, said
    assert names() == ["song.flac", "take_1.flac", "take_2.flac"]
    takes = [audio.read(name).samples for name in names()]
    assert all((take - takes[0]).abs().max() > 1e-3 for take in takes[1:]) and not torch.equal(takes[1], takes[2])
    settings = json.loads(audio.read_tags("take_2.flac")["settings"])
    assert settings["seed"] == 4 and settings["edit"] == {"task": "retake", "amount": 0.1, "retake_seed": 8}
    assert edit("--from", "take_2.flac", "-o", "again.flac", models=None)[0] == 0
    assert torch.equal(audio.read("again.flac").samples, takes[2])
    assert edit("retake", "song.flac", "--amount", 0, "--seed", 7, "-o", "same.flac", models=None)[0] == 0
    assert torch.equal(audio.read("same.flac").samples, takes[0])


def test_a_retake_of_an_edit(edit):
    write_song()
    edit("repaint", "song.flac", "--region", "1-2", "--seed", 3, "-o", "new.flac")
    code, _, said = edit("retake", "new.flac", "--seed", 9, "-o", "take.flac", models=None)
    assert code == 0, said
    one, other, source = (audio.read(name).samples for name in ("new.flac", "take.flac", "song.flac"))
    assert torch.equal(other[..., 2 * RATE :], one[..., 2 * RATE :])
    assert (other - one).abs().max() > 1e-3 and (other - source).abs().max() > 1e-3


@pytest.mark.slow
def test_kept_latents_are_found(run, edit):
    run("generate", "folk", "--seconds", 10, "--seed", 4, "-o", "song.flac", "--keep-latents")
    assert names() == ["song.flac", "song.flac.latents.safetensors"]
    assert edit("repaint", "song.flac", "--region", "1-2", "--seed", 3, "-o", "kept.flac", "--keep-latents")[0] == 0
    assert "kept.flac.latents.safetensors" in names()
    Path("song.flac.latents.safetensors").unlink()
    assert edit("repaint", "song.flac", "--region", "1-2", "--seed", 3, "-o", "encoded.flac")[0] == 0
    assert not torch.equal(audio.read("kept.flac").samples, audio.read("encoded.flac").samples)


def test_damaged_latents_are_left(edit):
    write_song()
    Path("song.flac.latents.safetensors").write_bytes(b"nothing")
    code, _, said = edit("repaint", "song.flac", "--region", "1-2", "-o", "new.flac")
    assert code == 0 and "cannot be read" in said and "the file itself is encoded" in said


def write_film(path):
    """Three seconds of a grey picture with sound."""
    import av
    import numpy as np

    with av.open(path, "w") as film:
        picture = film.add_stream("mpeg4", rate=5, width=64, height=64)
        track = film.add_stream("aac", rate=48000, layout="stereo")
        grey = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 99, np.uint8), format="rgb24")
        samples = np.ascontiguousarray(sound(3.0, 48000).samples[0].numpy())
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate = 48000
        packets = [packet for _ in range(15) for packet in picture.encode(grey)] + picture.encode(None)
        for packet in (*packets, *track.encode(frame), *track.encode(None)):
            film.mux(packet)


def test_the_sound_of_a_film(edit):
    write_film("film.mp4")
    code, _, said = edit("extend", "film.mp4", "folk", "--after", 2, "-o", "long.flac")
    assert code == 0, said
    assert audio.read("long.flac").seconds == pytest.approx(5.0, abs=0.1)


def test_a_morph_takes_the_words_of_the_tags_as_its_source(edit):
    write_song(lyrics="la la")
    assert edit("morph", "song.flac", "soul ballad", "-o", "new.flac")[0] == 0
    made = json.loads(audio.read_tags("new.flac")["song"])
    assert (made["caption"], made["lyrics"], made["bpm"]) == ("soul ballad", "la la", 120)


def test_show_names_the_edit(edit, run, capsys):
    write_song()
    edit("cover", "song.flac", "soul", "--closeness", 0.4, "-o", "new.flac")
    assert cli.main(["show", "new.flac"]) == 0
    assert "closeness 0.4" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((), "edit: a task and a source are missing"),
        (("repaint",), "edit: a task and a source are missing"),
        (("dance", "song.flac"), "invalid choice: 'dance'"),
        (("repaint", "gone.flac", "--region", "1-2"), "gone.flac"),
        (("repaint", "song.flac"), "repaint: got no region"),
        (("repaint", "song.flac", "--region", "2-1"), "region: got 2 to 1 s"),
        (("repaint", "song.flac", "--region", "5-9"), "song.flac: region: got 5-9 s, but the source ends at 6.00 s"),
        (("cover", "song.flac", "--region", "1-2"), "cover: got regions, which it has no use for"),
        (("cover", "song.flac", "--amount", "0.2"), "cover: got amount, which it has no use for"),
        (("extract", "song.flac"), "extract: got 0 tracks"),
        (("extract", "song.flac", "--track", "kazoo"), "invalid choice: 'kazoo'"),
        (("complete", "song.flac", "--tracks", "kazoo"), "expected names of woodwinds"),
        (("lego", "song.flac", "--track", "bass", "--tracks", "bass"), "got --track and --tracks"),
        (("cover", "plain.wav"), "plain.wav: cover: the caption is missing"),
        (("retake", "plain.wav"), "plain.wav: has no song in its tags"),
        (("morph", "song.flac"), "morph: got the words of the source itself"),
        (("cover", "words.txt", "folk"), "words.txt"),
        (("cover", "silence.wav", "folk"), "silence.wav: the source is silent"),
        (("cover", "blip.wav", "folk"), "blip.wav: the source: got 0.30 s of sound, expected 1 to 600 s"),
        (("--from", "song.flac", "-o", "x.flac"), "song.flac: was made from text; acestep-cascade generate --from"),
        (("retake", "song.flac", "--region", "1-2"), "retake: got regions, which it has no use for"),
        (("retake", "song.flac", "--closeness", "1"), "retake: got closeness, which it has no use for"),
        (("retake", "song.flac", "--track", "bass"), "retake: got tracks, which it has no use for"),
        (("cover", "--from", "song.flac"), "edit: got a task and --from"),
        (("cover", "song.flac", "--dcw"), "dcw: got it for models none of which is a turbo model"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_mistakes_are_told_in_one_line(edit, arguments, said):
    write_song()
    audio.write("plain.wav", sound())
    audio.write("silence.wav", sound(level=0.0))
    audio.write("blip.wav", sound(0.3))
    Path("words.txt").write_text("la")
    before = names()
    code, _, stderr = edit(*arguments)
    assert code == 2 and said in stderr and len(stderr.strip().splitlines()) <= 2
    assert names() == before


def test_models_that_do_not_know_a_task_are_named_before_anything_is_loaded(edit, tiny_family):
    write_song()
    code, _, said = edit("extract", "song.flac", "--track", "drums", models=tiny_family)
    assert code == 2 and "l was not trained for it" in said and "models download acestep-v15-base" in said
