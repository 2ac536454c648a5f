"""Requests for edits: regions, tracks and strengths, checked before anything is loaded."""

import json
from pathlib import Path

import pytest
from acestep_pack.acestep_core.audio.splice import merged
from acestep_pack.acestep_core.checkpoints.variants import variant_defaults
from acestep_pack.acestep_core.editing.edit import Edit
from acestep_pack.acestep_core.editing.edited_song import EditedSong
from acestep_pack.acestep_core.editing.regions import BarTimes, parse_region, parse_regions
from acestep_pack.acestep_core.errors import CheckpointError, UserError
from acestep_pack.acestep_core.generation.settings import GenerationSettings
from acestep_pack.acestep_core.models.defaults import ALL_TASKS, ANY_TASKS, TURBO_TASKS
from acestep_pack.acestep_core.song import Song


@pytest.mark.parametrize(
    "text, region",
    [
        ("10-20", (10, 20)),
        (" 0.5 - 1.25 s ", (0.5, 1.25)),
        ("1:05-2:10.5", (65, 130.5)),
        ("40-", (40, None)),
        ("40-end", (40, None)),
        ("40 -  end  seconds ", (40, None)),
        ("40- s", (40, None)),
        ("bars 8-12", (14, 24)),
        ("bar 1", (0, 2)),
    ],
)
def test_regions_are_read(text, region):
    assert parse_region(text, BarTimes.of(120, None)) == region


def test_bars_count_from_the_first_beat_in_the_songs_metre():
    assert parse_region("bars 2-3", BarTimes.of(90, "3", first=0.25)) == (2.25, 6.25)


MALFORMED = (
    *("", "10", "20-10-5", "a-b", "-5-10", "10--20", "bars", "bars 0-2", "bars 5-2", "1e9-2e9", "9" * 5000),
    *(f"10-{' ' * 60_000}x", f"10-20{' ' * 60_000}x", f"bars 8{' ' * 60_000}x"),
)


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: text[:10])
def test_malformed_regions(text):
    with pytest.raises(UserError, match="region: got"):
        parse_region(text, BarTimes.of(120, None))


WRITTEN = json.loads(
    (Path(__file__).parents[1] / "web" / "regions.json").read_text()
)  # the waveform reads them as well


@pytest.mark.parametrize("case", WRITTEN, ids=lambda case: case["text"])
def test_the_text_of_several_regions(case):
    beats, duration = case.get("beats"), case.get("duration")
    bars = beats and BarTimes(beats["beat"] * beats["in_bar"], beats["first"])
    if "regions" not in case:
        with pytest.raises(UserError, match="region: got"):
            parse_regions(case["text"], bars)
        return
    read = [(start, duration if end is None else end) for start, end in parse_regions(case["text"], bars)]
    assert sorted(read) == [tuple(region) for region in case["regions"]]


def test_a_first_bar_that_began_before_the_sound_begins_with_it():
    assert parse_region("bars 1-2", BarTimes(2.0, -0.02)) == (0, 3.98)


def test_a_hundred_regions_are_read_and_no_more():
    assert len(parse_regions(", ".join(["1-2"] * 100))) == 100
    with pytest.raises(UserError, match="expected at most 100"):
        parse_regions(", ".join(["1-2"] * 101))


def test_bars_need_a_tempo():
    with pytest.raises(UserError, match="its tempo is not known|tempo is not known; give its bpm, such as 120"):
        parse_region("bars 8-12")


@pytest.mark.parametrize(
    "given, said",
    [
        ({"task": "remix"}, "got the task 'remix', expected one of cover"),
        ({"task": "repaint"}, "repaint: got no region"),
        ({"task": "extend"}, "extend: got no length"),
        ({"task": "extract"}, "extract: got 0 tracks, expected one"),
        ({"task": "lego", "tracks": ("bass", "drums")}, "lego: got 2 tracks"),
        ({"task": "extract", "tracks": ("kazoo",)}, "tracks: got ..kazoo.,., expected names of woodwinds"),
        ({"task": "cover", "strength": 0.5}, "cover: got strength, which it has no use for; it takes structure"),
        ({"task": "cover", "structure": 1.5}, "structure: got 1.5, expected a number from 0 to 1"),
        ({"task": "cover", "structure": float("nan")}, "structure: got nan"),
        ({"task": "cover", "structure": True}, "structure: got True, expected a number"),
        ({"task": "cover", "codes": 1}, "codes: got 1, expected true or false"),
        ({"task": "repaint", "regions": ((5, 2),)}, "region: got 5 to 2 s, expected an end at least 0.1 s behind"),
        ({"task": "repaint", "regions": ((5, 5.01),)}, "region: got 5 to 5.01 s"),
        ({"task": "repaint", "regions": ((-1, 5),)}, r"region: got \(-1, 5\), expected \(start, end\) in seconds"),
        ({"task": "repaint", "regions": ((1, float("inf")),)}, "region: got"),
        ({"task": "repaint", "regions": ((1, float("nan")),)}, "region: got"),
        ({"task": "repaint", "regions": ("ab",)}, "region: got 'ab'"),
        ({"task": "repaint", "regions": ((1, 2),) * 101}, "expected at most 100 pairs"),
        ({"task": "extend", "after": -1}, "after: got -1, expected seconds from 0 to 600"),
        ({"task": "extend", "after": 601}, "after: got 601"),
        ({"task": "morph", "morph_begin": 0.8, "morph_end": 0.2}, "morph: got the shares of the steps from 0.8 to 0.2"),
        ({"task": "morph", "morph_end": 0}, "morph: got the shares of the steps from 0 to 0"),
        ({"task": "morph", "averages": 0}, "averages: got 0, expected a whole number from 1 to 16"),
        ({"task": "retake", "retake_seed": -1}, "seed: got -1"),
    ],
    ids=str,
)
def test_requests_that_make_no_sense(given, said):
    with pytest.raises(UserError, match=said):
        Edit(**given)


