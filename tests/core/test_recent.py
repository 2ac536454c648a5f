"""Costly results are made once, and the oldest are let go."""

from acestep_pack.acestep_core import Cascade, Song, condition, generate
from acestep_pack.acestep_core.recent import Recent
from acestep_pack.acestep_core.text import TextEncoder


def test_the_least_wanted_goes_first():
    made, recent = [], Recent(2)

    def get(key):
        return recent.get(key, lambda: made.append(key) or key)

    assert [get(key) for key in "aabacab"] == list("aabacab")
    assert made == ["a", "b", "c", "b"]


def test_a_song_of_another_seed_runs_no_encoder(monkeypatch):
    runs = []

    def watched(name, function):
        return lambda *given, **more: runs.append(name) or function(*given, **more)

    monkeypatch.setattr(TextEncoder, "encode", watched("text", TextEncoder.encode))
    monkeypatch.setattr(generate, "encode_condition", watched("condition", condition.encode_condition))
    cascade = Cascade.load("tiny")

    def song(caption, seed, seconds=10):
        runs.clear()
        cascade.generate(Song(caption, seconds=seconds), seed=seed, steps=(1, 1, 1), guidance=1)
        return runs.copy()

    assert song("calm lo-fi beat", 1) == ["text", "condition", "condition", "condition"]
    assert song("calm lo-fi beat", 2) == []
    assert song("dark techno", 2) == ["text", "condition", "condition", "condition"]
    assert song("calm lo-fi beat", 3) == []
    assert song("calm lo-fi beat", 3, seconds=11)[-3:] == ["condition"] * 3
