"""Times and scores of lyrics: where they do better than the original, and which heads of a model they read."""

import dataclasses
import logging

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.locate import TINY_FOLDER
from acestep_pack.acestep_core.checkpoints.tokenizer_files import read_tokenizer
from acestep_pack.acestep_core.checkpoints.variants import VARIANTS, variant_defaults
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.models.condition import encode_condition
from acestep_pack.acestep_core.models.text_encoder import TextStates
from acestep_pack.acestep_core.models.velocity import prepare
from acestep_pack.acestep_core.planner.load import read_planner
from acestep_pack.acestep_core.prompt import lyrics_prompt
from acestep_pack.acestep_core.scoring import lyric_alignment, lyric_heads, lyric_times, planner_score
from acestep_pack.acestep_core.scoring.alignment import aligned, likelihood, path_of
from acestep_pack.acestep_core.scoring.lyric_times import Timed, lrc, lyric_tokens, timed_lines
from acestep_pack.acestep_core.song import Song
from core_tests.test_planner import MODEL

TURBO, SIZE = VARIANTS["turbo"], {"num_hidden_layers": 8, "num_attention_heads": 6}


@pytest.fixture(scope="module")
def planner():
    return read_planner(MODEL)


def tokens(*texts):
    return [Timed(text, number, number + 1.0) for number, text in enumerate(texts)]


# ---- lines, words and files ------------------------------------------------------------------------------------------


def test_lines_with_tags_are_left_out_and_words_have_times():
    lines = timed_lines(tokens("[Verse", "]\n", "neon", " ra", "in", "\n", "\n", "hold", " on"))
    assert [(line.text, line.start, line.end) for line in lines] == [("neon rain", 2.0, 6.0), ("hold on", 7.0, 9.0)]
    words = [(word.text, word.start, word.end) for word in lines[0].words]
    assert words == [("neon", 2.0, 3.0), ("rain", 3.0, 5.0)]


def test_scripts_without_spaces_have_a_word_a_token():
    (line,) = timed_lines(tokens("夜", "空の", "星"))
    assert [word.text for word in line.words] == ["夜", "空の", "星"]


def test_lrc_carries_from_hundredths_to_minutes():
    line = Timed("a b", 59.996, 61.0, (Timed("a", 59.996, 60.2), Timed("b", 60.2, 61.0)))
    assert lrc([line]) == "[01:00.00]a b"
    assert lrc([line], words=True) == "[01:00.00]<01:00.00>a <01:00.20>b"


def test_bytes_of_one_character_in_several_tokens_are_one_text(planner):
    texts, rows = lyric_tokens(planner.words.tokenizer, Song("x", "né 🎵\nla"))
    assert len(texts) == len(rows) and "".join(texts) == "né 🎵\nla" and texts.index("é") == 2 and texts[1] == ""


@pytest.mark.parametrize("family", ["planner", "embedded"])
def test_rows_of_lyrics_begin_behind_their_heading_and_end_before_the_end_of_text(planner, family):
    file = TINY_FOLDER / "text_encoder" / "tokenizer.json"
    tokenizer = planner.words.tokenizer if family == "planner" else read_tokenizer(file)
    song = Song("x", "[Verse]\nNeon  rain, café", language="en")
    texts, rows = lyric_tokens(tokenizer, song)
    every = tokenizer.encode(lyrics_prompt(song))
    assert "".join(texts) == song.lyrics and len(texts) == len(rows)
    assert every.tokens[rows.stop] == "<|endoftext|>" and every.offsets[rows.start][0] == lyrics_prompt(song).index("[")


def test_lyrics_that_the_models_cut_end_where_they_are_cut(planner, monkeypatch):
    monkeypatch.setattr(lyric_times, "LYRIC_TOKENS_MAX", 14)
    texts, rows = lyric_tokens(planner.words.tokenizer, Song("x", "neon rain on the window " * 20, language="en"))
    assert rows.stop == 14 and len(texts) == len(rows) > 0
    monkeypatch.setattr(lyric_times, "LYRIC_TOKENS_MAX", 3)
    assert lyric_tokens(planner.words.tokenizer, Song("x", "neon", language="en")) == ([], range(0))


def test_a_long_song_is_aligned_in_seconds():
    found = path_of(torch.rand(700, 1500))
    assert found[0][-1] == 699 and found[1][-1] == 1499


# ---- heads -----------------------------------------------------------------------------------------------------------


