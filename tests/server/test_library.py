"""The library: files' tags are the truth, the index follows them, and ten thousand songs are searched at once."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from acestep_pack.acestep_core.cli.parser import MISTAKE, OK, main
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.server.library import Library, NoSuchSong, SongRow, song_id
from acestep_pack.acestep_core.song import Song

ROOT = Path(__file__).resolve().parents[2]
COUNT, SECONDS_MOST = 10_000, 0.1
PIANO = Song("slow piano at night", "[Verse]\nUnder the Sea", bpm=70, key="A minor", seconds=20)


@pytest.fixture
def folder(tmp_path, write_song):
    write_song(tmp_path, "piano.wav", PIANO)
    write_song(tmp_path, "below/rock.flac", Song("fast rock", key="E minor"), {"seed": 8, "models": "tiny"})
    (tmp_path / "damaged.flac").write_bytes(b"fLaC and nothing else")
    (tmp_path / "notes.txt").write_text("no sound")
    return tmp_path


def names(page):
    return sorted(row.path for row in page.songs)


def test_songs_are_read_from_their_tags(folder):
    library = Library(folder)
    assert library.refresh() == (3, 0) and library.refresh() == (0, 0)
    page = library.songs()
    assert names(page) == ["below/rock.flac", "piano.wav"] and page.total == 2
    row = library.by_name("piano.wav")
    assert (row.caption, row.bpm, row.key, row.seconds, row.seed) == (PIANO.caption, 70, "A minor", 1.0, 7)
    assert row.models == "tiny-l, tiny-m, tiny-s"
    assert library.tagged(row.id).song == PIANO


@pytest.mark.parametrize(
    "query, found",
    [
        ("piano", ["piano.wav"]),
        ("UNDER sea", ["piano.wav"]),
        ("minor", ["below/rock.flac", "piano.wav"]),
        ("e minor rock", ["below/rock.flac"]),
        ("70 bpm", ["piano.wav"]),
        ("piano rock", []),
        ("100%' OR 1", []),
    ],
)
def test_a_search_finds_all_words_in_any_field(folder, query, found):
    library = Library(folder)
    library.refresh()
    page = library.songs(query)
    assert names(page) == found and page.total == len(found)


def test_the_index_follows_the_folder(folder, write_song):
    library = Library(folder)
    library.refresh()
    write_song(folder, "piano.wav", replace(PIANO, caption="loud organ, in a hall"))
    (folder / "below" / "rock.flac").unlink()
    write_song(folder, "new.wav", PIANO)
    assert library.refresh() == (2, 1)
    assert names(library.songs()) == ["new.wav", "piano.wav"]
    assert names(library.songs("organ")) == ["piano.wav"]


def test_a_rebuilt_index_is_the_same(folder):
    library = Library(folder)
    library.refresh()
    before = library.songs()
    library.close()
    (folder / ".library" / "songs.sqlite").write_bytes(b"damaged" * 1000)
    again = Library(folder)
    assert again.songs().total == 0
    assert again.rebuild() == 2
    assert again.songs() == before


def test_links_are_not_followed(folder, tmp_path_factory, write_song):
    outside = tmp_path_factory.mktemp("outside")
    write_song(outside, "secret.wav", PIANO)
    (folder / "link.wav").symlink_to(outside / "secret.wav")
    (folder / "linked").symlink_to(outside)
    library = Library(folder)
    library.refresh()
    assert names(library.songs()) == ["below/rock.flac", "piano.wav"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text_is_left_out_and_the_others_stay(folder, caplog):
    shutil.copy(folder / "piano.wav", folder / os.fsdecode(b"caf\xe9.wav"))
    library = Library(folder)
    assert library.refresh() == (3, 0) and library.rebuild() == 2
    assert names(library.songs(skip=0)) == ["below/rock.flac", "piano.wav"]
    assert "is left out of the library: its name is no text in UTF-8; rename it" in caplog.text
    assert library.songs(skip=10**30).songs == ()


@pytest.mark.parametrize("settings", [{"seed": 10**30}, {"seed": True}], ids=str)
def test_a_song_with_a_seed_of_no_cascade_is_left_out_with_a_note(folder, write_song, caplog, settings):
    write_song(folder, "strange.wav", PIANO, settings)
    library = Library(folder)
    assert library.refresh() == (4, 0) and library.rebuild() == 2
    assert names(library.songs()) == ["below/rock.flac", "piano.wav"]
    assert "strange.wav: its tags cannot be read (seed: got" in caplog.text


def test_a_row_that_sqlite_cannot_hold_is_no_song(tmp_path, caplog):
    library = Library(tmp_path)
    row = SongRow(song_id("a"), "a.flac", 1, 1, 1.0, seed=10**30)
    assert library._put([(row, "la"), (replace(row, id=song_id("b"), path="b.flac", seed=1), "la")]) == 1
    assert names(library.songs()) == ["b.flac"] and not library.by_name("a.flac").is_song
    assert "a.flac is left out of the library: the index cannot hold its tags" in caplog.text


def refused(library, said):
    """Every use of the index says so in one line."""
    uses = (library.refresh, library.rebuild, lambda: library.add(library.folder / "piano.wav"))
    for use in uses:
        with pytest.raises(UserError, match=said):
            use()


def test_an_index_that_another_program_has_locked(folder):
    library = Library(folder)
    library._index.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(folder / ".library" / "songs.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    refused(library, "songs.sqlite: cannot be read or written .database is locked.; make its folder writable")
    other.close()
    assert library.refresh() == (3, 0)


def test_an_index_that_is_read_only(folder):
    library = Library(folder)
    library._index.execute("PRAGMA query_only = 1")
    refused(library, "songs.sqlite: cannot be read or written .attempt to write a readonly database.")


def test_an_own_folder_that_is_a_file(folder, capsys):
    (folder / ".library").write_text("no folder")
    assert main(["library", "list", "--folder", str(folder)]) == MISTAKE
    assert ".library: cannot be read or written (File exists); make its folder writable" in capsys.readouterr().err


def test_a_removed_song_lies_in_the_trash(folder):
    library = Library(folder)
    library.refresh()
    place = library.remove(song_id("piano.wav"))
    assert place.is_file() and place.parent.name == "trash"
    assert library.refresh() == (0, 0) and names(library.songs()) == ["below/rock.flac"]
    with pytest.raises(NoSuchSong):
        library.path(song_id("piano.wav"))


@pytest.mark.parametrize("name", ["../piano.wav", "/etc/passwd", "piano.wav/..", "", "s_0000000000000000"])
def test_only_handles_and_names_of_the_index_lead_to_files(folder, name):
    library = Library(folder)
    library.refresh()
    for find in (library.path, library.by_name):
        with pytest.raises(NoSuchSong):
            find(name)


def test_ten_thousand_songs_are_listed_and_searched_at_once(tmp_path):
    library = Library(tmp_path)
    words = "la la la, under the lights we go on and on\n" * 30
    rows = [
        SongRow(song_id(str(n)), f"{n}.flac", 1, 1, float(n), f"song {n}", f"caption {n}", bpm=60 + n % 120)
        for n in range(COUNT)
    ]
    library._put([(row, f"{row.title} {row.caption} {words} {'needle' if row.bpm == 77 else ''}") for row in rows])
    library._index.commit()
    for query, order, total in [("", "newest", COUNT), ("needle", "title", 84), ("la 99", "oldest", None)]:
        took = []
        for skip in (0, 5000, 50):
            began = time.thread_time()
            page = library.songs(query, most=50, skip=skip if total == COUNT else 0, order=order)
            took.append(time.thread_time() - began)
            assert len(page.songs) == 50 and total in (None, page.total)
        assert min(took) < SECONDS_MOST


WRITER = """
import sys
from pathlib import Path
from acestep_core.server.library import Library, SongRow, song_id
library = Library(Path(sys.argv[1]))
for n in range(1_000_000):
    with library._index:
        library._put([(SongRow(song_id(str(n)), f"{n}.flac", 1, 1, float(n)), f"word {n}")])
    if n == 20:
        print("ready", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills a process with SIGKILL")
def test_an_index_whose_writer_is_killed_is_whole(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], env=env, stdout=subprocess.PIPE)
    assert writer.stdout.readline().strip() == b"ready"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    library = Library(tmp_path)
    assert library.songs().total > 20
    assert library._index.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_commands_list_search_and_rebuild(folder, capsys):
    assert main(["library", "rebuild", "--folder", str(folder)]) == OK
    assert capsys.readouterr().out.startswith("2 songs of ")
    assert main(["library", "search", "piano", "--folder", str(folder)]) == OK
    said = capsys.readouterr()
    assert said.out == "piano.wav  1 s, 70 bpm, A minor  slow piano at night\n" and "1 of 1 songs" in said.err
    assert main(["library", "list", "--json", "--most", "1", "--folder", str(folder)]) == OK
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main(["library", "list", "--folder", str(folder / "absent")]) == MISTAKE
    assert "is not a folder" in capsys.readouterr().err


def test_an_unknown_order_is_refused(folder):
    with pytest.raises(UserError, match="expected one of newest"):
        Library(folder).songs(order="path; DROP TABLE songs")
