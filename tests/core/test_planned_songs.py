"""Songs with audio codes: in the library and on the command line, their tags, and lengths that are left open."""

import json
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.registry import DEFAULT_PLANNER, TINY_PLANNER, usual_planner
from acestep_pack.acestep_core.errors import CheckpointError, UserError
from acestep_pack.acestep_core.generation.cascade import Cascade
from acestep_pack.acestep_core.generation.making import song_to_time
from acestep_pack.acestep_core.generation.planning import cascade_for, planner_for
from acestep_pack.acestep_core.generation.settings import GenerationSettings, read_song
from acestep_pack.acestep_core.planner.length import auto_seconds, syllables
from acestep_pack.acestep_core.planner.planned_song import PlannedSong
from acestep_pack.acestep_core.planner.planner import Planner
from acestep_pack.acestep_core.planner.song_plan import SongPlan
from acestep_pack.acestep_core.prompt import text_prompt
from acestep_pack.acestep_core.song import AUTO, Song

PLANNER = Path(__file__).resolve().parents[1] / "golden_tasks" / "lm_a"
SONG = Song("lo-fi beat", seconds=10, bpm=90, key="A minor", time_signature="4", language="en")
CODES = tuple(range(50))


@pytest.fixture(scope="module")
def cascade(taught_family):
    return Cascade.load(taught_family, device="cpu", text_cache=False)


# ---- codes -----------------------------------------------------------------------------------------------------------


def test_codes_change_the_song_and_the_same_codes_give_the_same(cascade):
    plain = cascade.generate(SONG, seed=1).samples
    coded = cascade.generate(SongPlan(SONG, CODES), seed=1).samples
    again = cascade.generate(PlannedSong(SONG, CODES), seed=1).samples
    other = cascade.generate(PlannedSong(SONG, CODES[::-1]), seed=1).samples
    assert coded.shape == plain.shape and torch.equal(coded, again)
    assert not torch.equal(coded, plain) and not torch.equal(coded, other)
    assert torch.equal(cascade.generate(SongPlan(SONG), seed=1).samples, plain)


def test_each_stage_makes_hints_of_codes_with_its_own_detokenizer(cascade):
    planned = PlannedSong(SONG, CODES)
    hints = [cascade._hints(key, planned.source(cascade.latents)) for key in cascade.stages]
    assert len({float(one.sum()) for one in hints}) == 3
    assert {one.shape[-1] for one in hints} == {cascade.latents.frames(10)}


def test_strength_is_the_share_of_steps_that_follow_the_codes(cascade):
    whole, half, none = (cascade.generate(PlannedSong(SONG, CODES, share), seed=1).samples for share in (1.0, 0.5, 0.0))
    assert not torch.equal(whole, half) and not torch.equal(half, none)
    assert len(PlannedSong(SONG, CODES, 0.5).prompts()) == 2 and len(PlannedSong(SONG, CODES).prompts()) == 1
    assert PlannedSong(SONG, CODES, 0.5).prompts()[1][0] == text_prompt(SONG)


def test_items_of_a_batch_follow_the_same_codes(cascade):
    both = cascade.generate(SongPlan(SONG, CODES), seed=4, count=2).samples
    alone = cascade.generate(SongPlan(SONG, CODES), seed=5).samples
    assert torch.allclose(both[1:], alone, atol=1e-5)


def test_models_without_an_audio_tokenizer_are_named(tiny_family):
    with pytest.raises(CheckpointError, match="no audio tokenizer"):
        Cascade.load(tiny_family, device="cpu", text_cache=False).generate(SongPlan(SONG, CODES))


@pytest.mark.parametrize("codes", [(), (64_000,), (-1,), "123", (1.0,)])
def test_codes_that_cannot_be_are_refused(codes):
    with pytest.raises(UserError):
        PlannedSong(SONG, codes)


@pytest.mark.parametrize("strength", [-0.1, 1.1, "1", True, None])
def test_strengths_that_cannot_be_are_refused(strength):
    with pytest.raises(UserError, match="strength"):
        PlannedSong(SONG, CODES, strength)


# ---- lengths that are left open --------------------------------------------------------------------------------------


def test_an_unset_length_is_as_before_and_auto_is_by_the_lyrics(cascade, caplog):
    assert Song("x").seconds == 30
    song = Song("x", "[Verse]\nla la la\n" * 3, bpm=240, seconds=AUTO)
    wave = cascade.generate(song, seed=1)
    assert wave.seconds == pytest.approx(auto_seconds(song), abs=0.05)
    assert "by a rule over the lyrics" in caplog.text


def test_auto_is_kept_in_json_and_other_names_of_an_open_length_mean_the_default():
    assert Song.from_json(Song("x", seconds="Auto").to_json()).seconds == AUTO
    assert Song.from_json({"caption": "x", "duration": -1}).seconds == 30
    with pytest.raises(UserError, match="auto"):
        text_prompt(Song("x", seconds=AUTO))


