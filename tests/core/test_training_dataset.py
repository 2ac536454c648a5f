"""Folders of clips in every form that users have, and what becomes of clips that cannot be learnt from."""

import json

import pytest
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.training.dataset import read_dataset


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
        "table.csv names 1 clips more than once, of each the last row was read; first x/03.wav",
        "table.csv has 3 rows not read, whose bare name others have too; name clips by their paths in the folder; "
        "first 02.wav",
        "table.csv names 1 clips that are not there, first gone.wav",
    )


@pytest.mark.parametrize("caption", [0, 7.5, True, {"text": "x"}])
def test_a_caption_that_is_no_text_leaves_its_clip_out(tmp_path, caption):
    found = read_dataset(folder_of(tmp_path, a__wav="", a__json={"caption": caption}, b__wav="", b__txt="ok"), "zorb")
    assert list(words(found)) == ["b"]
    assert [one.reason for one in found.left_out] == [f"caption: got {caption!r}, expected text"]
