"""An adapter that is held to what its base does at songs of the base's own."""

import dataclasses
from itertools import islice, pairwise
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.load import load_stage_model, load_text_encoder, load_vocoder
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.models.velocity import prepare
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.training.captions import CAPTIONS_BYTES_MOST, STYLES, own_songs
from acestep_pack.acestep_core.training.generated_clips import generated_examples
from acestep_pack.acestep_core.training.lora import Trainer
from acestep_pack.acestep_core.training.prepare import Example
from acestep_pack.acestep_core.training.prior_preservation import item_at
from acestep_pack.acestep_core.training.settings import Intervals, LoraSettings

SETTINGS = LoraSettings(
    rank=2, steps=6, accumulate=4, warm_up=1, learning_rate=1e-2, crop_seconds=1.0, hold_out=0.0, preserve=0.25
)


@pytest.fixture
def trainer(tiny_family, tmp_path):
    """Trainers on three clips drawn at random, held to two songs drawn at random."""
    model, vocoder = load_stage_model(tiny_family / "s"), load_vocoder(tiny_family / "vae")

    def make(folder="work", names="xy", **changed):
        draw = torch.Generator().manual_seed(1)
        shapes = (1, 8, 60), (1, 6, 32)  # of latents and states
        drawn = [
            Example(Path(name), Song("x"), *(torch.randn(shape, generator=draw) for shape in shapes), name)
            for name in f"abc{names}"
        ]
        settings = dataclasses.replace(SETTINGS, **changed)
        return Trainer(model, drawn[:3], vocoder, tmp_path / folder, settings, Intervals(save=3), songs=drawn[3:])

    return make


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.9])
def test_the_share_is_met_and_neither_kind_loses_its_order(share):
    turns = [item_at(position, share) for position in range(400)]
    own, others = ([number for number, is_own in turns if is_own is kind] for kind in (True, False))
    assert len(own) == round(400 * share) and own == list(range(len(own))) and others == list(range(len(others)))
    places = [place for place, (_, is_own) in enumerate(turns) if is_own]
    assert all(later - earlier <= 1 / share + 1 for earlier, later in pairwise(places))


def test_its_own_songs_are_met_in_turn_and_clips_as_if_there_were_none(trainer):
    one = trainer()
    met = [one._example_at(position).path.name for position in range(16)]
    assert met[3::4] == ["x", "y", "x", "y"]
    clips = [name for position, name in enumerate(met) if position % 4 != 3]
    plain = trainer("plain", preserve=0.0)
    assert clips == [plain._example_at(position).path.name for position in range(12)]


def test_at_its_own_songs_it_is_taught_what_the_base_does(trainer):
    one = trainer()
    condition, music, noise, t = one._sample(5, 3)
    plain_condition, plain_music, plain_noise, plain_t = super(Trainer, one)._sample(5, 3)
    x_t = plain_t * plain_noise + (1 - plain_t) * plain_music
    assert t == plain_t and torch.equal(condition.states, plain_condition.states)
    torch.testing.assert_close(t * noise + (1 - t) * music, x_t)
    torch.testing.assert_close(noise - music, prepare(one.model.transformer, condition)(x_t, t))
    assert torch.equal(one._sample(5, 2)[1], super(Trainer, one)._sample(5, 2)[1])  # a clip's is its own
    # An adapter that does nothing yet is taught nothing there.
    assert float(one._loss(condition, music, noise, t).detach()) < 1e-10
    assert float(one._loss(plain_condition, plain_music, plain_noise, t).detach()) > 1e-2


@pytest.mark.slow
def test_it_stays_nearer_to_the_base_there(trainer):
    held, free = trainer("held", steps=40), trainer("free", steps=40, preserve=0.0)

    def drift(one):
        list(one.run())
        one.network.eval()
        return sum(float(one._loss(*held._sample(7 + i, 3 + 4 * i)).detach()) for i in range(8))

    assert drift(held) < 0.5 * drift(free)


def test_stopped_and_gone_on_with_it_is_the_unbroken_one(trainer):
    whole = [(it.step, it.loss) for it in trainer("whole").run()]
    first = [(it.step, it.loss) for it in islice(trainer("broken").run(), 3)]
    assert first + [(it.step, it.loss) for it in trainer("broken").run()] == whole
    with pytest.raises(UserError, match="holds a training with other preserve"):
        trainer("broken", preserve=0.5)
    with pytest.raises(UserError, match="holds a training with other clips"):
        trainer("broken", names="xz")


def test_what_makes_no_sense_is_said(trainer):
    with pytest.raises(UserError, match="preserve: got 0.25 and no songs, expected some that s made"):
        trainer(names="")
    with pytest.raises(UserError, match="preserve: got 1.5, expected 0 or more, below 1"):
        trainer(preserve=1.5)


def test_songs_made_at_another_dtype_are_others_and_the_piece_stays(tiny_family, tmp_path):
    model, text = load_stage_model(tiny_family / "s"), load_text_encoder(tiny_family / "text_encoder")
    examples = [*generated_examples(model, text, [Song("x")], 20, 1, tmp_path)]
    for network in (model.transformer, model.condition_encoder, text.model):
        network.to(dtype=torch.bfloat16)
        examples += generated_examples(model, text, [Song("x")], 20, 1, tmp_path)
    assert len({example.key for example in examples}) == 1 and len({example.path for example in examples}) == 4


def test_the_songs_are_a_files_the_bands_or_many_styles(tmp_path):
    assert [song.caption for song in own_songs(None, "turbo", 60.0)] == list(STYLES)
    assert {song.seconds for song in own_songs(None, "turbo", 3.0)} == {10.0}
    band = own_songs(None, "tiny", 12.0)
    assert len({song.caption for song in band}) > 20 and {song.seconds for song in band} == {12.0}
    assert not any("chiptune" in song.caption for song in band)
    file = tmp_path / "captions.txt"
    file.write_text('slow soul\n{"caption": "house", "bpm": 124}\n')
    named = own_songs(str(file), "turbo", 60.0)
    assert [(song.caption, song.seconds) for song in named] == [("slow soul", 60.0), ("house", 60.0)]
    file.write_text("a\n" * (CAPTIONS_BYTES_MOST // 2 + 1))
    with pytest.raises(UserError, match="captions.txt: got more than .* bytes, expected a text"):
        own_songs(str(file), "turbo", 60.0)
