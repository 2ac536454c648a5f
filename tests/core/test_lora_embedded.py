"""The adapter that comes with the pack: found by name, and trained on the tiny-l that is shipped."""

import shutil

import pytest
from acestep_pack.acestep_core.checkpoints import load
from acestep_pack.acestep_core.checkpoints.locate import TINY_FOLDER
from acestep_pack.acestep_core.lora.adapter import read_adapter
from acestep_pack.acestep_core.lora.apply import apply_adapter
from acestep_pack.acestep_core.lora.find import EMBEDDED_FOLDER, find_adapter, list_adapters
from acestep_pack.acestep_core.training.prepare import fingerprint

NAME = "tiny-l-chiptune"
FILE = f"{NAME}.safetensors"
LARGEST = 400_000  # bytes


@pytest.fixture(autouse=True)
def no_models(tmp_path, monkeypatch):
    monkeypatch.setenv("ACESTEP_MODELS", str(tmp_path))


@pytest.fixture(scope="module")
def tiny_l():
    return load.load_stage_model(TINY_FOLDER / "l")


@pytest.mark.parametrize("name", [NAME, FILE])
def test_it_is_found_by_its_name(name):
    assert find_adapter(name) == EMBEDDED_FOLDER / FILE
    assert list_adapters()[FILE] == EMBEDDED_FOLDER / FILE


def test_an_adapter_of_the_user_goes_before_it(tmp_path):
    (tmp_path / "loras").mkdir()
    own = shutil.copy(EMBEDDED_FOLDER / FILE, tmp_path / "loras" / FILE)
    assert find_adapter(NAME) == own and list_adapters()[FILE] == own


def test_it_was_trained_on_the_model_that_is_shipped(tiny_l):
    """Where it was not: python tests/workflows/assets.py adapter."""
    adapter = read_adapter(NAME)
    assert adapter.facts["base"] == "tiny-l" and adapter.facts["base hash"] == fingerprint(tiny_l.transformer)


def test_all_of_it_is_applied_at_scale_1(tiny_l):
    adapter = read_adapter(NAME)
    assert adapter.kind == "LoRA" and adapter.scales == (1.0,) and adapter.bases == ("tiny-l",)
    adapted, report = apply_adapter(tiny_l, adapter, 1.0)
    assert sorted(report.matched) == sorted(adapter.modules)


def test_every_embedded_adapter_is_small():
    assert all(file.stat().st_size <= LARGEST for file in EMBEDDED_FOLDER.iterdir())
