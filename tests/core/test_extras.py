"""Optional features name the packages that they need."""

import importlib.metadata
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
from acestep_pack.acestep_core.system import extras

OTHERS = ('[project]\nname = "something-else"\n', "[tool.something]\nx = 1\n", "no toml")
ROOT = Path(__file__).resolve().parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_checkout_names_the_packages_of_its_extras(extra):
    assert extras.packages_of(extra) == EXTRAS[extra]
    words = shlex.split(extras.install_command(extra))
    assert words == [sys.executable, "-m", "pip", "install", *EXTRAS[extra]]


def test_an_installed_package_names_them_too(tmp_path, monkeypatch):
    lines = ["torch>=2.6", "ray>=2.40; extra == 'cluster'", 'gradio>=6; (python_version > "3") and extra == "serve"']
    monkeypatch.setattr(importlib.metadata, "requires", {extras.NAME: lines}.get)
    others = [_written(tmp_path, number, text) for number, text in enumerate(OTHERS)]
    for checkout in (tmp_path / "pyproject.toml", *others):
        monkeypatch.setattr(extras, "_CHECKOUT", checkout)
        assert extras.packages_of("cluster") == ["ray>=2.40"] and extras.packages_of("serve") == ["gradio>=6"]
        with pytest.raises(KeyError):
            extras.packages_of("nothing")


def _written(folder, number, text):
    file = folder / f"{number}.toml"
    file.write_text(text)
    return file
