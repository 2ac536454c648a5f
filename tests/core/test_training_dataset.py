"""Folders of clips in every form that users have, and what becomes of clips that cannot be learnt from."""

import json
import time
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.training.dataset import Clip, read_clip_regions, read_dataset
from acestep_pack.acestep_core.training.sidecars import TEXT_BYTES_MOST, read_plain, sidecars


def folder_of(tmp_path, **files):
    for name, text in files.items():
        path = tmp_path / name.replace("__", ".")
        path.write_text(text if isinstance(text, str) else json.dumps(text))
    return tmp_path


def words(dataset):
    return {clip.path.stem: dict(clip.labels) for clip in dataset.clips}


def test_words_stand_beside_a_clip_in_any_form(tmp_path):
    folder_of(
        tmp_path,
        a__wav="",
        a__txt="dark  house\nwith bass",
        b__mp3="",
        b__txt="caption: lo-fi\nbpm: 84.4\nlyrics: la\nla",
    )
    folder_of(tmp_path, c__flac="", c__json={"prompt": "funk", "keyscale": "Am", "bpm": 99}, d__ogg="")
    (tmp_path / "d.caption.txt").write_text("rock")
    (tmp_path / "d.lyrics.txt").write_text("[verse]\noh\n")
    assert words(read_dataset(tmp_path)) == {
        "a": {"caption": "dark house with bass"},
        "b": {"caption": "lo-fi", "bpm": 84, "lyrics": "la\nla"},
        "c": {"caption": "funk", "key": "Am", "bpm": 99},
        "d": {"caption": "rock", "lyrics": "[verse]\noh"},
    }


@pytest.mark.parametrize(
    "name, text",
    [
        ("table.csv", "File,Caption,BPM,Artist\na.wav,house,120,me\nsub/b.wav,techno,,\ngone.wav,x,,\n"),
        ("table.jsonl", '{"file": "a.wav", "caption": "house", "bpm": 120, "artist": "me"}\n\n'
         '{"file": "sub/b.wav", "caption": "techno"}\n{"file": "gone.wav", "caption": "x"}\n'),
    ],
)  # fmt: skip
def test_one_table_may_speak_for_the_folder_and_files_beside_clips_come_first(tmp_path, name, text):
    (tmp_path / "sub").mkdir()
    for clip in ("a.wav", "sub/b.wav"):
        (tmp_path / clip).write_bytes(b"")
    (tmp_path / name).write_text(text)
    (tmp_path / "sub" / "b.txt").write_text("trance")
    found = read_dataset(tmp_path)
    assert {name: given["caption"] for name, given in words(found).items()} == {"a": "house", "b": "trance"}
    assert found.notes[0].startswith("not read: artist; the fields are caption, lyrics, bpm")
    assert found.notes[1] == f"{name} names 1 clips that are not there, first gone.wav"


def test_bad_words_leave_a_clip_out_and_never_the_others(tmp_path):
    folder_of(
        tmp_path,
        a__wav="",
        b__wav="",
        b__json={"caption": "x", "bpm": 9000},
        c__wav="",
        c__json="no",
        d__wav="",
        d__txt="ok",
    )
    found = read_dataset(tmp_path)
    assert list(words(found)) == ["d"]
    reasons = {one.path.stem: one.reason for one in found.left_out}
    assert reasons["a"] == "has no caption; write one into a.txt, or give all clips a trigger word"
    assert reasons["b"].startswith("bpm: got 9000, expected a number from 30 to 300")
    assert reasons["c"].startswith("c.json: cannot be read as JSON")


def test_a_trigger_word_begins_every_caption_and_is_caption_enough(tmp_path):
    found = read_dataset(folder_of(tmp_path, a__wav="", b__wav="", b__txt="house"), trigger="zorb")
    assert [clip.song(8, "zorb").caption for clip in found.clips] == ["zorb", "zorb, house"]
    assert found.clips[0].song(8, "zorb").seconds == 10


def test_what_was_heard_never_replaces_what_a_user_says(tmp_path):
    clip = read_dataset(folder_of(tmp_path, a__wav="", a__txt="caption: x\nbpm: 90")).clips[0]
    song = clip.song(20, measured={"bpm": 120, "key": "A minor"})
    assert (song.bpm, song.key, song.seconds) == (90, "A minor", 20)


