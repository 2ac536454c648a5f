"""A song's condition through a model's own encoder: what it holds, in which order, and what silence and clips do."""

from dataclasses import replace

import pytest
import torch
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.models import condition as condition_module
from acestep_pack.acestep_core.models.condition import context, encode_condition, encode_timbre
from acestep_pack.acestep_core.models.kept import Kept
from acestep_pack.acestep_core.models.reference import ContinuationSource, Reference
from acestep_pack.acestep_core.models.text_encoder import TextStates
from core_tests.in_diffusers import in_diffusers

CHANNELS, WIDTH, TEXT_WIDTH = 8, 32, 24


@pytest.fixture(scope="module")
def model(tiny_family):
    return load_stage_model(tiny_family / "l")


def text(words=5, lyrics=9, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return TextStates(
        torch.randn(1, words, TEXT_WIDTH, generator=draw), torch.randn(1, lyrics, TEXT_WIDTH, generator=draw)
    )


def clip(frames=75, seed=1):
    return torch.randn(1, CHANNELS, frames, generator=torch.Generator().manual_seed(seed))


def test_states_are_lyrics_then_timbre_then_text(model):
    states = text()
    condition = encode_condition(model, states, frames=60)
    assert condition.states.shape == (1, 9 + 1 + 5, WIDTH)
    assert condition.null.shape == (1, 1, WIDTH)
    encoder = model.condition_encoder
    with torch.no_grad():
        assert torch.equal(condition.states[:, 10:], encoder.text_projector(states.text))
        theirs = in_diffusers(encoder).lyric_encoder
        sung = theirs(inputs_embeds=states.lyrics, attention_mask=torch.ones(1, 9, dtype=torch.bool))
        assert torch.allclose(condition.states[:, :9], sung, atol=1e-5)
        silent = encode_timbre(encoder.timbre_encoder, model.silent(model.timbre_frames), timbre_token=False)
    assert torch.allclose(condition.states[:, 9], silent, atol=1e-6)


def test_each_clip_is_one_token(model):
    plain = encode_condition(model, text(), 60)
    one = encode_condition(model, text(), 60, Reference(timbre=(clip(),)))
    two = encode_condition(model, text(), 60, Reference(timbre=(clip(), clip(seed=2))))
    assert one.states.shape == plain.states.shape and two.states.shape[1] == 9 + 2 + 5
    assert not torch.allclose(one.states[:, 9], plain.states[:, 9], atol=1e-3)
    assert torch.allclose(two.states[:, 9], one.states[:, 9], atol=1e-5)


def test_a_clip_is_brought_to_the_length_that_the_model_takes(model):
    long = torch.cat([torch.full((1, CHANNELS, 100), float(i)) for i in range(3)], dim=-1)
    same = torch.cat([torch.full((1, CHANNELS, 25), float(i)) for i in range(3)], dim=-1)
    got, expected = (encode_condition(model, text(), 60, Reference(timbre=(x,))).states for x in (long, same))
    assert model.timbre_frames == 75
    assert torch.equal(got, expected)


def test_xl_models_pool_at_a_token_of_their_own(model):
    encoder = model.condition_encoder.timbre_encoder
    with torch.no_grad():
        first, token = (encode_timbre(encoder, clip(), timbre_token=flag) for flag in (False, True))
        assert not torch.allclose(first, token, atol=1e-2)
        # Without it, diffusers' own forward; with it, the same forward on a sequence that begins with the token.
        theirs = in_diffusers(model.condition_encoder).timbre_encoder
        own, _ = theirs(clip().transpose(1, 2), torch.zeros(1, dtype=torch.long))
        assert torch.allclose(own[:, 0], first, atol=1e-5)
        theirs.embed_tokens.register_forward_hook(lambda _, __, out: torch.cat([encoder.special_token, out], 1))
        own, _ = theirs(clip().transpose(1, 2), torch.zeros(1, dtype=torch.long))
    assert torch.allclose(own[:, 0], token, atol=1e-5)
    xl = encode_condition(replace(model, family="xl"), text(), 60, Reference(timbre=(clip(),)))
    assert torch.allclose(xl.states[:, 9], token, atol=1e-5)


# ---- context ---------------------------------------------------------------------------------------------------------


def test_a_new_song_has_silence_for_a_source_and_is_new_everywhere(model):
    made = encode_condition(model, text(), 60).context
    assert made.shape == (1, 2 * CHANNELS, 60)
    assert torch.equal(made[:, :CHANNELS], model.silent(60))
    assert (made[:, CHANNELS:] == 1).all()
    assert model.silence.shape[-1] == 40  # longer songs go on with the last frame of it
    assert torch.equal(made[:, :CHANNELS, 39:], model.silence[..., -1:].expand(-1, -1, 21))


def test_a_continued_clip_is_the_source_where_it_is_kept(model):
    source = ContinuationSource(clip(20), Waveform(torch.zeros(1, 2, 20 * 480), 16000))
    made = encode_condition(model, text(), 60, Reference(source=source)).context
    assert torch.equal(made[:, :CHANNELS, :20], clip(20))
    assert torch.equal(made[:, :CHANNELS, 20:], model.silent(60)[..., 20:])
    assert (made[:, CHANNELS:, :20] == 0).all() and (made[:, CHANNELS:, 20:] == 1).all()
    with pytest.raises(UserError, match="ask for a longer song"):
        encode_condition(model, text(), 20, Reference(source=source))


def test_a_window_anywhere_and_one_for_each_item():
    silence = torch.zeros(1, CHANNELS, 10)
    window = torch.zeros(2, 10, dtype=torch.bool)
    window[0, 2:4], window[1, 5:] = True, True
    made = context(silence, Kept(clip(10), window))
    assert made.shape == (2, 2 * CHANNELS, 10)
    assert torch.equal(made[:, CHANNELS:].bool(), window[:, None].expand(-1, CHANNELS, -1))
    assert torch.equal(made[0, :CHANNELS, 4:], clip(10)[0, :, 4:]) and (made[0, :CHANNELS, 2:4] == 0).all()


def test_encoding_leaves_no_gradients(model):
    condition = encode_condition(model, text(), 60)
    assert not (condition.states.requires_grad or condition.null.requires_grad)


def test_silence_is_heard_once_by_each_encoder(tiny_family, monkeypatch):
    runs = []
    monkeypatch.setattr(
        condition_module, "encode_timbre", lambda *given: runs.append(given[0]) or encode_timbre(*given)
    )
    model, other = load_stage_model(tiny_family / "l"), load_stage_model(tiny_family / "m")
    first = encode_condition(model, text(), 60)
    for frames in (60, 80):
        assert torch.equal(encode_condition(replace(model, name="worn"), text(), frames).states, first.states)
    assert len(runs) == 1
    assert not torch.equal(encode_condition(other, text(), 60).states, first.states)
    assert runs == [model.condition_encoder.timbre_encoder, other.condition_encoder.timbre_encoder]
    encode_condition(replace(model, family="xl"), text(), 60)
    model.condition_encoder.requires_grad_(True)
    encode_condition(model, text(), 60)
    assert len(runs) == 4
