"""Values of the page's forms -> requests that the server reads as they were meant, and songs -> values."""

import dataclasses
import re
from pathlib import Path

import pytest
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.generation.settings import GenerationSettings, TaggedSong
from acestep_pack.acestep_core.server.page import strings, values
from acestep_pack.acestep_core.song import Song

STATIC = Path(values.__file__).with_name("static")
UPLOAD = "u_" + "0" * 32
EMPTY = {"caption": "lo-fi", "instrumental": True, "seconds": 30.0, "count": 1, "bpm": "", "key": "", "seed": ""}


def test_what_is_left_empty_says_nothing():
    assert values.request_of(EMPTY) == {
        "song": {"caption": "lo-fi", "lyrics": "[Instrumental]", "seconds": 30.0},
        "settings": {},
        "count": 1,
    }


def test_every_setting_comes_into_the_request():
    given = {
        **{"caption": "folk", "lyrics": "[Verse]\nla", "instrumental": False, "auto_length": True, "bpm": "90"},
        **{"key": "A minor", "time_signature": "3", "language": "en", "count": 2, "seed": "7", "models": "tiny"},
        **{"l": "tiny-l", "steps_l": "3", "steps_m": 3, "steps_s": "2", "guidance": "cfg:7", "solver": "heun"},
        **{"boundary_1": "0,8", "boundary_2": "0.5", "dcw": True, "loudness": "-14", "codes": "1 <|audio_code_2|>"},
        **{"adapter_1": "warm", "strength_1": 0.8, "stage_1": "l", "adapter_3": "cold", "format": "wav"},
        **{"bit_depth": "16", "title": "T", "artist": "A", "keep_latents": True, "preview_seconds": 5},
        **{"codes_strength": "0.5", "reference": [{"id": UPLOAD, "name": "x"}], "continue_from": []},
        **{"plan": True, "planner": "p", "planner_seed": "9"},
    }
    request = values.request_of(given)
    song = {"caption": "folk", "lyrics": "[Verse]\nla", "bpm": 90, "key": "A minor", "time_signature": "3"}
    assert request["song"] == {**song, "language": "en", "seconds": "auto"}
    assert request["settings"] == {
        **{"seed": 7, "models": "tiny", "l": "tiny-l", "solver": "heun", "loudness": -14.0, "steps": [3, 3, 2]},
        **{"guidance": "cfg:7", "boundaries": [0.8, 0.5], "lora": ["l=warm:0.8", "cold:1"], "codes": [2]},
        **{"codes_strength": 0.5, "reference": [UPLOAD], "dcw": True, "planner_seed": 9},
    }
    file = {"format": "wav", "bit_depth": "16", "title": "T", "artist": "A", "count": 2, "keep_latents": True}
    assert {name: request[name] for name in file} == file
    assert request["preview_seconds"] == 5 and request["plan"] == "p"


@pytest.mark.parametrize(
    "given, message",
    [
        ({"steps_l": "3"}, "steps: got values for L alone"),
        ({"steps": "8", "steps_l": "3"}, "a value for all stages and others for L"),
        ({"guidance_m": "7", "guidance_s": "7"}, "guidance: got values for M, S alone"),
        ({"boundary_1": "0.5"}, "one of two flow times"),
        ({"bpm": "fast"}, "tempo: got 'fast', expected a number"),
        ({"seed": "1.5"}, "seed: got 1.5, expected a whole number"),
        ({"seed": "nan"}, "seed: got nan"),
        ({"codes": "la la"}, "codes: got other text"),
    ],
)
def test_what_cannot_be_meant_is_an_error(given, message):
    with pytest.raises(UserError, match=message):
        values.request_of({**EMPTY, **given})


def test_a_line_alone_is_a_caption_and_a_planner_writes_more_of_it():
    given = {"line": " a slow song ", "seconds": 20, "language": "de", "instrumental": False}
    alone = {"song": {"caption": "a slow song", "lyrics": "[Instrumental]", "seconds": 20}}
    assert values.simple_request(given, has_planner=False) == alone
    song = {"seconds": 20, "instrumental": False, "language": "de"}
    assert values.simple_request(given, has_planner=True) == {"write": "a slow song", "plan": True, "song": song}
    with pytest.raises(UserError, match="line: is empty"):
        values.simple_request({"line": " "}, has_planner=False)