def test_regions_make_clips_of_parts_of_a_file(tmp_path):
    folder_of(tmp_path, a__wav="", a__txt="caption: x\nregions: 10-20, 1:00-end", b__wav="", b__txt="y")
    folder_of(tmp_path, c__wav="", c__json={"caption": "z", "regions": [[1, 5]], "repeat": 3})
    found = read_dataset(tmp_path)
    parts = [(clip.path.name, clip.part) for clip in found.clips]
    assert parts == [("a.wav", (10, 20)), ("a.wav", (60, None)), ("b.wav", None), ("c.wav", (1, 5))]
    assert [clip.repeat for clip in found.clips] == [1, 1, 1, 3]
    given = read_clip_regions("a.wav: 2-3 | b.wav: 1:05-1:20, 90-end\ngone.wav: 1-2")
    again = read_dataset(tmp_path, regions=given)
    assert [clip.part for clip in again.clips] == [(2, 3), (65, 80), (90, None), (1, 5)]
    assert "regions: no clip in the folder is called gone.wav" in again.notes


def test_regions_that_are_none_leave_their_clip_out(tmp_path):
    found = read_dataset(folder_of(tmp_path, a__wav="", a__txt="x", b__wav="", b__txt="y"), regions={"a.wav": "20-10"})
    assert list(words(found)) == ["b"] and found.left_out[0].reason.startswith("region: got 20 to 10 s")
    for text in ("10-20", "a.wav 10-20", "a.wav:10-20"):
        with pytest.raises(UserError, match="expected a clip's name and its regions"):
            read_clip_regions(text)


def test_a_part_is_cut_out_of_its_files_sound():
    wave = Waveform(torch.arange(100.0)[None, None], 10)
    assert Clip(Path("a"), {}, part=(2, 4.5)).cut(wave).samples.flatten().tolist() == list(range(20, 45))
    assert Clip(Path("a"), {}, part=(9, None)).cut(wave).samples.flatten().tolist() == list(range(90, 100))
    assert Clip(Path("a"), {}).cut(wave) is wave
    with pytest.raises(UserError, match=r"the source ends at 10.00 s"):
        Clip(Path("a"), {}, part=(5, 12)).cut(wave)


def test_a_folder_that_is_none_or_holds_nothing_is_told(tmp_path):
    for folder, said in ((tmp_path / "no", "is not a folder"), (tmp_path, "holds no clips; expected sound files")):
        with pytest.raises(UserError, match=said):
            read_dataset(folder)
    folder_of(tmp_path, a__wav="", x__csv="file,caption\n", y__jsonl="")
    with pytest.raises(UserError, match="holds 2 tables"):
        read_dataset(tmp_path)


def test_a_row_speaks_of_one_clip(tmp_path):
    clips = ("a/01.wav", "b/01.wav", "a/02.wav", "b/02.wav", "a/03.wav", "a/04.wav")
    for clip in clips:
        (tmp_path / clip).parent.mkdir(exist_ok=True)
        (tmp_path / clip).write_bytes(b"")
    rows = ["b/01.wav,of b", "02.wav,of whom", "x/03.wav,three", "04.wav,four", "x/04.wav,or four"]
    (tmp_path / "table.csv").write_text("\n".join(["file,caption", *rows, "x/03.wav,again", "gone.wav,no"]))
    found = read_dataset(tmp_path)
    told = {clip.path.relative_to(tmp_path).as_posix(): clip.labels["caption"] for clip in found.clips}
    assert told == {"b/01.wav": "of b", "a/03.wav": "again"} and len(found.left_out) == 4
    assert found.notes[:3] == (
        "table.csv names 1 clips more than once; the last row of each was read; first x/03.wav",
        "table.csv has 3 rows that were not read, as their file name is not unique; give clips by path in the folder; "
        "first 02.wav",
        "table.csv names 1 clips that are not there, first gone.wav",
    )


@pytest.mark.parametrize("caption", [0, 7.5, True, {"text": "x"}])
def test_a_caption_that_is_no_text_leaves_its_clip_out(tmp_path, caption):
    found = read_dataset(folder_of(tmp_path, a__wav="", a__json={"caption": caption}, b__wav="", b__txt="ok"), "zorb")
    assert list(words(found)) == ["b"]
    assert [one.reason for one in found.left_out] == [f"caption: got {caption!r}, expected text"]


