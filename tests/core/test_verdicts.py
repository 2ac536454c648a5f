"""Lists of models and adapters: a file is opened once, in the background, and its verdict lasts between runs."""

import json
import os
import struct
import threading
from pathlib import Path

import pytest
from acestep_pack.acestep_core.checkpoints import choices, weights
from acestep_pack.acestep_core.checkpoints.choices import Shelf
from acestep_pack.acestep_core.checkpoints.registry import STAGE, VOCODER
from acestep_pack.acestep_core.lora import find
from acestep_pack.acestep_core.system import verdicts
from acestep_pack.acestep_core.system.verdicts import Verdicts

ADAPTER = "diffusion_model.decoder.layers.0.self_attn.q_proj.lora_A.weight"
FOREIGN = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight"
FILES = 60


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ACESTEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("ACESTEP_MODELS", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(verdicts, "_DELAY_SECONDS", 0)
    new_process(monkeypatch)


def new_process(monkeypatch):
    """As in a program that starts: nothing is known but what lies on the disk."""
    readers = verdicts.package_files(*choices._READERS)
    monkeypatch.setattr(choices, "_file_verdicts", Verdicts("models", choices._kinds_in_file, readers))
    folders = Verdicts("model_folders", choices._kinds_in_folder, readers, choices._folder_state)
    monkeypatch.setattr(choices, "_folder_verdicts", folders)
    monkeypatch.setattr(find, "_verdicts", Verdicts("adapters", find._judge, verdicts.package_files("lora/find.py")))


@pytest.fixture
def opened(monkeypatch):
    """Names of the files whose headers are read, and the threads that read them."""
    seen, read = [], weights.header_text

    def noted(path):
        seen.append((path.name, threading.current_thread() is threading.main_thread()))
        return read(path)

    for module in (weights, find):
        monkeypatch.setattr(module, "header_text", noted)
    return seen


def write(path, *names):
    header = {
        name: {"dtype": "F32", "shape": [2, 2], "data_offsets": [16 * i, 16 * i + 16]} for i, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(16 * len(names)))
    return path


@pytest.fixture
def loras(tmp_path):
    folder = tmp_path / "loras"
    for number in range(FILES):
        write(folder / f"foreign {number:02}.safetensors", *(f"{FOREIGN}.{part}" for part in range(8)))
    write(folder / "mine.safetensors", ADAPTER)
    return folder


def names(loras, **how):
    return [name for name in find.list_adapters((loras,), **how) if name != "tiny-l-chiptune.safetensors"]


def test_names_are_listed_at_once_and_foreign_ones_go_when_they_are_known(loras, opened):
    assert len(names(loras, quick=True)) == FILES + 1
    assert all(not in_main for _, in_main in opened)
    find.finish_judging()
    assert names(loras, quick=True) == ["mine.safetensors"]
    assert len(opened) <= 2 * (FILES + 2) and len({name for name, _ in opened}) == FILES + 2
    before = len(opened)
    assert names(loras) == names(loras, quick=True) == ["mine.safetensors"]
    find.finish_judging()
    assert len(opened) == before


def test_verdicts_last_between_runs(loras, opened, monkeypatch, tmp_path):
    names(loras, quick=True)
    find.finish_judging()
    assert (tmp_path / "cache" / "adapters.json").is_file()
    opened.clear()
    new_process(monkeypatch)
    assert names(loras, quick=True) == ["mine.safetensors"]
    find.finish_judging()
    assert opened == []


def test_a_changed_file_is_opened_again_and_no_other(loras, opened):
    names(loras)
    opened.clear()
    write(loras / "foreign 07.safetensors", ADAPTER)
    (loras / "foreign 08.safetensors").unlink()
    assert names(loras) == ["foreign 07.safetensors", "mine.safetensors"]
    assert {name for name, _ in opened} == {"foreign 07.safetensors"}


def test_a_list_finds_a_change_in_the_background(loras, monkeypatch):
    monkeypatch.setattr(verdicts, "_CHECK_SECONDS", 0)
    names(loras)
    write(loras / "foreign 07.safetensors", ADAPTER)
    assert names(loras, quick=True) == ["mine.safetensors"]
    find.finish_judging()
    assert names(loras, quick=True) == ["foreign 07.safetensors", "mine.safetensors"]


def test_one_adapter_is_found_without_opening_the_others(loras, opened):
    assert find.listed_adapter("mine.safetensors", (loras,)) == loras / "mine.safetensors"
    assert find.listed_adapter("foreign 01.safetensors", (loras,)) is None
    assert find.listed_adapter("../outside.safetensors", (loras,)) is None
    assert {name for name, _ in opened} == {"mine.safetensors", "foreign 01.safetensors"}


def test_the_file_system_is_asked_little_once_all_is_known(loras, monkeypatch):
    names(loras)
    os.utime(loras, (1, 1))
    names(loras, quick=True)
    find.finish_judging()
    calls = []

    def counted(call):
        return lambda *given, **more: calls.append(given) or call(*given, **more)

    for name in ("stat", "scandir", "lstat", "open"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    assert names(loras, quick=True) == ["mine.safetensors"]
    assert len(calls) <= 12  # of folders: none of the files


STORES = [b"", b"{", b"[]", b'{"files": 3}', b'{"code": [], "files": {"a": [1, 2, "x"]}}', b"[" * 10**5]


@pytest.mark.parametrize("content", STORES)
def test_a_damaged_store_is_begun_anew(loras, tmp_path, content):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "adapters.json").write_bytes(content)
    assert names(loras) == ["mine.safetensors"]
    stored = json.loads((tmp_path / "cache" / "adapters.json").read_text())
    assert stored["files"][str(loras / "mine.safetensors")][2] == "adapter"


def test_other_code_voids_all_verdicts(tmp_path):
    code, judged = tmp_path / "code.py", []
    code.write_text("one")

    def verdict():
        found = Verdicts("x", lambda path: judged.append(path) or "good", (str(code),))
        found.of(str(code))
        found.save()

    verdict()
    verdict()
    assert len(judged) == 1
    code.write_text("another")
    verdict()
    assert len(judged) == 2


def test_the_store_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(verdicts, "KEPT_MAX", 5)
    found = Verdicts("x", lambda path: "good", ())
    for number in range(9):
        (tmp_path / str(number)).write_text("")
        found.of(str(tmp_path / str(number)))
    found.save()
    stored = json.loads((tmp_path / "cache" / "x.json").read_text())["files"]
    assert [Path(path).name for path in stored] == ["4", "5", "6", "7", "8"]


def test_without_a_cache_folder_verdicts_last_as_long_as_the_process(loras, opened, monkeypatch):
    monkeypatch.setenv("ACESTEP_CACHE", "off")
    assert names(loras) == names(loras) == ["mine.safetensors"]
    assert len({name for name, _ in opened}) == FILES + 2


def test_models_are_listed_at_once_as_well(tmp_path, opened):
    shared = tmp_path / "checkpoints"
    for number in range(FILES):
        write(shared / f"foreign {number:02}.safetensors", "model.diffusion_model.input_blocks.0.0.weight")
    write(shared / "vae.safetensors", "decoder.layers.0.weight_v")
    shelf = Shelf((tmp_path / "acestep",), {STAGE: (shared,), VOCODER: (shared,)})
    assert len(shelf.offered(STAGE)[0]) == 3 + FILES + 1
    assert "vae.safetensors" in shelf.offered(VOCODER)[0]  # some of the others may be judged by now
    choices.finish_judging()
    assert len(shelf.offered(STAGE)[0]) == 3 and shelf.offered(VOCODER)[0] == ["tiny-vocoder", "vae.safetensors"]
    assert len(opened) == FILES + 1 and not any(in_main for _, in_main in opened)
    opened.clear()
    assert shelf.here(VOCODER) == ["tiny-vocoder", "vae.safetensors"] and opened == []
