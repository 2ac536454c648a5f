"""Takes of a song: made as drafts, judged, and the best made whole; in the library and on the command line."""

import json
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.audio import read
from acestep_pack.acestep_core.audio.tags import read_tags
from acestep_pack.acestep_core.checkpoints.variants import VARIANTS
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.flow.stage_plan import SamplingSettings, plan
from acestep_pack.acestep_core.generation.cascade import Cascade
from acestep_pack.acestep_core.generation.settings import read_song
from acestep_pack.acestep_core.planner.planner import Planner
from acestep_pack.acestep_core.scoring import judges
from acestep_pack.acestep_core.scoring.judges import HIGHER, Judge, Measured
from acestep_pack.acestep_core.scoring.take_settings import ROUNDS, TakeSettings
from acestep_pack.acestep_core.song import Song
from core_tests.test_planner import MODEL

SONG = Song("lo-fi beat", "[Verse]\nneon rain", seconds=10, bpm=90, key="A minor", language="en")


@pytest.fixture(scope="module")
def cascade(taught_family):
    return Cascade.load(taught_family, device="cpu", text_cache=False)


@pytest.fixture
def likes(monkeypatch):
    """likes(f): the only judge grades a song by f(its first samples); returns the grades that it gave."""

    def use(grade):
        given = []

        def measure(made):
            given.append(grade(len(given), made))
            return Measured(len(given), given[-1], f"grade {given[-1]}")

        monkeypatch.setattr(judges, "JUDGES", {"taste": Judge("", HIGHER, 1.0, measure)})
        monkeypatch.setattr("acestep_pack.acestep_core.scoring.ranking.JUDGES", judges.JUDGES)
        return given

    return use


# ---- drafts ----------------------------------------------------------------------------------------------------------


def test_a_draft_takes_times_of_the_whole_run_and_keeps_the_hand_overs():
    turbo = (VARIANTS["turbo"],) * 3
    whole, draft = plan(turbo, SamplingSettings()), plan(turbo, SamplingSettings(every=2))
    assert [one.steps for one in whole] == [3, 3, 2] and [one.steps for one in draft] == [2, 2, 1]
    for full, few in zip(whole, draft):
        assert (few.times[0], few.times[-1]) == (full.times[0], full.times[-1]) and set(few.times) <= set(full.times)
    assert [one.steps for one in plan(turbo, SamplingSettings(every=100))] == [1, 1, 1]
    with pytest.raises(UserError, match="^every: got 0"):
        SamplingSettings(every=0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"count": 0}, "best of: got 0"),
        ({"count": 2, "keep": 3}, "keep: got 3, expected 1 to 2"),
        ({"keep": 0}, "keep: got 0"),
        ({"retry_below": 1.5}, "retry below: got 1.5"),
        ({"retry_below": float("nan")}, "retry below: got nan"),
        ({"draft": 0}, "draft: got 0"),
    ],
)
def test_settings_that_make_no_sense(given, said):
    with pytest.raises(UserError, match=f"^{said}"):
        TakeSettings(**given)


# ---- the library -----------------------------------------------------------------------------------------------------


def test_the_best_take_is_made_whole_from_the_same_noise(cascade, likes):
    likes(lambda number, made: [0.2, 0.9, 0.5][number] if number < 3 else 0.7)
    ((first, best), (second, other)) = cascade.best_of(SONG, 3, keep=2, seed=10)
    assert (best.seed, other.seed) == (11, 12) and best.total == 0.7
    assert torch.equal(first.samples, cascade.generate(SONG, seed=11).samples)
    assert torch.equal(second.samples, cascade.generate(SONG, seed=12).samples)


def test_takes_are_made_again_until_one_is_good_enough(cascade, likes):
    given = likes(lambda number, made: 0.1 * number)
    made = [*cascade.iterate_takes(SONG, TakeSettings(2, retry_below=0.25), seed=3)]
    assert len(given) == 4 and made[-1].kept[0].seed == 6
    assert [one.take.seed for one in made if one.take] == [3, 4, 5, 6] and [one.of for one in made if one.take][-1] == 4


def test_takes_that_are_never_good_enough_end(cascade, likes):
    given = likes(lambda number, made: 0.1)
    made = [*cascade.iterate_takes(SONG, TakeSettings(1, retry_below=0.9), seed=0)]
    assert len(given) == ROUNDS == len(made[-1].every) and made[-1].kept[0].seed == 0