@pytest.mark.parametrize("given", [3, None, {}, {"task": 3}, {"task": "cover", "colour": 1}, {"task": ["cover"]}])
def test_edits_in_tags_may_hold_anything(given):
    with pytest.raises(UserError, match="edit: "):
        Edit.from_given(given)


COVER = {"task": "cover"}


@pytest.mark.parametrize("given", [{"source": "x"}, {"edit": 3, "source": "x"}, {"edit": COVER, "source": 3}], ids=str)
def test_settings_of_an_edit_have_both_its_source_and_its_task(given):
    with pytest.raises(UserError, match="edit: |source: "):
        GenerationSettings(**given)


def test_an_edit_goes_through_tags():
    edit = Edit("repaint", regions=((1, 2.5), (4, None)), strength=0.3, amount=0.1, retake_seed=7)
    assert Edit.from_given(json.loads(json.dumps(edit.given()))) == edit


def test_regions_that_touch_are_one():
    assert merged([(5, 7), (1, 2), (2, 4), (6, 9)]) == ((1, 4), (5, 9))


def test_prompts_of_a_switch_and_of_a_morph():
    song, source = Song("new", seconds=10), Song("old", lyrics="la", seconds=10)
    first, other = EditedSong(song, Edit("cover", structure=0.5), 3.2).prompts()
    assert "Generate audio semantic tokens" in first[0] and "Fill the audio semantic mask" in other[0]
    assert "- duration: 3 seconds" in first[0]
    assert len(EditedSong(song, Edit("cover"), 3.2).prompts()) == 1
    target, origin = EditedSong(song, Edit("morph"), 10, source).prompts()
    assert "\nnew\n" in target[0] and "\nold\n" in origin[0] and "la<|endoftext|>" in origin[1]


def test_a_config_names_the_tasks_of_its_checkpoint(tmp_path):
    assert variant_defaults({"model_version": "turbo"}, tmp_path).tasks == TURBO_TASKS
    assert variant_defaults({"model_version": "base"}, tmp_path).tasks == ALL_TASKS
    assert variant_defaults({"model_version": "sft"}, tmp_path).tasks == ALL_TASKS
    own = {"is_turbo": False, "acestep_cascade": {"variant": "tiny"}}
    assert variant_defaults(own, tmp_path).tasks == ANY_TASKS  # a family of its own says what else it knows
    own["acestep_cascade"]["tasks"] = ["text2music", "extract"]
    assert variant_defaults(own, tmp_path).tasks == ("text2music", "extract")
    own["acestep_cascade"]["tasks"] = ["juggle"]
    with pytest.raises(CheckpointError, match="tasks"):
        variant_defaults(own, tmp_path)


def test_an_edit_that_was_made_in_comfyui_cannot_be_made_again_here():
    edit = {"task": "repaint", "regions": [[1, 2]]}
    with pytest.raises(UserError, match="edit: its source is not known, for it was made in ComfyUI; drop it there"):
        GenerationSettings(edit=edit).check_source()
    GenerationSettings(edit=edit, source="song.flac").check_source()
    with pytest.raises(UserError, match="edit: got a source, and the edit is missing"):
        GenerationSettings(source="song.flac")


@pytest.mark.parametrize("name", ["seed", "planner_seed"])
@pytest.mark.parametrize("value", [10**30, 2**63, -1, True], ids=str)
def test_seeds_in_tags_are_whole_numbers_that_a_cascade_takes(name, value):
    with pytest.raises(UserError, match=f"{name}: got {value}, expected a whole number from 0 to"):
        GenerationSettings(**{name: value})
