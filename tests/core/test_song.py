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
        ("B-flat Major", "Bb major"),
        ("F sharp minor", "F# minor"),
        ("C-Sharp", "C# major"),
        ("Eb:min", "Eb minor"),
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
        ("bpm", 10**400, r"bpm: got 10{79}\.\.\., expected a number"),
        ("bpm", "fast", "bpm: got 'fast'"),
        ("key", "H minor", 'expected a note and a mode, such as "A minor"'),
        ("key", 5, "key: got 5"),
        pytest.param("key", f"A{' ' * 60_000}x", "key: got 'A  ", id="a key of spaces"),
        ("time_signature", "5/4", "time signature: got '5/4', expected one of 2, 3, 4, 6"),
        ("language", "klingon", "language: got 'klingon', expected one of ar, az"),
        ("language", None, "language: got None, expected text"),
        ("seconds", 9, "seconds: got 9, expected a number from 10 to 600 seconds"),
        ("seconds", 601, "from 10 to 600"),
        ("seconds", float("nan"), "seconds: got nan"),
        ("seconds", [30], r"seconds: got \[30\]"),
        ("caption", None, "caption: got None, expected text"),
        pytest.param("caption", "x" * 20_001, "caption: got 20,001 characters, expected at most 20,000", id="long"),
        ("lyrics", ["la"], "lyrics: got"),
        pytest.param(
            "lyrics", "[\n" * 150_001, "lyrics: got 300,002 characters, expected at most 300,000", id="endless"
        ),
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
        ({"caption": "x", "mood": 100, "artist": "y"}, "unknown field artist, mood; the fields are caption, lyrics"),
        ({"bpm": 100}, "the field caption is missing"),
        ({"prompt": "a", "caption": "b"}, "got the field caption twice, as prompt and as caption"),
        ({"caption": "x", "\x1b[2J": 1}, r"unknown field \\x1b\[2j;"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"caption": "x", "bpm": 1' + "0" * 400 + "}", "cannot be read as JSON"),
        ("[1]", "got a JSON list, expected an object"),
        ("{", "song: cannot be read as JSON"),
    ],
)
def test_json_that_is_no_song_is_refused(source, message):
    with pytest.raises(UserError, match=message):
        Song.from_json(source)


ORIGINAL = {
    "think": True,
    "prompt": "Synthwave, neon",
    "lyrics": "[Verse]\r\nla\rla",
    "bpm": 104,
    "duration": 120,
    "keyscale": "B-flat Minor",
    "timesignature": "4",
    "vocal_language": "en-US",
    "inference_steps": 8,
    "lm_temperature": 0.85,
}


def test_a_song_of_the_original_is_read(caplog):
    song = Song.from_json(ORIGINAL)
    assert song == Song("Synthwave, neon", "[Verse]\nla\nla", 104, "Bb minor", "4", "en", 120)
    assert "song: think, inference_steps, lm_temperature: not used" in caplog.text


@pytest.mark.parametrize(
    "given, same",
    [
        ({"keyScale": "Am", "Time Signature": "3/4"}, {"key": "A minor", "time_signature": "3"}),
        ({"audio_duration": -1, "bpm": None, "language": None}, {}),
        ({"duration": 0, "tempo": 90}, {"bpm": 90}),
        ({"lyrics": "la", "instrumental": True}, {"lyrics": "[Instrumental]"}),
        ({"lyrics": "la", "is_instrumental": False}, {"lyrics": "la"}),
        ({"prompt": "x"}, {}),
    ],
)
def test_other_names_of_fields(given, same):
    assert Song.from_json({"caption": "x", **given}) == Song("x", **same)


@pytest.mark.parametrize(
    "written, code",
    [
        ("English", "en"),
        ("zh_CN", "zh"),
        ("Mandarin", "zh"),
        ("cantonese", "yue"),
        ("pt-BR", "pt"),
        ("", "unknown"),
        ("Haitian Creole", "ht"),
    ],
)
def test_language_is_normalised(written, code):
    assert Song("x", language=written).language == code


def test_line_ends_are_the_same_words():
    assert Song("a\r\nb", "[Verse]\r\nla\n\rla") == Song("a\nb", "[Verse]\nla\n\nla")


def test_fifty_languages_and_unknown():
    assert len(LANGUAGES) == len(set(LANGUAGES)) == 51


def test_lyrics_far_longer_than_the_models_read_are_a_song():
    assert len(Song("x", lyrics="la " * 100_000).lyrics) == 300_000