# ---- layouts of other programs ---------------------------------------------------------------------------------------

VERSE = "[Verse 1]\nwe run\n\n[Chorus]\nwe fly"


@pytest.mark.parametrize(
    "files, reading",
    [
        ({"a__caption__txt": "dark house", "a__txt": VERSE}, "1 *.txt as lyrics, by their section tags"),
        ({"x__csv": "File,Caption\na.wav,dark house\n", "a__txt": VERSE}, "1 *.txt as lyrics, by their section tags"),
        ({"a__caption__txt": "dark house", "a__lyrics__txt": VERSE}, "1 *.lyrics.txt as lyrics"),
        ({"a_prompt__txt": "dark house", "a_lyrics__txt": VERSE}, "1 *_lyrics.txt as lyrics"),
        ({"a__json": {"caption": "dark house"}, "a__txt": VERSE}, "1 *.txt as lyrics, by their section tags"),
    ],
)
def test_lyrics_are_read_as_lyrics_wherever_they_stand(tmp_path, files, reading):
    found = read_dataset(folder_of(tmp_path, a__wav="", **files))
    assert words(found) == {"a": {"caption": "dark house", "lyrics": VERSE}}
    assert reading in found.readings


def test_lines_beside_a_caption_are_lyrics_without_tags_too_and_one_line_is_a_caption(tmp_path):
    found = read_dataset(folder_of(tmp_path, a__wav="", a__caption__txt="dark house", a__txt="we run\nwe fly"))
    assert words(found) == {"a": {"caption": "dark house", "lyrics": "we run\nwe fly"}}
    assert found.readings == ("1 *.caption.txt as caption", "1 *.txt as lyrics, as another file gives the caption")


def test_lyrics_alone_leave_a_clip_out_and_say_as_what_they_were_read(tmp_path):
    found = read_dataset(folder_of(tmp_path, a__wav="", a__txt=VERSE))
    assert [one.reason for one in found.left_out] == [
        "has no caption; a.txt was read as lyrics; write one into a.caption.txt, or give all clips a trigger word"
    ]
    assert words(read_dataset(tmp_path, "zorb")) == {"a": {"lyrics": VERSE}}


SIDE_STEP = """# made by hand
caption: dark house
genre: house
bpm: 124
key: A minor
signature: 4/4
custom_tag: zorb
is_instrumental: false
repeat: 3
# lyrics follow
lyrics:
[Verse]
# not a comment any more
we run
"""


def test_a_side_step_sidecar_is_read_field_by_field(tmp_path):
    found = read_dataset(folder_of(tmp_path, a__wav="", a__txt=SIDE_STEP))
    assert words(found)["a"] == {
        "caption": "zorb, dark house",
        "lyrics": "[Verse]\n# not a comment any more\nwe run",
        "bpm": 124,
        "key": "A minor",
        "time_signature": "4/4",
    }
    assert found.clips[0].repeat == 3 and found.notes == () and found.readings == ("1 *.txt as fields",)
    song = found.clips[0].song(20)
    assert (song.bpm, song.key, song.time_signature) == (124, "A minor", "4")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("caption: x\nis_instrumental: true\nlyrics:\nla", {"caption": "x", "lyrics": "[Instrumental]"}),
        ("genre: soul\nbpm: 90", {"caption": "soul", "bpm": 90}),
        ("caption: x\ngenre: soul", {"caption": "x"}),
        ("caption: x\ncustom_tag: zorb\ntag_position: append", {"caption": "x, zorb"}),
        ("caption: x\ncustom_tag: zorb\ntag_position: replace", {"caption": "zorb"}),
        ("caption: the zorb band\ncustom_tag: zorb", {"caption": "the zorb band"}),
        ("lyrics: la\nla\nrepeat: 2\ncustom_tag: zorb\n", {"caption": "zorb", "lyrics": "la\nla"}),
        ("Genre: soul\nMood: warm", {"caption": "Genre: soul Mood: warm"}),
        ("caption: warm\nand dark: soul", {"caption": "warm and dark: soul"}),
        ("caption: x\r\nlyrics: la\r\nla", {"caption": "x", "lyrics": "la\nla"}),
    ],
)
def test_fields_of_a_sidecar(tmp_path, text, expected):
    (tmp_path / "a.wav").write_bytes(b"")
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert words(read_dataset(tmp_path)) == {"a": expected}


