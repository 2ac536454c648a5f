"""Songs of version 0.1.0 are read, shown and made again as they were asked for."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core import audio
from acestep_pack.acestep_core.cli import parser as cli
from acestep_pack.acestep_core.generation.settings import GenerationSettings, read_song
from acestep_pack.acestep_core.song import Song

FOLDER = Path(__file__).resolve().parents[1] / "compat" / "songs"
SONGS = json.loads((FOLDER / "songs.json").read_text(encoding="utf-8"))  # what version 0.1.0 showed
EMBEDDED = {"text_encoder": "tiny-text", "vae": "tiny-vocoder"}


def named(value):
    """A value with folders of embedded models, which version 0.1.0 wrote as paths, under their names."""
    if isinstance(value, dict):
        return {key: named(inner) for key, inner in value.items()}
    found = isinstance(value, str) and re.fullmatch(r".*/acestep_core/tiny/(\w+)", value)
    return EMBEDDED[found[1]] if found else value


@pytest.mark.parametrize("name", SONGS)
def test_the_tags_of_every_format_are_read(name):
    shown = named(SONGS[name])
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in shown["settings"].items()}
    made = read_song(FOLDER / name)
    assert made.song == Song(**shown["song"]) and made.settings == GenerationSettings(**settings)
    assert made.models == shown["models"] and made.digests == {}
    assert audio.read(FOLDER / name).seconds == pytest.approx(10 if name == "named.opus" else 0.5, abs=0.05)


@pytest.mark.parametrize("name", SONGS)
def test_show_prints_the_same(name, capsys):
    assert cli.main(["show", str(FOLDER / name), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {key: shown[key] for key in SONGS[name]} == named(SONGS[name])
    assert cli.main(["show", str(FOLDER / name)]) == 0
    assert f"seed            {SONGS[name]['settings']['seed']}\n" in capsys.readouterr().out


def test_a_song_is_made_again(tmp_path, capsys):
    """As its settings say, by the models of now; also where the text encoder and the vocoder are named by paths in a
    pack that is not there any more.
    """
    made, asked = tmp_path / "again.opus", tmp_path / "asked.opus"
    assert cli.main(["generate", "--from", str(FOLDER / "named.opus"), "-o", str(made), "--device", "cpu"]) == 0
    assert "not the files" not in capsys.readouterr().err
    options = ["--seed", "5", "--seconds", "10", "--steps", "4", "--guidance", "apg:1.5", "--device", "cpu"]
    assert cli.main(["generate", "folk guitar", "-o", str(asked), *options]) == 0
    assert torch.equal(audio.read(made).samples, audio.read(asked).samples)
    assert audio.read(made).samples.shape == audio.read(FOLDER / "named.opus").samples.shape
    assert read_song(made).settings == read_song(FOLDER / "named.opus").settings


@pytest.mark.parametrize(
    "name, message",
    [
        ("lora.wav", "warm.safetensors: there is no such adapter"),
        ("reference.mp3", "clip.flac: does not exist, expected an audio file"),
        ("continue.ogg", "clip.flac: does not exist, expected an audio file"),
        ("graph.flac", "was made in ComfyUI by tiny-l, tiny-m, tiny-s; drop it there to get its graph again"),
    ],
)
def test_what_a_song_needs_and_is_not_here_is_named(name, message, own_folder, capsys):
    os.makedirs("models/loras")
    shutil.copy(FOLDER / "warm.safetensors", "models/loras")
    assert cli.main(["generate", "--from", str(FOLDER / name), "-o", "again.wav"]) == 2
    assert message in capsys.readouterr().err


def test_a_song_with_an_adapter_is_made_again(own_folder, capsys):
    os.makedirs("models/loras")
    shutil.copy(FOLDER / "warm.safetensors", "models/loras")
    options = ["-o", "a.wav", "--seconds", "10", "--steps", "3", "--lora", "L=warm:0.8"]
    assert cli.main(["generate", "--from", str(FOLDER / "lora.wav"), *options, "--device", "cpu"]) == 0
    assert read_song("a.wav").song == read_song(FOLDER / "lora.wav").song
    assert read_song("a.wav").settings.lora == ("l=warm:0.8",)
