"""What is heard of a training: the song that a cascade makes with and without what was learnt."""

from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core import audio
from acestep_pack.acestep_core.checkpoints.load import load_stage_model, load_text_encoder, load_vocoder
from acestep_pack.acestep_core.checkpoints.locate import find
from acestep_pack.acestep_core.generation.cascade import Cascade
from acestep_pack.acestep_core.lora.apply import apply_adapter
from acestep_pack.acestep_core.models.condition import encode_condition
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.training.lora import Trainer
from acestep_pack.acestep_core.training.prepare import Example
from acestep_pack.acestep_core.training.preview import OtherStages, Preview, StagePlayer, other_stages_of
from acestep_pack.acestep_core.training.settings import Intervals, LoraSettings

SONG = Song("warm house", seconds=10)
SETTINGS = LoraSettings(rank=2, steps=4, accumulate=1, warm_up=0, learning_rate=0.1, crop_seconds=10.0, seed=5)


@pytest.fixture(scope="module")
def parts(tiny_family):
    """l, m, s, text encoder, vocoder."""
    stages = [load_stage_model(tiny_family / slot) for slot in "lms"]
    return *stages, load_text_encoder(tiny_family / "text_encoder"), load_vocoder(tiny_family / "vae")


def states(model, text):
    with torch.no_grad():
        return encode_condition(model, text.encode(SONG), 1).states


def example(model, text):
    latents = torch.randn(1, 8, 334, generator=torch.Generator().manual_seed(0))
    return Example(Path("0.wav"), SONG, latents, states(model, text), "0")


def test_the_files_are_the_cascades_song_with_and_without_the_adapter(parts, tmp_path):
    l, m, s, text, vocoder = parts  # noqa: E741
    trainer = Trainer(m, [example(m, text)], vocoder, tmp_path, SETTINGS, Intervals(save=0, measure=0, preview=2))
    trainer.other_stages = OtherStages((StagePlayer(l, states(l, text)),), (StagePlayer(s, states(s, text)),))
    told = [it for it in trainer.run() if it.preview]
    assert [it.preview.name for it in told] == ["step-000002.flac", "step-000004.flac"]
    assert {it.without for it in told} == {tmp_path / "previews" / "without.flac"}
    worn, _ = apply_adapter(m, trainer.adapter())
    for middle, file in ((worn, told[-1].preview), (m, told[-1].without)):
        wave = Cascade([l, middle, s], text, vocoder).generate(SONG, seed=5)
        heard = audio.read(file).samples[..., : wave.samples.shape[-1]]  # of whole frames
        torch.testing.assert_close(heard, wave.samples, rtol=0, atol=1e-3)
    with_it, without = (audio.read(file).samples for file in (told[-1].preview, told[-1].without))
    assert float((with_it - without).abs().max()) > 0.01


def test_a_model_alone_wears_what_it_learns_on_its_stretch(parts):
    _, m, _, text, vocoder = parts
    settings = LoraSettings(start=0.8333, end=0.5)
    preview = Preview(m, example(m, text), 334, vocoder, settings, OtherStages())
    assert [part.times[0] for part in preview._plan] == [1.0, pytest.approx(0.8333), 0.5]
    alone = Cascade([m], text, vocoder).generate(SONG, seed=0, boundaries=(0.8333, 0.5))
    made = preview.generate(m).samples[..., : alone.samples.shape[-1]]
    torch.testing.assert_close(made, alone.samples, rtol=0, atol=1e-3)
    assert len(Preview(m, example(m, text), 334, vocoder, LoraSettings(), OtherStages())._plan) == 1


def test_fellows_are_those_of_the_cascade_that_a_model_was_made_for(parts):
    text = load_text_encoder(find("tiny-text", "text").path)
    model = find("tiny-m", "stage")
    other_stages = other_stages_of(model, (0.8, 0.5), example(parts[1], parts[3]), text)
    assert [player.model.name[-1] for player in (*other_stages.before, *other_stages.after)] == ["l", "s"]
    assert all(player.states.shape[1] > 4 for player in (*other_stages.before, *other_stages.after))
    assert other_stages_of(model, None, example(parts[1], parts[3]), text) == OtherStages()
