"""The linter of lyrics: findings, and none for lyrics that are right."""

import json
import time
from pathlib import Path

import pytest
from acestep_pack.acestep_core.cli import parser as cli
from acestep_pack.acestep_core.scoring.lint import SHOWN_MAX, Lyrics, lint, notes
from acestep_pack.acestep_core.song import AUTO, INSTRUMENTAL, Song

RIGHT = "[Verse]\nneon rain on the window\nhold on to me\n\n[Chorus]\nwe drive until morning\nthe river knows my name"


def found(lyrics=RIGHT, tokens=None, **given):
    given = {"language": "en", "seconds": 20, **given}
    return [(one.check, one.line) for one in lint(Song("pop", lyrics, **given), tokens)]


def test_lyrics_that_are_right_have_no_findings():
    assert found() == found(seconds=AUTO) == [] and notes(Song("pop", INSTRUMENTAL)) == []


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("Verse 1:", "write [Verse 1]"),
        ("(Chorus)", "write [Chorus]"),
        ("**Pre-Chorus**", "write [Pre-chorus]"),
        ("[Verse", "a bracket has no partner"),
        ("Verse]", "a bracket has no partner"),
        ("[Verse] words behind it", "a tag and words share a line"),
        (f"[{'very ' * 20}loud guitar]", "a tag of more than 60 letters"),
    ],
)
def test_tags_of_a_wrong_form(line, remedy):
    (finding,) = lint(Song("pop", f"{RIGHT}\n\n{line}\nla la", language="en", seconds=30))
    assert (finding.check, finding.line) == ("tags", 9) and remedy in finding.text
    assert str(finding).startswith("lyrics, line 9: ")


def test_a_line_that_only_begins_like_a_tag_is_sung():
    assert found(f"{RIGHT}\nverse by verse we wander") == []


def test_instrumental_beside_words_and_no_tags_at_all():
    assert found(f"{INSTRUMENTAL}\nwe drive until morning light") == [("tags", None)]
    assert found("we drive until morning light\n" * 9, seconds=40) == [("tags", None)]


def test_words_against_length():
    def told(times, seconds):
        lyrics = "\n".join([RIGHT] * times)
        (finding,) = lint(Song("pop", lyrics, language="en", seconds=seconds))
        assert (finding.check, finding.line) == ("rate", None)
        return finding.text

    assert "it will be hurried; about" in told(4, 20) and "words will be left out" in told(5, 15)
    assert "long parts without words" in told(1, 300)


def test_a_line_is_long_by_tempo_and_metre():
    line = "[Verse]\n" + "la " * 20
    assert found(line, bpm=60) == [] and found(line, bpm=180) == [("line", 2)]
    assert found(line, bpm=120) == [] and found(line, bpm=120, time_signature="2") == [("line", 2)]


@pytest.mark.parametrize(
    ("lyrics", "language", "wrong"),
    [
        ("夜空の星を見上げて歌おう", "ja", False),
        ("夜空の星を見上げて歌おう", "zh", True),
        ("夜空の星を見上げて歌おう", "en", True),
        ("月亮代表我的心", "zh", False),
        ("мы едем до утра", "ru", False),
        ("мы едем до утра", "de", True),
        ("мы едем до утра", "unknown", True),
        ("neon rain on the window", "ru", True),
        ("neon rain on the window", "sr", False),
        ("neon rain on the window", "unknown", True),
        ("1 2 3 4", "unknown", False),
        ("la la la", "ko", True),
    ],
)
def test_language_and_script(lyrics, language, wrong):
    found = [one.check for one in lint(Song("pop", f"[Verse]\n{lyrics}", language=language, seconds=10))]
    assert ("language" in found) == wrong


def test_empty_lines_and_tokens():
    assert found(RIGHT.replace("\n\n", "\n\n\n\n")) == [("spaces", 5)]
    assert found(tokens=(256, 2048)) == [] and found(tokens=(257, 2049)) == [("tokens", None)] * 2
    assert notes(Song("pop", INSTRUMENTAL), (300, 9)) == [
        "lyrics: the caption has 300 tokens, the models read 256; the rest is not sung, shorten it"
    ]


def test_long_lyrics_take_no_long_time_and_say_a_thing_so_often():
    started = time.monotonic()
    every = lint(Song("pop", "[a\n" * 30_000 + "[" * 100_000 + "x" * 100_000, language="en"))
    lint(Song("pop", f"verse{' ' * 90_000}x", language="en"))
    assert time.monotonic() - started < 5
    assert sum(one.check == "tags" for one in every) == SHOWN_MAX + 1 and "more like these" in every[SHOWN_MAX].text


def test_the_command_reads_texts_songs_and_tagged_files(own_folder, capsys):
    Path("words.txt").write_text("Verse 1:\nmy words", encoding="utf-8")
    Path("song.json").write_text(json.dumps({"caption": "x", "lyrics": RIGHT, "language": "en", "seconds": 20}))
    assert cli.main(["lint", "words.txt", "--language", "en", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (
        told["findings"] == [{"check": "tags", "text": "'Verse 1:' would be sung; write [Verse 1]", "line": 1}]
        and told["syllables"] == Lyrics(Song("x", "Verse 1:\nmy words")).syllables
    )
    Path("plan.json").write_text(json.dumps({"song": json.loads(Path("song.json").read_text()), "codes": []}))
    for file in ("song.json", "plan.json"):
        assert cli.main(["lint", file]) == 0
        assert capsys.readouterr().out.startswith("4 lines, ")
    assert cli.main(["lint", "absent.txt"]) == 2
