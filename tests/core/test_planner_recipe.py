"""The recipe of the embedded planner: true texts, tokens as in decoding, a training that goes on, files that load."""

import itertools

import numpy as np
import pytest
import torch
from acestep_pack.acestep_core.planner import grammar
from acestep_pack.acestep_core.planner.load import read_planner
from acestep_pack.acestep_core.planner.metadata import read_answer
from acestep_pack.acestep_core.planner.planner import Planner
from acestep_pack.acestep_core.planner.vocabulary import THINK_END
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.tiny_recipe import export, planner, planner_lines, planner_texts, planner_words, recipe
from acestep_pack.acestep_core.tiny_recipe.planner_texts import Piece, coded_example, example_of

SMALL = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, head_dim=16)
PIECE = Piece(Song("calm folk", "[Verse]\nla", 90, "C major", "4", "en", 10), tuple(range(50)))


@pytest.fixture(scope="module", autouse=True)
def small():
    """A tokenizer of few texts, and a small network in small batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner_words, "SAMPLES", 60)
        planner_words.tokenizer_table.cache_clear()
        patch.setattr(planner, "CONFIG", planner.CONFIG | SMALL)
        patch.setattr(planner, "BATCH", 2)
        patch.setattr(planner, "POOL", 2)
        yield
    planner_words.tokenizer_table.cache_clear()


@pytest.fixture(scope="module")
def words(small):
    return planner_words.vocabulary_of(planner_words.tokenizer_table())


def sketches(count):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        sketch = planner_texts.sketch_of(rng, seed)
        yield sketch, planner_lines.line_of(rng, sketch, "sea" if sketch.sung else "").lower()


def says(line, words):
    return any(f" {word} " in f" {line.replace(',', ' ')} " for word in words)


def test_lines_say_what_is_true_of_the_song():
    said = set()
    for sketch, line in sketches(120):
        tempi = {name for name, words in planner_lines.TEMPO_WORDS.items() if says(line, words)}
        metres = {metre for metre, words in planner_lines.METRE_WORDS.items() if says(line, words)}
        assert tempi <= {planner_lines.tempo_of(sketch.bpm)}, line
        assert metres <= {sketch.metre}, line
        assert not says(line, ("instrumental", "without words")) or not sketch.sung
        said |= tempi | metres
    assert said == {"slow", "medium", "fast", 3, 4, 6}


@pytest.mark.parametrize("seed", range(6))
def test_an_answer_has_the_tokens_that_decoding_writes(words, seed):
    answer = example_of(seed).answer.partition(THINK_END)[0] + THINK_END
    fields = read_answer(answer).metadata
    given = {name: value for name, value in fields.items() if name != "caption"}
    caption = iter(words.encode(answer.partition("caption:")[2].partition("duration:")[0]))
    writer, tokens = grammar.thoughts(words, grammar.fields(), given), []
    allowed = next(writer)
    while allowed is not None:
        token = allowed.forced
        if allowed.asks:
            following = next(caption, None)
            token = words.newline if following is None else following
            caption = itertools.chain([] if following is None else [following], caption)
        elif token is None:
            token = next(caption)
        tokens += [] if allowed.asks else [token]
        try:
            allowed = writer.send(token)
        except StopIteration:
            allowed = None
    assert tokens == words.encode(answer)


def test_codes_join_plans_and_descriptions(words):
    verbs = {}
    for seed in range(20):
        example = coded_example(np.random.default_rng(seed), PIECE)
        verbs[example.verb] = example
    assert set(verbs) == set(planner_texts.CODED_VERBS)
    assert [one for one in words.encode(verbs["codes"].answer) if one in words.code_ids][1] == words.first_code + 1
    assert words.encode(verbs["understand"].prompt).count(words.first_code + 7) == 1
    ids, weights = planner.weighed(words, verbs["codes"])
    assert sum(weights) == 51 and len(ids) == len(weights)
    for seed in range(4):
        example = example_of(seed)
        ids, weights = planner.weighed(words, example)
        assert ids == words.encode(example.prompt + example.answer)[: planner.MOST_TOKENS]
        assert set(weights) <= {0.0, 1.0, planner.LYRICS_WEIGHT, planner.VALUES_WEIGHT}


class _Pieces:
    def draw(self, rng):
        return PIECE


def trained(folder, steps, pieces=None):
    trainer = planner.Trainer(folder, steps, pieces=pieces)
    losses = [parts["loss"] for _, parts, _ in trainer.run()]
    return trainer, losses


@pytest.mark.parametrize("pieces", [pytest.param(None, marks=pytest.mark.slow), _Pieces()], ids=["text", "with codes"])
def test_a_training_that_was_stopped_goes_on_as_if_it_was_not(tmp_path, monkeypatch, pieces):
    monkeypatch.setattr(planner, "warm_then_cool", lambda *given, **more: 1.0)
    whole, _ = trained(tmp_path / "whole", 3, pieces)
    trained(tmp_path / "parts", 2, pieces)
    parts, _ = trained(tmp_path / "parts", 3, pieces)
    ours, theirs = parts.network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_trained_planner_is_loaded_as_published_ones_are(tmp_path, monkeypatch):
    monkeypatch.setattr(planner_lines, "PROMISES", planner_lines.PROMISES[-2:-1])
    writer = grammar.lyrics
    monkeypatch.setattr(grammar, "lyrics", lambda words: writer(words, 8))  # it has not learned to end
    steps = recipe.Recipe(tmp_path, tmp_path / "tiny", steps={"planner": 20})._phase("planner", None)
    texts = [text for *_, text in steps]
    assert float(texts[19].split()[1]) < float(texts[0].split()[1])  # the loss
    assert texts[-1].endswith(("0 of 1 lines give what they say", "1 of 1 lines give what they say"))
    files = read_planner(tmp_path / "tiny" / "planner")
    assert files.words.codes == 1_000 and "planner" in files.checkpoint.parts
    made = Planner.load(tmp_path / "tiny" / "planner", device="cpu", cache=False)
    plan = made.plan(Song("slow waltz", seconds=10))
    assert plan.song.bpm and plan.song.key and len(plan.codes) == 50 and max(plan.codes) < 1_000
    assert export.finished_state(tmp_path / "planner.pt", "planner")["step"] == 20


def test_a_training_keeps_its_vocabulary(tmp_path, monkeypatch):
    before, _ = trained(tmp_path, 1, _Pieces())
    monkeypatch.setattr(planner, "tokenizer_table", None)
    assert planner.Trainer(tmp_path, 1).words.encode("bpm: 90\n") == before.words.encode("bpm: 90\n")


def test_promises_are_sixteen_lines_and_can_be_kept():
    kept = {
        "slow": dict(bpm=70),
        "fast": dict(bpm=150),
        "minor": dict(key="A minor"),
        "major": dict(key="C major"),
        "three": dict(time_signature="3"),
        "six": dict(time_signature="6"),
        "short": dict(seconds=20),
        "long": dict(seconds=120),
        "sung": dict(lyrics="[Verse 1]\nla"),
        "unsung": dict(lyrics="[Instrumental]"),
    }
    songs = {}
    for promise in planner_lines.PROMISES:
        about = dict(bpm=100, key="C major", time_signature="4")
        for name in promise.holds:
            about |= kept[name]
        songs[promise.line] = Song(promise.line, **about)
    assert len(planner_lines.PROMISES) == planner_lines.lines_kept(songs) == 16
    other = {line: Song("x", bpm=100, key="C major", time_signature="4") for line in songs}
    assert planner_lines.lines_kept(other) < 3
