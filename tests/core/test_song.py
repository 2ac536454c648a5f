import json

import pytest
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.song import LANGUAGES, Song


@pytest.mark.parametrize(
    "written, key",
    [
        ("A minor", "A minor"),
        ("a minor", "A minor"),
        ("Am", "A minor"),
        ("am", "A minor"),
        ("C# major", "C# major"),
        ("c#M", "C# major"),
        ("Db Major", "Db major"),
        ("D♭ MINOR", "Db minor"),
        ("F♯ moll", "F# minor"),
        ("G", "G major"),
        ("B", "B major"),
        ("bb", "Bb major"),
        ("Ebm", "Eb minor"),
        ("  ", None),
        ("auto", None),
        ("N/A", None),
        (None, None),
    ],
)
def test_key_is_normalised(written, key):
    assert Song("x", key=written).key == key


@pytest.mark.parametrize("written, signature", [("4/4", "4"), (3, "3"), ("6/8", "6"), ("2", "2"), ("auto", None)])
def test_time_signature_is_normalised(written, signature):
    assert Song("x", time_signature=written).time_signature == signature


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("bpm", 20, "bpm: got 20, expected a number from 30 to 300"),
        ("bpm", 120.5, "whole number"),
        ("bpm", True, "bpm: got True"),
        ("bpm", "fast", "bpm: got 'fast'"),
        ("key", "H minor", 'expected a note and a mode, such as "A minor"'),
        ("key", 5, "key: got 5"),
        ("time_signature", "5/4", "time signature: got '5/4', expected one of 2, 3, 4, 6"),
        ("language", "klingon", "language: got 'klingon', expected one of ar, az"),
        ("language", None, "language: got None, expected text"),
        ("seconds", 9, "seconds: got 9, expected a number from 10 to 600 seconds"),
        ("seconds", 601, "from 10 to 600"),
        ("seconds", float("nan"), "seconds: got nan"),
        ("seconds", [30], r"seconds: got \[30\]"),
        ("caption", None, "caption: got None, expected text"),
        ("lyrics", ["la"], "lyrics: got"),
    ],
)
def test_a_value_outside_the_models_range_is_refused(field, value, message):
    with pytest.raises(UserError, match=message):
        Song(**{"caption": "x", field: value})


def test_json_both_ways():
    song = Song("träumerisch", "[Verse]\nla", 104.0, "Am", "4/4", "DE", 63.7)
    assert song == Song("träumerisch", "[Verse]\nla", 104, "A minor", "4", "de", 63.7)
    assert Song.from_json(song.to_json()) == song
    assert Song.from_json(json.loads(song.to_json())) == song
    assert type(song.bpm) is int


@pytest.mark.parametrize(
    "source, message",
    [
        ({"caption": "x", "tempo": 100, "artist": "y"}, "unknown field artist, tempo; the fields are caption, lyrics"),
        ({"bpm": 100}, "the field caption is missing"),
        ("[1]", "got a JSON list, expected an object"),
        ("{", "not JSON"),
    ],
)
def test_json_that_is_no_song_is_refused(source, message):
    with pytest.raises(UserError, match=message):
        Song.from_json(source)


def test_fifty_languages_and_unknown():
    assert len(LANGUAGES) == len(set(LANGUAGES)) == 51