def test_an_unknown_field_beside_a_caption_is_named_and_never_part_of_it(tmp_path):
    found = read_dataset(folder_of(tmp_path, a__wav="", a__txt="caption: x\nartist: me\nmood: sad"))
    assert words(found) == {"a": {"caption": "x"}}
    assert found.notes[0].startswith("not read: artist, mood; the fields are caption, lyrics")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("caption: x\nrepeat: often", "repeat: got 'often', expected a whole number from 1 to 1000"),
        ("caption: x\nis_instrumental: maybe", "instrumental: got 'maybe', expected true or false"),
        (
            "caption: x\ncustom_tag: z\ntag_position: middle",
            "custom tag: got 'z' to 'middle', expected text and one of",
        ),
    ],
)
def test_a_field_without_meaning_leaves_its_clip_out(tmp_path, text, reason):
    found = read_dataset(folder_of(tmp_path, a__wav="", a__txt=text, b__wav="", b__txt="ok"))
    assert list(words(found)) == ["b"] and found.left_out[0].reason.startswith(reason)


def original_dataset(**changed):
    sample = {"id": "1f", "audio_path": "./sub/a.wav", "filename": "a.wav", "caption": "dark house", "genre": "house"}
    sample |= {"lyrics": VERSE, "raw_lyrics": VERSE, "formatted_lyrics": "", "bpm": 124, "keyscale": "A minor"}
    sample |= {"timesignature": "4", "duration": 31, "language": "en", "is_instrumental": False, "custom_tag": ""}
    sample |= {"labeled": True, "prompt_override": None}
    metadata = {"name": "mine", "custom_tag": "zorb", "tag_position": "append", "genre_ratio": 0, "num_samples": 2}
    other = {"audio_path": "/somewhere/else/b.wav", "caption": "pads", "is_instrumental": True, "lyrics": "no"}
    return {"metadata": metadata, "samples": [sample | changed, other]}


def test_the_originals_dataset_is_read(tmp_path):
    (tmp_path / "sub").mkdir()
    for clip in ("sub/a.wav", "b.wav"):
        (tmp_path / clip).write_bytes(b"")
    folder_of(tmp_path, my_dataset__json=original_dataset())
    found = read_dataset(tmp_path)
    assert words(found) == {
        "b": {"caption": "pads, zorb", "lyrics": "[Instrumental]"},
        "a": {
            "caption": "dark house, zorb",
            "lyrics": VERSE,
            "bpm": 124,
            "key": "A minor",
            "time_signature": "4",
            "language": "en",
        },
    }
    assert found.readings == ("my_dataset.json: 2 rows as fields",) and found.notes == ()