def test_more_words_need_more_time_within_bounds():
    short, long = ("\n".join(["neon rain on the window"] * lines) for lines in (8, 24))
    assert 10 <= auto_seconds(Song("x", short)) < auto_seconds(Song("x", long)) <= 600
    assert auto_seconds(Song("x", long, bpm=60)) > auto_seconds(Song("x", long, bpm=180))
    assert auto_seconds(Song("x", "la " * 100_000)) == 600
    assert auto_seconds(Song("x", "[Intro]\n[Verse]\n[Drop]\n[Outro]")) > auto_seconds(Song("x"))
    assert auto_seconds(Song("x", "[" * 200_000)) <= 600


@pytest.mark.parametrize("text, count", [("hold on to me", 4), ("夜空の星", 4), ("привет", 2), ("", 0), ("hmm 42", 1)])
def test_syllables_are_counted_roughly(text, count):
    assert syllables(text) == count


# ---- the command line ------------------------------------------------------------------------------------------------


def test_a_song_is_planned_and_made_and_made_again_from_its_tags(command, coded_family):
    make = ["generate", "lo-fi beat", "--bpm", "90", "--seconds", "10", "--models", coded_family, "--device", "cpu"]
    code, out, err = command(*make, "--seed", "3", "-o", "song.flac", "--plan", PLANNER)
    assert code == 0, err
    made = read_song("song.flac")
    assert (made.song.bpm, made.song.seconds) == (90, 10) and made.song.key
    assert len(made.settings.codes) == 50 and made.settings.planner_seed == 3 and made.settings.planner == "lm_a"
    code, _, err = command("generate", "--from", "song.flac", "-o", "again.flac", "--device", "cpu")
    assert code == 0, err
    assert read_song("again.flac") == made
    assert Path("again.flac").read_bytes()[-4000:] == Path("song.flac").read_bytes()[-4000:]
    code, out, _ = command("show", "song.flac")
    assert any(line.startswith("codes") and line.endswith(")") for line in out)


def test_codes_of_another_family_are_never_followed(command, taught_family, coded_family):
    make = ["generate", "lo-fi beat", "--seconds", "10", "--device", "cpu", "--seed", "3", "--plan", PLANNER]
    code, _, err = command(*make, "-o", "song.flac", "--models", taught_family)
    assert code == 0 and "follow no codes of lm_a" in err and read_song("song.flac").settings.codes is None
    plan = Planner.load(PLANNER, device="cpu", cache=False).plan(SONG)
    assert plan.codebook == 512 and SongPlan.from_json(json.loads(plan.to_json())) == plan
    assert Cascade.load(coded_family, device="cpu", text_cache=False).generate(plan, seed=1).seconds == SONG.seconds
    with pytest.raises(CheckpointError, match="got codes of 512 kinds, .* has 64,000; take a planner of the model's"):
        Cascade.load(taught_family, device="cpu", text_cache=False).generate(plan)


def test_files_keep_whose_codes_they_hold_and_other_models_make_their_songs_without(
    command, taught_family, coded_family
):
    plan = ["plan", "lo-fi beat", "--seconds", "10", "--planner", PLANNER, "--device", "cpu", "--seed", "5"]
    assert command(*plan, "-o", "plan.json")[0] == 0
    make = ["generate", "--device", "cpu", "--seed", "3", "--models"]
    code, _, err = command(*make, coded_family, "--song", "plan.json", "-o", "song.flac")
    assert code == 0 and "made without its codes" not in err, err
    settings = read_song("song.flac").settings
    assert len(settings.codes) == 50 and settings.codebook == 512
    for source in (["--song", "plan.json"], ["--from", "song.flac"]):
        code, _, err = command(*make, taught_family, *source, "-o", "other.flac")
        assert code == 0 and "follow no codes of lm_a, so the song is made without its codes" in err
        other = read_song("other.flac")
        assert other.settings.codes is None and other.settings.codebook is None
        assert other.song == read_song("song.flac").song


def test_codes_of_a_file_that_does_not_say_whose_they_are_are_checked_by_their_range(command, taught_family):
    made = json.dumps({"song": {"caption": "lo-fi beat", "seconds": 10}, "codes": CODES, "planner": "lm_a", "seed": 5})
    Path("plan.json").write_text(made, encoding="utf-8")
    make = ["generate", "--device", "cpu", "--seed", "3", "--models", taught_family, "--song", "plan.json"]
    assert command(*make, "-o", "song.flac")[0] == 0
    assert read_song("song.flac").settings.codes == CODES and read_song("song.flac").settings.codebook is None


def test_songs_are_judged_by_a_planner_of_the_familys_own(command, monkeypatch):
    """Also where a published planner is here, whose codes the embedded models do not write."""
    loaded = []
    load = Planner.load
    monkeypatch.setattr(Planner, "load", lambda name, **given: loaded.append(name) or load(name, **given))
    make = ["generate", "lo-fi beat", "--seconds", "10", "--device", "cpu", "--steps", "1,1,1", "-o", "song.flac"]
    assert command(*make, "--best-of", "2", "--judge")[0] == 0
    code, out, err = command("score", "song.flac", "--planner", "--device", "cpu", "--json")
    assert code == 0 and loaded == [TINY_PLANNER, TINY_PLANNER], err


