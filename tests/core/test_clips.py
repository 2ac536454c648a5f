"""Clips of the recipe: short songs of which nothing but the latents is kept, and what draws from them."""

import numpy as np
import pytest
import torch
from acestep_pack.acestep_core.tiny_recipe import assignments, clips, latent_archive, latents, songs, vocoder

COUNT, CHANNELS = 3, vocoder.CONFIG["decoder_input_channels"]


@pytest.fixture(scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(songs, "CLIP_S", (1, 2))
        yield patch


@pytest.fixture(scope="module")
def made(small, tmp_path_factory):
    """A folder of encoded clips."""
    folder = tmp_path_factory.mktemp("clips")
    assert [done for done, _ in clips.encode_clips(encoder(), folder, COUNT)] == [1, 2, 3]
    return folder


def encoder():
    torch.manual_seed(0)
    return latents.Encoder(vocoder.new_vocoder().eval(), 2.0)


def test_clips_have_latents_and_notes_of_their_length_and_captions_of_their_own(made):
    library = latents.Library(made)
    assert [entry.seed for entry in library.clips] == [songs.FIRST_CLIP_SEED + i for i in range(COUNT)]
    for entry in library.clips:
        assert entry.facts.seconds in (1.0, 2.0) and entry.sketch == songs.sketch_of(entry.seed)
        assert entry.read(latents.MIX).shape == (CHANNELS, entry.frames)
        assert entry.read(latents.NOTES).shape == (24, entry.frames)
        assert entry.tracks == () and entry.twin is None
    assert len({entry.facts.captions[0][0] for entry in library.clips}) == COUNT


def test_a_clip_is_the_band_as_the_encoder_hears_it(made):
    facts, sound = clips.play_clip(songs.FIRST_CLIP_SEED, None)
    assert sound.shape == (2, facts.seconds * 48_000) and np.abs(sound.astype(np.int32)).max() > 3_000
    kept = latents.Library(made).clips[0].read(latents.MIX)
    assert np.array_equal(encoder()(sound), kept)


def test_clips_go_on_where_they_stopped(made, monkeypatch):
    monkeypatch.setattr(clips, "play_clip", None)
    assert list(clips.encode_clips(None, made, COUNT)) == []


def test_a_clip_that_cannot_be_played_is_passed_over(small, tmp_path, monkeypatch, caplog):
    play = clips.play_clip

    def fail_once(seed, font):
        if seed == songs.FIRST_CLIP_SEED:
            raise ValueError("no such chord")
        return play(seed, font)

    monkeypatch.setattr(clips, "play_clip", fail_once)
    assert [done for done, _ in clips.encode_clips(encoder(), tmp_path, 2)] == [2]
    assert "no such chord): passed over" in caplog.text


def test_text_to_music_is_mostly_taught_by_clips_and_covers_by_both(small, made, tmp_path):
    folder = tmp_path / "both"
    folder.mkdir()
    for path in made.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    seed = songs.FIRST_SEED + 1
    small.setattr(songs, "SHORT_SHARE", 1.0)
    small.setattr(songs, "SHORT_S", (2, 2))
    list(songs.make(tmp_path / "songs", songs.Order(1, first=seed, workers=1)))
    list(latents.encode_songs(encoder(), songs.Shelf(tmp_path / "songs"), folder))
    library, rng = latents.Library(folder), np.random.default_rng(0)
    shares = {task: [] for task in assignments.SHARES}
    for _ in range(900):
        item = assignments.draw(rng, library, True)
        shares[item.task].append(item.entry.is_clip)
    for task, known in shares.items():
        assert not known or np.mean(known) == pytest.approx(assignments.CLIP_SHARES.get(task, 0.0), abs=0.15), task
    assert [entry.seed for entry in library.songs] == [seed]
    # A state has the songs, and not the clips, whose sounds never lay on a shelf.
    assert [list(song)[-1] for song in latent_archive._songs(folder)] == [f"{seed}.json"]
    assert latents.forgotten(folder, songs.Shelf(tmp_path / "nothing")) == {seed}
