"""Costly results are made once, and the oldest are let go."""

import pytest
import torch
from acestep_pack.acestep_core import Cascade, Song, audio
from acestep_pack.acestep_core.generation import cascade as generate
from acestep_pack.acestep_core.memory.lru import LruCache
from acestep_pack.acestep_core.models import condition
from acestep_pack.acestep_core.models.text_encoder import TextEncoder
from acestep_pack.acestep_core.models.vocoder import Vocoder


def test_the_least_wanted_goes_first():
    made, recent = [], LruCache(2)

    def get(key):
        return recent.get(key, lambda: made.append(key) or key)

    assert [get(key) for key in "aabacab"] == list("aabacab")
    assert made == ["a", "b", "c", "b"]


@pytest.fixture
def runs(monkeypatch):
    """The names of encoders, one each time that one runs."""
    names = []

    def watched(name, function):
        return lambda *given, **more: names.append(name) or function(*given, **more)

    monkeypatch.setattr(TextEncoder, "encode_prompts", watched("text", TextEncoder.encode_prompts))
    monkeypatch.setattr(Vocoder, "encode", watched("clip", Vocoder.encode))
    monkeypatch.setattr(generate, "encode_condition", watched("condition", condition.encode_condition))
    return names


def test_a_song_of_another_seed_runs_no_encoder(runs):
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


def test_clips_are_encoded_once_until_their_files_change(runs, tiny_family, tmp_path):
    cascade = Cascade.load(tiny_family, device="cpu")
    tone = 0.4 * torch.sin(torch.arange(32000) * 0.1).expand(1, 2, -1).clone()
    clip, first = tmp_path / "clip.wav", tmp_path / "first.wav"
    audio.write(clip, audio.Waveform(tone, 16000))
    audio.write(first, audio.Waveform(tone, 16000))

    def song(seed, **clips):
        runs.clear()
        cascade.generate(Song("x", seconds=10), seed=seed, **clips)
        return [name for name in runs if name != "text"]

    assert song(1, reference=[clip], continue_from=first) == ["clip"] * 2 + ["condition"] * 3
    assert song(2, reference=clip, continue_from=str(first)) == []
    assert song(2, reference=[clip]) == ["clip"] + ["condition"] * 3
    audio.write(clip, audio.Waveform(tone[..., 1:], 16000))
    assert song(2, reference=[clip]) == ["clip"] + ["condition"] * 3
    with pytest.raises(ValueError, match=r"the song is 10.0 s and the clip to continue \(.*first.wav\) 11.0 s"):
        audio.write(first, audio.Waveform(tone.repeat(1, 1, 6)[..., : 11 * 16000], 16000))
        song(3, continue_from=first)
    with pytest.raises(ValueError, match="steps: got 1,1 for 3 stages"):
        song(3, reference=[first], steps=(1, 1))
    assert runs == []  # what cannot be is told before clips are encoded