def test_lyrics_are_timed_without_codes_that_the_models_cannot_follow():
    song, settings = Song("x", "la la"), {"codes": CODES, "codebook": 7, "codes_strength": 0.5}
    assert song_to_time(song, GenerationSettings(**settings), {"models": "tiny"}) == song
    unknown = GenerationSettings(**{**settings, "codebook": None})
    assert song_to_time(song, unknown, {"models": "tiny"}) == PlannedSong(song, CODES)
    assert song_to_time(Song("x", "la la", seconds=AUTO), unknown, {"models": "tiny"}).seconds == AUTO


def test_the_embedded_planner_is_asked_for_embedded_models_alone(tiny_family, own_folder):
    assert planner_for({"models": "tiny"}) == planner_for({"models": "tiny-m"}) == TINY_PLANNER
    assert planner_for({"models": str(tiny_family)}) == DEFAULT_PLANNER
    assert [cascade_for(name) for name in (None, "Tiny-Planner", "4B")] == ["tiny", "tiny", "published"]
    names = [TINY_PLANNER, "other", DEFAULT_PLANNER]
    assert [usual_planner(names[:count]) for count in (0, 1, 2, 3)] == [DEFAULT_PLANNER, *names]


def test_a_plan_in_a_file_is_made(command, coded_family):
    plan = ["plan", "lo-fi beat", "--seconds", "10", "--planner", PLANNER, "--device", "cpu", "--temperature", "0"]
    code, out, err = command(*plan, "-o", "plan.json", "--json", "--seed", "5")
    assert code == 0, err
    made = json.loads(Path("plan.json").read_text(encoding="utf-8"))
    shown = json.loads(out[0])
    assert shown["song"] == made["song"] and len(made["codes"]) == 50 and made["planner"] == "lm_a"
    assert set(made["decided"]) == {"bpm", "key", "time_signature", "language"}
    code, _, err = command(
        *("generate", "--song", "plan.json", "-o", "song.flac", "--models", coded_family, "--device", "cpu"),
        *("--codes-strength", "0.5", "--seed", "2"),
    )
    assert code == 0, err
    settings = read_song("song.flac").settings
    assert list(settings.codes) == made["codes"] and settings.codes_strength == 0.5
    assert (settings.seed, settings.planner_seed) == (2, 5)


def test_models_without_an_audio_tokenizer_are_planned_without_codes(command, tiny_family):
    make = ["generate", "lo-fi beat", "--seconds", "10", "--models", tiny_family, "--device", "cpu", "--seed", "3"]
    code, _, err = command(*make, "-o", "song.flac", "--plan", PLANNER, "--count", "2", "--plan-seed", "7")
    assert code == 0 and "without codes" in err
    seeds = [read_song(f"song_{number}.flac").settings.planner_seed for number in (1, 2)]
    assert seeds == [7, 8] and read_song("song_1.flac").settings.codes is None
    code, _, err = command("generate", "--from", "song_1.flac", "-o", "again.flac")  # planned already
    assert code == 0 and "loading the planner" not in err and not any(line.startswith("plan:") for line in err)
    assert read_song("again.flac").song == read_song("song_1.flac").song


def test_a_length_that_is_left_open_is_a_number_in_the_tags(command, tiny_family):
    code, _, err = command(
        *("generate", "lo-fi beat", "--lyrics", "la la", "--bpm", "200", "--seconds", "auto", "--seed", "1"),
        *("--models", tiny_family, "--device", "cpu", "-o", "song.flac"),
    )
    assert code == 0 and "by a rule over the lyrics" in err
    assert read_song("song.flac").song.seconds == auto_seconds(Song("x", "la la", bpm=200))


@pytest.mark.parametrize("verb", ["write", "rewrite"])
def test_verbs_print_a_song_for_people_and_for_programs(command, verb):
    asked = [verb, "driving techno", "--planner", PLANNER, "--device", "cpu", "--temperature", "0", "--seconds", "12"]
    code, out, err = command(*asked)
    assert code == 0, err
    assert any(line.startswith("bpm") and "(decided)" in line for line in out)
    code, out, _ = command(*asked, "--json")
    assert code == 0 and json.loads(out[0])["song"]["seconds"] == 12


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan"],
        ["plan", "x", "--seconds", "5"],
        ["plan", "x", "--planner", "gone"],
        ["plan", "x", "--planner", PLANNER, "--temperature", "-1"],
        ["plan", "x", "--planner", PLANNER, "-o", "."],
        ["write", " "],
        ["write", "x", "--lyrics", "y"],
        ["rewrite"],
        ["understand", "gone.flac"],
        ["generate", "x", "--plan", "gone"],
        ["generate", "x", "--codes-strength", "2"],
    ],
)
def test_mistakes_are_one_line(command, arguments):
    code, out, err = command(*arguments)
    assert (code, out) == (2, []) and len(err.strip().splitlines()) == 1, err


def test_settings_in_tags_are_checked():
    wrong_ones = {"codes": ("a",), "codebook": -1, "codes_strength": 3, "planner": 5, "planner_seed": "x"}
    for wrong in ({name: value} for name, value in wrong_ones.items()):
        with pytest.raises(UserError):
            GenerationSettings(**wrong)
