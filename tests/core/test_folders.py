"""Folders of a user on each system, and paths that a user typed."""

import importlib
import os
import sys
from pathlib import Path

import platformdirs
import pytest
from acestep_pack.acestep_core.audio import files as audio_files
from acestep_pack.acestep_core.checkpoints import hub
from acestep_pack.acestep_core.checkpoints.cascade_models import find_cascade
from acestep_pack.acestep_core.checkpoints.locate import find, models_folders
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.lora.find import Lora, find_adapter
from acestep_pack.acestep_core.system import folders
from acestep_pack.acestep_core.system.folders import cache_folder, data_folder, user_path

VARIABLES = ("XDG_DATA_HOME", "XDG_CACHE_HOME", "ACESTEP_CACHE", "ACESTEP_MODELS", "LOCALAPPDATA")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def on(monkeypatch, system):
    """platformdirs as it is on another system."""
    classes = {"linux": "unix.Unix", "darwin": "macos.MacOS", "win32": "windows.Windows"}
    module, name = classes[system].split(".")
    kind = getattr(importlib.import_module(f"platformdirs.{module}"), name)
    monkeypatch.setattr(platformdirs, "PlatformDirs", kind)
    monkeypatch.setattr(folders.sys, "platform", system)


def test_folders_on_linux(monkeypatch, tmp_path):
    on(monkeypatch, "linux")
    assert data_folder() == tmp_path / ".local" / "share" / "acestep-cascade"
    assert cache_folder() == tmp_path / ".cache" / "acestep-cascade"
    assert models_folders() == [tmp_path / ".local" / "share" / "acestep-cascade" / "models"]
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_folder() == tmp_path / "data" / "acestep-cascade"
    assert cache_folder() == tmp_path / "cache" / "acestep-cascade"


def test_folders_on_macos(monkeypatch, tmp_path):
    on(monkeypatch, "darwin")
    apple = tmp_path / "Library" / "Application Support" / "acestep-cascade"
    assert data_folder() == apple
    assert cache_folder() == tmp_path / "Library" / "Caches" / "acestep-cascade"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (apple / "models").mkdir(parents=True)
    assert models_folders() == [apple / "models"]  # what lies there is still found


def test_folders_on_windows(monkeypatch, tmp_path):
    from platformdirs import windows

    on(monkeypatch, "win32")
    monkeypatch.setattr(windows, "get_win_folder", {"CSIDL_LOCAL_APPDATA": str(tmp_path / "Local")}.get)
    assert data_folder() == cache_folder() == tmp_path / "Local" / "acestep-cascade"


def test_the_cache_can_be_named_or_turned_off(monkeypatch, tmp_path):
    monkeypatch.setenv("ACESTEP_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("ACESTEP_CACHE", "OFF")
    assert cache_folder() is None
    monkeypatch.setenv("ACESTEP_CACHE", "~nosuchuser/mine")
    with pytest.raises(UserError, match="^~nosuchuser/mine: "):
        cache_folder()


@pytest.fixture
def nobody(monkeypatch):
    """A user id without a name, and no HOME, as in some containers."""
    import pwd

    def getpwuid(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", getpwuid)


@pytest.mark.skipif(sys.platform == "win32", reason="user ids")
def test_a_user_without_a_home_goes_without_folders_of_his_own(monkeypatch, tmp_path, nobody):
    assert data_folder() is None and cache_folder() is None and models_folders() == []
    assert find("tiny-l").name == "tiny-l"
    with pytest.raises(UserError, match="^~/x: ~ stands for a home folder that is not known here; write the"):
        user_path("~/x")
    with pytest.raises(hub.DownloadError, match="no home folder to download into; name a models folder in ACESTEP"):
        hub.download("ace_1.5_vae")
    monkeypatch.setenv("ACESTEP_MODELS", str(tmp_path / "a"))
    assert models_folders([tmp_path / "b"]) == [tmp_path / "b", tmp_path / "a"]


BAD = ["~nosuchuser/x", "a\0b"]


@pytest.mark.parametrize("path", BAD)
@pytest.mark.parametrize(
    "take",
    [
        user_path,
        find,
        find_adapter,
        find_cascade,
        audio_files.read,
        lambda path: find("acestep-v15-turbo", folders=[path]),
        lambda path: find_adapter("a", [path]),
    ],
)
def test_a_path_that_names_nothing_is_one_clean_error(path, take):
    with pytest.raises(UserError, match="~ stands for a home folder that is not known here|holds a NUL character") as e:
        take(path)
    assert "\n" not in str(e.value) and "\0" not in str(e.value)


def test_a_name_too_long_for_a_file_is_absent():
    name = "a" * 5000
    with pytest.raises(UserError, match="is neither a file or folder nor a known stage model"):
        find(name)
    with pytest.raises(UserError, match="there is no such adapter"):
        find_adapter(name)
    assert Lora.parse(f"L={name}:0.5") == Lora(name, 0.5, "l")


def test_home_is_expanded(tmp_path):
    assert user_path("~/a b") == tmp_path / "a b" and user_path(Path("x")) == Path("x")
    assert user_path(f"~{os.sep}") == tmp_path
