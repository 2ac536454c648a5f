"""Files and folders are written whole or not at all, and what killed writers left is removed."""

import hashlib
import os
import sys
import time
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.checkpoints.save import write_tensors
from acestep_pack.acestep_core.checkpoints.weights import read_header, read_metadata
from acestep_pack.acestep_core.errors import AceStepError, UserError
from acestep_pack.acestep_core.lora.save import save_adapter
from acestep_pack.acestep_core.system import files
from acestep_pack.acestep_core.system.files import STALE_SECONDS, whole_file, whole_folder, write_whole
from core_tests.lora_material import lora
from safetensors.torch import load_file


@pytest.fixture
def flushed(monkeypatch):
    """Sizes of the files that were brought to the disk, at that moment."""
    sizes, fsync = [], os.fsync

    def noted(handle):
        sizes.append(os.fstat(handle).st_size)
        fsync(handle)

    monkeypatch.setattr(files.os, "fsync", noted)
    return sizes


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, flushed):
    target = tmp_path / "song.flac"
    with whole_file(target) as part:
        assert part.parent == tmp_path and not target.exists()
        part.write_bytes(b"music")
        assert flushed == []
    assert target.read_bytes() == b"music" and flushed == [5] and list(tmp_path.iterdir()) == [target]
    write_whole(target, b"other music")
    assert target.read_bytes() == b"other music" and flushed == [5, 11]


def test_a_failure_leaves_what_was_there(tmp_path):
    target = tmp_path / "song.flac"
    target.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), whole_file(target) as part:
        part.write_bytes(b"half")
        raise KeyboardInterrupt
    refused = pytest.raises(AceStepError, match=r"song.flac: could not be written \(No space left.*free space or give")
    with refused, whole_file(target):
        raise OSError(28, "No space left on device")
    assert target.read_bytes() == b"before" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("place", ["no folder/song.flac", "file/song.flac"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(AceStepError, match="song.flac: could not be written"):
        write_whole(tmp_path / place, b"")


def test_a_link_is_replaced_and_not_followed(tmp_path):
    outside, target = tmp_path / "outside", tmp_path / "songs" / "a.flac"
    outside.write_bytes(b"kept")
    target.parent.mkdir()
    target.symlink_to(outside)
    write_whole(target, b"song")
    assert outside.read_bytes() == b"kept" and target.read_bytes() == b"song" and not target.is_symlink()


def test_what_killed_writers_left_is_removed(tmp_path):
    old = time.time() - STALE_SECONDS - 60
    stale = [".0123456789abcdef.part", ".model.safetensors.ab1_x9zq.incomplete"]
    others = ["song.part", ".hidden", "model.safetensors.0123456789ab.incomplete", ".0123456789abcdef.part.txt"]
    for name in (*stale, *others):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (old, old))
    (tmp_path / "folder.flac").mkdir()
    (tmp_path / ".fedcba9876543210.part").write_bytes(b"x")  # of a writer that lives
    (tmp_path / ".0000000000000000.part").mkdir()
    os.utime(tmp_path / ".0000000000000000.part", (old, old))
    (tmp_path / ".1111111111111111.part").symlink_to(tmp_path / "song.part")
    write_whole(tmp_path / "song.flac", b"music")
    left = {path.name for path in tmp_path.iterdir()}
    expected = {*others, "folder.flac", "song.flac", ".fedcba9876543210.part", ".0000000000000000.part"}
    assert left == expected | {".1111111111111111.part"}


def test_a_folder_is_on_the_disk_before_it_has_its_name(tmp_path, flushed):
    target = tmp_path / "step-000010"
    for text in ("one", "three"):
        with whole_folder(target) as unfinished:
            (unfinished / "inner").mkdir()
            (unfinished / "inner" / "a.txt").write_text(text)
            (unfinished / "b.txt").write_text("b")
        assert (target / "inner" / "a.txt").read_text() == text and list(tmp_path.iterdir()) == [target]
    assert sorted(flushed) == [1, 1, 3, 5]
    with pytest.raises(ValueError), whole_folder(target) as unfinished:
        raise ValueError
    assert (target / "b.txt").read_text() == "b" and list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.name == "nt", reason="files there have no modes")
@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_can_be_read_by_whom_the_umask_lets(tmp_path, mask, mode):
    """Those of safetensors as well, which only their owner could read."""
    before = os.umask(mask)
    try:
        with whole_file(tmp_path / "a.safetensors") as part:
            write_tensors({"a": torch.ones(1)}, part, {"made": "here"})
        with whole_folder(tmp_path / "step-000001") as unfinished:
            write_tensors({"a": torch.ones(1)}, unfinished / "state.safetensors", {})
    finally:
        os.umask(before)
    for file in (tmp_path / "a.safetensors", tmp_path / "step-000001" / "state.safetensors"):
        assert file.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("layout", ["peft", "comfyui", "diffusers"])
def test_an_adapter_saved_twice_has_the_same_bytes(tmp_path, tiny_family, layout):
    model = load_stage_model(tiny_family / "m")
    facts = {f"fact {number}": f'"quoted" \n \x01 ü {number}' for number in range(12)}

    def saved(name):
        made = save_adapter(lora(model), tmp_path / name, layout, facts)
        paths = sorted(made.iterdir()) if made.is_dir() else [made]
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths], paths[-1]

    names = ["a", "b", "c"] if layout == "peft" else ["a.safetensors", "b.safetensors", "c.safetensors"]
    digests, paths = zip(*map(saved, names), strict=True)
    assert digests[0] == digests[1] == digests[2]
    metadata = read_metadata(paths[0])
    assert facts.items() <= metadata.items() and list(metadata) == sorted(metadata)


def test_tensors_survive_the_sorting_of_their_metadata(tmp_path):
    tensors, file = {"b": torch.randn(3, 5), "a": torch.arange(7)}, tmp_path / "a.safetensors"
    write_tensors(tensors, file, {"z": "ü", "a": "\\", "format": "pt"})
    assert read_metadata(file) == {"a": "\\", "format": "pt", "z": "ü"}
    assert set(read_header(file)) == {"a", "b"}
    assert all(torch.equal(load_file(file)[name], tensor) for name, tensor in tensors.items())
    write_tensors(tensors, file, {})
    assert all(torch.equal(load_file(file)[name], tensor) for name, tensor in tensors.items())


def test_a_folder_is_searched_for_unfinished_files_once(tmp_path, monkeypatch):
    """Else the thousandth song of a folder takes as long to keep as all before it."""
    searched = []
    monkeypatch.setattr(files, "remove_stale", searched.append)
    for number in range(3):
        files.write_whole(tmp_path / f"{number}.wav", b"x")
    assert searched == [tmp_path]
    monkeypatch.setattr(files.time, "monotonic", lambda: 1e9)
    files.write_whole(tmp_path / "3.wav", b"x")
    assert searched == [tmp_path] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_a_sound_whose_name_is_no_text_is_refused_in_one_line(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff.flac"
    Path(os.fsdecode(name)).write_bytes(b"")
    with pytest.raises(UserError, match=r"udcff\.flac': its name is not UTF-8; rename the file") as caught:
        files.existing(os.fsdecode(name))
    assert str(caught.value).encode() and "\n" not in str(caught.value)
