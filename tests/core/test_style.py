"""The measurement of an adapter of a style: run small, with every part real."""

import json

import pytest
from acestep_pack.acestep_core.band import folder
from acestep_pack.acestep_core.cli import bench_lora
from acestep_pack.acestep_core.cli.parser import MISTAKE, OK, main
from acestep_pack.acestep_core.console import Console
from acestep_pack.acestep_core.evaluation import adapters as adapters
from acestep_pack.acestep_core.evaluation import style
from acestep_pack.acestep_core.training import captions


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(style, "SECONDS", 3.0)
    monkeypatch.setattr(captions, "STYLES", captions.STYLES[:2])  # as many songs of its own hold it
    quick = ("--steps", "12", "--learning-rate", "3e-3", "--crop", "3", "--warm-up", "0")
    monkeypatch.setattr(bench_lora, "TRAINING", quick)
    whole = adapters.make
    monkeypatch.setattr(adapters, "make", lambda *given, **more: whole(*given, steps=(1, 1, 1), **more))


@pytest.mark.slow
def test_a_style_is_trained_and_measured(small, tmp_path, capsys):
    asked = ["bench", "lora", "--work", str(tmp_path), "--clips", "4", "--songs", "2", "--json", "--quiet"]
    assert main(asked) == OK
    told = json.loads(capsys.readouterr().out)
    assert told["minutes of training, clips prepared and all"] > 0
    assert told["loss on clips of the style: after"] < 0.9 * told["loss on clips of the style: before"]
    assert told["songs of the style, distance to it: after"] != told["songs of the style, distance to it: before"]
    assert told["songs of other styles, change at one seed (dB)"] > 0.1
    assert (tmp_path / "chiptune.safetensors").is_file() and len(list((tmp_path / "clips").glob("*.txt"))) == 4


def test_a_training_that_is_gone_on_with_tells_no_minutes(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "write_clips", lambda *clips: ())
    monkeypatch.setattr(adapters, "measure", lambda *wishes: {})
    work = tmp_path / "chiptune.safetensors.training"
    told = [
        style.measure_style(tmp_path, 4, 2, 1.0, 0.25, Console(quiet=True), lambda *wishes: work.mkdir(exist_ok=True))
        for _ in range(2)
    ]
    assert set(told[0]) - set(told[1]) == {"minutes of training, clips prepared and all"}


def test_no_clip_that_is_measured_is_trained_on():
    measured = set(range(adapters.STYLE_SEEDS, adapters.STYLE_SEEDS + 10_000))
    seeds = style.training_seeds(2_000)
    assert len(set(seeds)) == 2_000 and not measured & set(seeds)
    assert seeds[: style.CLIPS] == [*range(2_000_000, 2_000_000 + style.CLIPS)]


def test_too_few_songs_are_refused(capsys):
    assert main(["bench", "lora", "--songs", "1"]) == MISTAKE
    assert "--songs: got 1, expected at least 2" in capsys.readouterr().err
