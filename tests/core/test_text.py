import logging

import pytest
import torch
from acestep_pack.acestep_core.models.qwen3 import Qwen3, hidden_states
from acestep_pack.acestep_core.models.text_encoder import TextEncoder
from acestep_pack.acestep_core.prompt import lyrics_prompt, text_prompt
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.system.torchaudio_import import settle_torchaudio

settle_torchaudio()  # before transformers, which imports torchaudio wherever it is installed

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import Qwen3Config, Qwen3Model


@pytest.fixture(scope="module")
def encoder():
    """transformers' Qwen3, small; its tokenizer of bytes ends a prompt by itself, as Qwen3-Embedding's does."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0, **{letter: i + 1 for i, letter in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)]
    )
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    return TextEncoder(Qwen3Model(config).eval(), tokenizer)


@torch.no_grad()
def test_text_is_a_full_forward_and_lyrics_a_lookup(encoder):
    song = Song("lo-fi beat", "la la")
    states = encoder.encode(song)
    text_ids, lyric_ids = (
        torch.tensor([encoder.tokenizer.encode(prompt(song)).ids]) for prompt in (text_prompt, lyrics_prompt)
    )
    assert text_ids[0, -1] == 0 and text_ids[0, -3] == 0  # the prompt's own end, a line feed, the tokenizer's end
    assert torch.equal(states.text, encoder.model(text_ids).last_hidden_state)
    assert torch.equal(states.lyrics, encoder.model.embed_tokens(lyric_ids))
    assert states.text.shape == (1, text_ids.shape[1], 32) and states.lyrics.shape == (1, lyric_ids.shape[1], 32)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "more",
    [{}, {"attention_bias": True, "num_key_value_heads": 2}, {"use_sliding_window": True, "sliding_window": 5}],
    ids=["as published", "bias, no groups", "windows"],
)
def test_our_qwen3_is_transformers_to_the_bit(more, dtype):
    torch.manual_seed(1)
    sizes = dict(vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2)
    sizes |= {"num_key_value_heads": 1, "head_dim": 16, "max_window_layers": 1, **more}
    theirs = Qwen3Model(Qwen3Config.from_dict({**sizes, "rope_theta": 5e5})).to(dtype).eval()
    own = Qwen3(**sizes, rope_theta=5e5).to(dtype)
    own.load_state_dict(theirs.state_dict())
    own.rotary_emb.inv_freq = theirs.rotary_emb.inv_freq.float()
    ids = torch.randint(0, 50, (1, 23))
    expected = theirs(ids, use_cache=False).last_hidden_state
    assert torch.equal(hidden_states(own, ids), expected) and torch.equal(hidden_states(theirs, ids), expected)


@torch.no_grad()
def test_long_lyrics_are_cut_and_the_log_says_so(encoder, caplog):
    with caplog.at_level(logging.WARNING):
        states = encoder.encode(Song("x", "la " * 1000))
    assert states.lyrics.shape[1] == 2048
    assert "lyrics: too long" in caplog.text and "the model reads the first 2048" in caplog.text


@torch.no_grad()
def test_a_long_caption_is_cut_and_the_log_says_so(encoder, caplog):
    ids = encoder._tokens("drums " * 100, 256, "caption")[0]
    assert len(ids) == 256 and ids[-1] == 0 and ids[-2] != 0  # cut before the tokenizer's end
    assert encoder.encode(Song("drums " * 100)).text.shape[1] == 256
    assert "caption: too long" in caplog.text


@torch.no_grad()
def test_the_instruction_reaches_the_text(encoder):
    plain, other = encoder.encode(Song("x")), encoder.encode(Song("x"), "Repaint:")
    assert plain.text.shape != other.text.shape and torch.equal(plain.lyrics, other.lyrics)