def test_heads_that_were_trained_to_follow_are_taken_at_their_word():
    """Even where no weight stands out: the right token has a fifth of it, all others together the rest."""
    tokens, each = 6, 10
    weights = torch.full((1, tokens, tokens * each), 0.1)
    for token in range(tokens):
        weights[0, token, token * each : (token + 1) * each] = 0.2
    path = path_of(-likelihood(weights).double())
    assert all(token == patch // each for token, patch in zip(*path))
    assert not aligned(weights).any()  # as of other heads


@pytest.mark.parametrize("rows, columns", [(3, 12), (5, 7), (7, 5), (1, 4)])
def test_where_nothing_is_found_lines_are_spread_evenly(rows, columns, caplog):
    tokens, patches = lyric_alignment._path(torch.zeros(rows, columns))
    assert "spread evenly over the song" in caplog.text
    assert (tokens[0], patches[0], tokens[-1], patches[-1]) == (0, 0, rows - 1, columns - 1)
    assert all(0 <= step <= 1 for way in (tokens, patches) for step in way[1:] - way[:-1])
    assert all(
        abs((token + 0.5) / rows - (patch + 0.5) / columns) <= 1 / min(rows, columns)
        for token, patch in zip(tokens, patches)
    )


def test_a_config_names_its_own_heads(tmp_path, caplog):
    key = "lyric_alignment_layers_config"
    assert variant_defaults({key: {"3": [1, 2], "10": [0]}}, tmp_path).lyric_heads == ((3, (1, 2)), (10, (0,)))
    assert variant_defaults({}, tmp_path).lyric_heads == ()
    own = variant_defaults({key: {"3": [1]}, "acestep_cascade": {"lyric_heads_trained": True}}, tmp_path)
    assert own.lyric_heads == ((3, (1,)),) and own.lyric_heads_trained
    with caplog.at_level(logging.WARNING):
        for wrong in ([1], {"a": [1]}, {"1": []}, {"1": [-1]}, {"1": 3}, {"9" * 99: [1]}, "x"):
            assert variant_defaults({key: wrong}, tmp_path).lyric_heads == ()
    assert len(caplog.messages) == 7 and all(key in message for message in caplog.messages)


def test_published_families_have_tables_of_their_own():
    known, of_two, of_xl = lyric_heads.known_heads, {**SIZE, "num_hidden_layers": 24}, {**SIZE, "num_hidden_layers": 32}
    assert known("2b", TURBO, of_two, "x")[6] == (8,) and known("xl", TURBO, of_xl, "x")[6] == (2, 12, 13)
    assert known("xl", TURBO, of_two, "x") is known("2b", TURBO, SIZE, "x") is None  # distilled, or the embedded ones


def test_a_config_wins_and_its_heads_are_there():
    own = dataclasses.replace(TURBO, lyric_heads=((1, (5,)),))
    assert lyric_heads.known_heads("2b", own, {**SIZE, "num_hidden_layers": 24}, "x") == {1: (5,)}
    with pytest.raises(UserError, match="got heads 6 of layer 1 for x, which has 8 layers of 6 heads"):
        lyric_heads.known_heads("2b", dataclasses.replace(own, lyric_heads=((1, (6,)),)), SIZE, "x")


def test_layers_behind_the_deepest_head_do_not_run(tiny_family, monkeypatch):
    from acestep_pack.acestep_core.checkpoints.load import load_stage_model

    model = load_stage_model(tiny_family / "l")
    text = TextStates(torch.randn(1, 3, 24), torch.randn(1, 5, 24))
    velocity = prepare(model.transformer, encode_condition(model, text, 20))
    ran = []
    for number, block in enumerate(model.transformer.layers):
        block.mlp.register_forward_hook(lambda *_, number=number: ran.append(number))
    latents = torch.randn(1, model.latents_channels, 20)
    found = lyric_heads.lyric_attention(velocity, latents, 0.1, {0: (1, 0)}, range(1, 4))
    assert ran == [0] and found.shape == (2, 3, 10)
    both = lyric_heads.lyric_attention(velocity, latents, 0.1, {0: (0, 1), 1: (1,)}, range(0, 5))
    assert torch.equal(both[:2, 1:4].flip(0), found)


def test_heads_that_are_not_known_are_all_of_them_and_the_log_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        table = lyric_heads.all_heads({**SIZE, "num_hidden_layers": 2}, "x")
    assert {layer: list(heads) for layer, heads in table.items()} == {0: [*range(6)], 1: [*range(6)]}
    assert "not known which attention heads of x" in caplog.text


# ---- planners --------------------------------------------------------------------------------------------------------


def test_a_time_signature_is_scored_as_planners_write_it(planner):
    model = planner.model()
    made = planner_score.planner_score(model, planner.words, range(40, 60), metadata={"timesignature": "4"})
    plain = planner_score._Reader(
        model, planner.words, range(40, 60), [block := "<think>\ntimesignature: 4\n</think>\n"]
    )
    with torch.no_grad():
        assert made.scores == {"timesignature": pytest.approx(plain.recall(block))}
    assert made.total == made.scores["timesignature"]


def test_nothing_to_score_is_no_score(planner):
    made = planner_score.planner_score(planner.model(), planner.words, range(40, 44))
    assert made.scores == {} and made.total == 0
