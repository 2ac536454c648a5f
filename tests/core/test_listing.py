"""Names of files below folders: each folder is read once, and again only when it has changed."""

import os
import time

import pytest
from acestep_pack.acestep_core.system import listing
from acestep_pack.acestep_core.system.listing import entries, files_below


@pytest.fixture(autouse=True)
def reads(monkeypatch):
    """The folders that are read, in this order."""
    seen, scandir = [], os.scandir
    monkeypatch.setattr(listing, "_listings", {})
    monkeypatch.setattr(listing.os, "scandir", lambda path: seen.append(str(path)) or scandir(path))
    return seen


def settle(*folders):
    """As if nothing had changed there for an hour."""
    for folder in folders:
        os.utime(folder, (time.time() - 3600, time.time() - 3600))


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name in ("z.txt", "b/y.txt", "b/c/x.txt", ".hidden", "b/.git"):
        (tmp_path / name).write_text("")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "w.txt").write_text("")
    settle(tmp_path / "b" / "c", tmp_path / "b", tmp_path)
    return tmp_path


def test_names_below_a_folder(tree, reads):
    assert files_below(tree) == ["b/c/x.txt", "b/y.txt", "z.txt"]
    assert entries(tree) == {"b", "z.txt"} and entries(tree / "none") == frozenset()
    assert files_below(tree / "none") == files_below(tree / "z.txt") == []


def test_a_folder_is_read_again_only_when_it_has_changed(tree, reads):
    files_below(tree)
    assert len(reads) == 3
    for _ in range(20):
        files_below(tree)
    assert len(reads) == 3
    (tree / "b" / "new.txt").write_text("")
    settle(tree / "b")
    os.utime(tree / "b", (1, 1))
    assert files_below(tree) == ["b/c/x.txt", "b/new.txt", "b/y.txt", "z.txt"]
    assert reads[3:] == [str(tree / "b")]


def test_a_folder_that_changed_just_now_is_not_trusted(tree, reads):
    (tree / "one.txt").write_text("")
    assert "one.txt" in files_below(tree)
    now = os.stat(tree).st_mtime_ns
    (tree / "two.txt").write_text("")
    os.utime(tree, ns=(now, now))  # a clock that ticks slowly
    assert "two.txt" in files_below(tree)


def test_links_are_followed_but_not_in_circles(tree, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk")
    (disk / "far.txt").write_text("")
    (tree / "disk").symlink_to(disk)
    (tree / "b" / "back").symlink_to(tree)
    (tree / "file.txt").symlink_to(disk / "far.txt")
    assert files_below(tree) == ["b/c/x.txt", "b/y.txt", "disk/far.txt", "file.txt", "z.txt"]


def test_a_link_whose_target_comes_later(tree, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk")
    (tree / "later").symlink_to(disk / "later")
    settle(tree)
    assert "later" in files_below(tree)  # not a folder as yet
    (disk / "later").mkdir()
    (disk / "later" / "far.txt").write_text("")
    assert "later/far.txt" in files_below(tree)