def test_the_originals_dataset_goes_with_its_csv_of_tempo_and_key(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    table = "File,Artist,Title,BPM,Key,Camelot\na.wav,,,190,D major,10B\n"
    folder_of(tmp_path, key_bpm__csv=table, dataset__json=original_dataset(audio_path="a.wav", bpm=None))
    labels = words(read_dataset(tmp_path))["a"]
    assert (labels["bpm"], labels["key"], labels["caption"]) == (190, "A minor", "dark house, zorb")


@pytest.mark.parametrize(
    "text, message",
    [
        ("[" * 100_000, "dataset.json: cannot be read as JSON"),
        ("{}", "dataset.json: has no samples, expected an array of objects"),
        ('{"samples": [1]}', "dataset.json: has no samples, expected an array of objects"),
        ('{"samples": [{"caption": "x"}]}', "dataset.json line 1: names no clip"),
    ],
)
def test_a_dataset_that_cannot_be_read_is_told_by_its_file(tmp_path, text, message):
    folder_of(tmp_path, a__wav="", a__txt="x", dataset__json=text)
    with pytest.raises(UserError, match=message):
        read_dataset(tmp_path)


def test_json_of_something_else_is_no_dataset(tmp_path):
    folder_of(tmp_path, a__wav="", a__txt="x", notes__json="[" * 100_000, list__json='[{"x": 1}]', more__json="{}")
    assert words(read_dataset(tmp_path)) == {"a": {"caption": "x"}}


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["table.csv", "table.tsv"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_has_any_delimiter(tmp_path, mark, name, encoding):
    (tmp_path / "a.wav").write_bytes(b"")
    rows = (("file", "caption", "bpm"), ("a.wav", '"häuser, dunkel; alt"', "120"))
    (tmp_path / name).write_bytes("\r\n".join(map(mark.join, rows)).encode(encoding))
    assert words(read_dataset(tmp_path)) == {"a": {"caption": "häuser, dunkel; alt", "bpm": "120"} | {"bpm": 120}}


def test_a_row_with_more_cells_than_the_head_is_noted(tmp_path):
    folder_of(tmp_path, a__wav="", table__csv="file,caption\na.wav,house, deep, dark\n")
    found = read_dataset(tmp_path)
    assert "table.csv: 1 rows have more cells than the head, first line 2; quote texts with commas" in found.notes


def test_of_two_names_for_a_field_its_own_counts(tmp_path):
    folder_of(tmp_path, a__wav="", a__json={"tags": ["a", "b"], "caption": "x", "prompt": "y"})
    folder_of(tmp_path, b__wav="", b__json={"tags": ["a", "b"], "prompt": "y"})
    assert words(read_dataset(tmp_path)) == {"a": {"caption": "x"}, "b": {"caption": "a, b"}}


# ---- damaged files ---------------------------------------------------------------------------------------------------


def test_a_sidecar_of_any_damage_leaves_out_its_clip_alone(tmp_path):
    damages = {
        "deep.json": b'{"caption": ' + b"[" * 100_000,
        "huge.json": b'{"caption": "x", "bpm": 1' + b"0" * 400 + b"}",
        "list.json": b"[]",
        "bytes.txt": b"\xff\xfa\x00",
        "latin.caption.txt": "häuser".encode("latin-1"),
        "half.json": b'{"caption": "\\ud800"}',
    }
    folder_of(tmp_path, good__wav="", good__txt="ok")
    for name, data in damages.items():
        (tmp_path / f"{name.split('.')[0]}.wav").write_bytes(b"")
        (tmp_path / name).write_bytes(data)
    found = read_dataset(tmp_path)
    assert list(words(found)) == ["good"] and len(found.left_out) == len(damages)
    for one in found.left_out:
        assert len(one.reason) < 300 and one.reason.startswith(one.path.stem), one.reason


def test_lines_of_a_table_that_cannot_be_read_are_noted_and_the_others_read(tmp_path):
    lines = ['{"file": "a.wav", "caption": "x"}', "[" * 100_000, "no", '{"caption": "nameless"}']
    folder_of(tmp_path, a__wav="", table__jsonl="\n".join(lines))
    found = read_dataset(tmp_path)
    assert words(found) == {"a": {"caption": "x"}}
    assert found.notes[0].startswith(
        "table.jsonl: 2 lines cannot be read; first line 2: cannot be read as JSON (nested"
    )
    assert found.notes[1] == "table.jsonl has 1 rows that name no clip; first line 4"


def test_notes_hold_no_control_characters_and_are_short(tmp_path):
    folder_of(tmp_path, a__wav="", a__json={"caption": "x", "\x1b[2J": 1, **{f"k{i}" * 60: 1 for i in range(50)}})
    (tmp_path / "table.csv").write_text("file,caption\nno\x07.wav,x\n")
    notes = read_dataset(tmp_path).notes
    assert len(notes) >= 2 and all(note.isprintable() and len(note) < 1000 for note in notes)


@pytest.mark.parametrize("blank", [" ", "\n", "\t\n", "a\nword:\n"], ids=ascii)
def test_a_text_of_blanks_is_read_at_once(blank):
    began = time.thread_time()
    read_plain(f"caption: x\nword{blank * 100_000}word")
    assert read_plain(f"word{blank * 100_000}word").reading == "*.txt as caption"
    assert time.thread_time() - began < 5


def test_a_text_beside_a_clip_has_an_end(tmp_path):
    (tmp_path / "a.txt").write_text("a" * (TEXT_BYTES_MOST + 1))
    with pytest.raises(UserError, match="a.txt: got more than 1,048,576 bytes, expected a text; shorten it"):
        list(sidecars(tmp_path / "a.wav"))