def test_an_edit_has_what_its_task_takes_and_a_job_for_each_stem():
    given = {"source": [{"id": UPLOAD}], "count": 1, "strength": "0.5", "tracks": ["drums", "bass"], "mix": True}
    given |= {"regions": "1-2, bars 3-4", "amount": 0.2, "before": "", "without_codes": True, "bpm": ""}
    [repaint] = values.edit_requests({**given, "task": "repaint"})
    assert repaint["edit"] == {"task": "repaint", "source": UPLOAD, "regions": ["1-2", "bars 3-4"], "strength": 0.5}
    assert repaint["song"] == {}
    [cover] = values.edit_requests({**given, "task": "cover"})
    assert cover["edit"] == {"task": "cover", "source": UPLOAD, "codes": False}
    stems = [one["edit"]["tracks"] for one in values.edit_requests({**given, "task": "lego"})]
    assert stems == [["drums"], ["bass"]]
    [band] = values.edit_requests({**given, "task": "complete"})
    assert band["edit"]["tracks"] == ["drums", "bass"]
    with pytest.raises(UserError, match="repaint: got no source"):
        values.edit_requests({"task": "repaint", "source": []})


def test_a_planner_is_asked_with_what_its_verb_reads():
    given = {"line": "sea", "caption": "unused", "seconds": 30, "lm_top_k": "5", "lm_temperature": "0", "seed": "1"}
    write = values.planner_request({**given, "verb": "write", "write_instrumental": True, "planner_seed": "3"})
    sampling = {"temperature": 0.0, "top_k": 5}
    asked = {"kind": "write", "line": "sea", "instrumental": True, "song": {"seconds": 30}, "seed": 3}
    assert write == {**asked, "sampling": sampling}
    understood = values.planner_request({**given, "verb": "understand", "source": [{"id": UPLOAD}], "models": ""})
    assert understood == {"kind": "understand", "source": UPLOAD, "sampling": sampling}


def test_a_training_has_the_settings_that_were_given():
    given = {"dataset": "d", "name": " warm ", "model": "tiny-l", "trigger": "", "vram": "8", "train_steps": "20"}
    given |= {"rank": "4", "learning_rate": "1e-3", "alpha": "", "kind": "", "targets": ["self"], "save_every": "10"}
    request = values.train_request({**given, "gradient_checkpointing": False, "all_times": True})
    settings = {"steps": 20, "rank": 4, "learning_rate": 1e-3, "targets": ["self"], "all_times": True}
    asked = {"kind": "train_lora", "dataset": "d", "name": "warm", "model": "tiny-l", "trigger": None}
    assert request == {**asked, "vram": 8, "save_every": 10, "settings": settings}


def test_takes_are_chosen_only_where_there_is_a_choice():
    given = {**EMPTY, "keep": "2", "draft": "3"}
    assert "keep" not in values.request_of({**given, "best_of": 1})
    request = values.request_of({**given, "best_of": 8, "retry_below": "0.7", "lrc": True, "lrc_words": False})
    takes = {"best_of": 8, "keep": 2, "draft": 3, "retry_below": 0.7, "lrc": True}
    assert {name: one for name, one in request.items() if name not in ("song", "settings", "count")} == takes


def test_every_text_of_the_scripts_is_there_and_used():
    scripts = "".join(path.read_text(encoding="utf-8") for path in STATIC.glob("*.js"))
    said = set(re.findall(r'say\(\s*"(\w+)"', scripts))
    assert said <= set(strings.SCRIPT)
    unused = [name for name in strings.SCRIPT if f'"{name}"' not in scripts and f"{name}:" not in scripts]
    assert unused == []


SONG = Song("folk", "[Verse]\nla", bpm=90, key="A minor", time_signature="3", language="en", seconds=20)
SETTINGS = GenerationSettings(
    **{"seed": 7, "models": "tiny", "steps": (3, 3, 2), "guidance": ("7", "cfg:5", "1"), "boundaries": (0.8, 0.5)},
    **{"solver": "heun", "lora": ("l=warm:0.8", "cold:1"), "loudness": -14.0, "codes": (1, 2), "codes_strength": 0.5},
)


@pytest.mark.parametrize("song", [SONG, Song("lo-fi", seconds="auto")])
@pytest.mark.parametrize("settings", [SETTINGS, GenerationSettings(steps=8, guidance="7"), GenerationSettings()])
def test_the_form_filled_with_a_song_makes_it_again(song, settings):
    filled = values.values_of(TaggedSong(song, settings, {}, {}), settings.given())
    request = values.request_of({"count": 1, **filled})
    assert Song.from_json(request["song"]) == song
    assert GenerationSettings.from_given(request["settings"]) == dataclasses.replace(settings)