def test_words_are_judged_where_it_is_known_how(cascade, monkeypatch):
    latents = torch.randn(1, cascade.latents.channels, cascade.latents.frames(10))
    wave = cascade.decode(latents, SONG)
    assert not cascade.follows_lyrics and "lyrics" not in cascade.judge(wave, SONG, latents)
    monkeypatch.setattr("acestep_pack.acestep_core.generation.lyric_verbs.known_heads", lambda *given: {0: (0, 1)})
    found = cascade.judge(wave, SONG, latents)
    assert found["lyrics"].value == cascade.align_lyrics(latents, SONG).score.score
    assert "lyrics" not in cascade.judge(wave, Song("x", seconds=10), latents)


def test_a_planner_judges_the_codes_of_the_music(cascade, coded_family):
    own = Cascade.load(coded_family, device="cpu", text_cache=False)
    latents = torch.randn(1, cascade.latents.channels, cascade.latents.frames(10))
    planner = Planner.load(MODEL, cache=False)
    codes = cascade.codes_of(latents)
    assert len(codes) >= 50 and all(0 <= code < 64_000 for code in codes)
    assert 0 < own.judge(own.decode(latents, SONG), SONG, latents, planner=planner)["codes"].grade < 1
    with pytest.raises(UserError, match="of one family"):
        cascade.judge(cascade.decode(latents, SONG), SONG, latents, planner=planner)


# ---- the command line ------------------------------------------------------------------------------------------------


def test_generate_keeps_the_best_takes_and_says_why(taught_family, command):
    options = "--models", taught_family, "--seconds", 10, "--seed", 4, "--bpm", 90, "--key", "A minor"
    code, out, err = command(
        *("generate", "lo-fi", "-o", "a.flac", *options, "--best-of", 3, "--keep", 2, "--count", 2, "--json")
    )
    assert code == 0, err
    made = [json.loads(line) for line in out]
    assert [Path(one["file"]).name for one in made] == [f"a_{n}_take{k}.flac" for n in (1, 2) for k in (1, 2)]
    assert {one["seed"] for one in made[:2]} <= {4, 5, 6} and {one["seed"] for one in made[2:]} <= {7, 8, 9}
    assert err.count("kept: seed") == 2 and err.count("of 3: seed") == 6 and err.count("made whole: seed") == 4
    for one in made:
        scores = json.loads(read_tags(one["file"])["scores"])
        assert scores == one["scores"] and 0 <= scores["total"] <= 1 and {"tempo", "key", "level"} <= set(scores)
        made_again = read_song(one["file"])
        assert made_again.settings.seed == one["seed"] and made_again.scores == scores
    code, out, err = command("show", made[0]["file"])
    assert any(line.split() == ["score", str(made[0]["scores"]["total"])] for line in out)
    code, out, err = command("generate", "--from", made[0]["file"], "-o", "again.flac")
    assert code == 0 and torch.equal(read("again.flac").samples, read(made[0]["file"]).samples)
    assert "scores" not in read_tags("again.flac")


def test_options_that_make_no_sense_are_refused_before_models_are_loaded(taught_family, command):
    for options, said in (
        (["--best-of", 0], "best of: got 0"),
        (["--best-of", 2, "--keep", 3], "keep: got 3"),
        (["--retry-below", 2], "retry below: got 2"),
        (["--best-of", 2, "--keep", 2, "-o", "-", "--format", "wav"], "--keep: got 2 and -o -"),
    ):
        code, out, err = command("generate", "lo-fi", "--models", taught_family, *options)
        assert (code, out) == (2, []) and said in err and len(err.strip().splitlines()) == 1


def test_a_note_says_that_no_take_was_good_enough(taught_family, command):
    options = "--models", taught_family, "--seconds", 10, "--seed", 4, "--steps", 3
    code, out, err = command("generate", "lo-fi", "-o", "a.wav", *options, "--retry-below", 1)
    assert code == 0 and "no take reached 1; the best of 4 is kept" in err


def test_score_ranks_files_against_their_tags_or_what_is_given(taught_family, command):
    options = "--models", taught_family, "--seconds", 10, "--steps", 3, "--lyrics", "[Verse]\nneon rain"
    for seed in (1, 2):
        command("generate", "lo-fi", "-o", f"{seed}.wav", *options, "--seed", seed, "--bpm", 90)
    code, out, err = command("score", "1.wav", "2.wav", "--json", "--key", "A minor")
    assert code == 0, err
    told = [json.loads(line) for line in out]
    assert {one["file"]: one["seed"] for one in told} == {"1.wav": 1, "2.wav": 2}
    assert told[0]["total"] >= told[1]["total"] and {"tempo", "key", "ending"} <= set(told[0])
    code, out, err = command("score", "1.wav", "--words")
    assert code == 0 and "words found" in out[0] and out[0].startswith("1.wav  seed 1: 0.")
    assert command("score", "absent.wav")[0] == 2
    Path("text.wav").write_text("no sound")
    assert command("score", "text.wav")[0] == 2
