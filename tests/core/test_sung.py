"""When the words of the lyrics are sung, and the head that is trained to follow them."""

import numpy as np
import pytest
import torch
from acestep_pack.acestep_core.band import Sketch
from acestep_pack.acestep_core.band.form import form_of
from acestep_pack.acestep_core.band.lyrics import lines_of
from acestep_pack.acestep_core.band.score import sung_words, write
from acestep_pack.acestep_core.prompt import lyrics_prompt
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.tiny_recipe import songs, sung
from acestep_pack.acestep_core.tiny_recipe.words import new_tokenizer


@pytest.fixture(scope="module")
def facts():
    """A song of several sections, with a singer."""
    seeds = range(songs.FIRST_SEED, songs.FIRST_SEED + 200)
    seed = next(n for n in seeds if songs.sketch_of(n).sung and len(form_of(songs.sketch_of(n)).sections) > 3)
    return songs.facts_of(seed, False, with_stems=False)


def test_each_word_has_the_time_of_its_syllables(facts):
    sketch = facts.sketch
    lines, words = lines_of(form_of(sketch)), sung_words(sketch)
    assert [" ".join(text for text, _, _ in line).lower() for line in words] == [line.text.lower() for line in lines]
    notes = [event for event in write(sketch) if event.role == "vocals"]
    starts = [start for line in words for _, start, _ in line]
    assert starts == sorted(starts)
    begins = {round(event.beat * sketch.seconds_per_beat, 6) for event in notes}
    assert {round(start, 6) for start in starts if start < sketch.seconds} <= begins
    for line, own in zip(lines, words):
        bar = sketch.seconds_per_bar
        assert line.first_bar * bar <= own[0][1] and own[-1][2] <= (line.first_bar + line.bars) * bar + 1e-6


@pytest.mark.parametrize("part", [None, (2, 12.0)], ids=["whole", "a part"])
def test_tokens_of_the_word_that_is_sung(facts, part):
    bar, tokenizer = facts.sketch.seconds_per_bar, new_tokenizer()
    crop = songs.Crop(facts, 0.0, facts.seconds) if part is None else songs.Crop(facts, part[0] * bar, part[1])
    prompt = lyrics_prompt(crop.request())
    spans = sung.spans_of(prompt, crop, facts.sketch)
    said = [prompt[span.first : span.after].lower() for span in spans]
    words = " ".join(said).replace("[", " [").split()
    assert words == crop.lyrics.lower().split()  # all of them, in their order
    made = tokenizer(prompt, return_offsets_mapping=True)
    middles = torch.arange(0, crop.seconds, 0.05, dtype=torch.float64)
    rows = sung.rows_of(spans, made.offset_mapping, middles)
    assert rows.shape == (len(middles), 2)
    for at, (first, after) in zip(middles.tolist(), rows.tolist()):
        now = [text for text, span in zip(said, spans) if span.start_s <= at < span.end_s]
        if now:
            text = tokenizer.decode(made.input_ids[first:after]).translate({ord(c): "" for c in "▁ "})
            assert text == now[-1].replace(" ", "")
        else:
            assert first == after == 0
    lines = [start - crop.start_s for _, start, _ in facts.lines if crop.has(start)]
    for start in lines:  # a line begins with a word of its own, not with the tag
        assert any(abs(span.start_s - start) < 2 * bar and prompt[span.first] != "[" for span in spans)


def test_no_lyrics_have_no_words(facts):
    crop = songs.Crop(facts, 0.0, facts.seconds)
    assert sung.spans_of(lyrics_prompt(Song(caption="x")), crop, facts.sketch) == []
    assert sung.rows_of([], [(0, 3)], torch.arange(4.0)).tolist() == [[0, 0]] * 4


def test_a_head_is_measured_by_the_weight_it_gives_to_the_words_of_the_moment():
    tokens, heard = (3, 2), (4, 1)
    keys = torch.cat([torch.eye(4), torch.zeros(1, 4)])
    right = torch.cat([60 * torch.eye(4)[[1, 2, 0]], torch.zeros(2, 4)])
    rows = torch.tensor([[1, 2], [2, 4], [0, 0], [0, 1], [0, 1]])  # an item of one state knows no words
    assert float(sung.missed(right, keys, rows, tokens, heard)) < 1e-4
    even = sung.missed(torch.zeros(5, 4), keys, rows, tokens, heard)
    assert float(even) == pytest.approx((np.log(4) + np.log(2)) / 2, abs=1e-5)
    assert float(sung.missed(right, keys, torch.zeros_like(rows), tokens, heard)) == 0


def test_a_song_without_a_singer_sings_nothing():
    sketch = next(s for s in map(Sketch.draw, range(50)) if not s.sung)
    assert sung_words(sketch) == []
