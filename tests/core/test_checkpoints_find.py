"""Known models are found wherever users keep them, listed, and never fetched unasked."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from acestep_pack.acestep_core.checkpoints import locate as local
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.checkpoints.locate import find, list_models, models_folders
from acestep_pack.acestep_core.checkpoints.registry import KNOWN, known_model
from acestep_pack.acestep_core.errors import CheckpointError, how_to_get
from acestep_pack.acestep_core.lora.find import find_adapter

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture(autouse=True)
def models(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("ACESTEP_MODELS", os.pathsep.join([str(tmp_path / "first"), str(tmp_path / "second")]))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind", "place"),
    [
        ("acestep-v15-turbo", "stage", "second/Ace-Step1.5/acestep-v15-turbo"),
        ("turbo", "stage", "first/acestep-v15-turbo"),
        ("acestep-v15-xl-turbo", "stage", "data/acestep-cascade/models/acestep-v15-xl-turbo"),
        ("ACE-Step/acestep-v15-xl-turbo", "stage", "first/acestep-v15-xl-turbo"),
        ("ACE-Step/Ace-Step1.5", "stage", "first/Ace-Step1.5/acestep-v15-turbo"),
    ],
)
def test_known_model_in_a_folder(models, name, kind, place):
    (models / place).parent.mkdir(parents=True)
    shutil.copytree(GOLDEN / "m2b_a", models / place)
    found = find(name, kind)
    assert found.path == models / place
    assert found.known is known_model(name, kind)


@pytest.mark.parametrize("place", ["diffusion_models", "split_files/diffusion_models", ""])
def test_comfyui_file_in_a_models_folder(models, place):
    parent = models / "first" / ("ace_step_1.5_ComfyUI_files" if place.startswith("split") else "") / place
    parent.mkdir(parents=True)
    file = parent / "acestep_v1.5_turbo.safetensors"
    shutil.copy(GOLDEN / "m2b_a" / "model.safetensors", file)
    assert find("acestep_v1.5_turbo").path == find("acestep_v1.5_turbo.safetensors").path == file


def test_in_the_hub_cache(models):
    """As huggingface_hub lays it out, a part of a bundle."""
    cache = models / "hub" / "models--ACE-Step--Ace-Step1.5"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("abc")
    shutil.copytree(GOLDEN / "vae_a", cache / "snapshots" / "abc" / "vae")
    assert find("acestep-v15-vae", "vocoder").path == cache / "snapshots" / "abc" / "vae"


def test_whole_copy_before_half_downloaded_one(models):
    half, whole = models / "first" / "acestep-v15-sft", models / "second" / "acestep-v15-sft"
    half.mkdir(parents=True)
    (half / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="half downloaded; .* models download acestep-v15-sft` .* are kept"):
        find("acestep-v15-sft")
    shutil.copytree(GOLDEN / "m2b_a", whole)
    assert find("acestep-v15-sft").path == whole


def test_own_models_by_path_and_by_name(models):
    mine = models / "second" / "my-model"
    shutil.copytree(GOLDEN / "m2b_a", mine)
    assert find(str(mine)).path == find(mine).path == find("my-model").path == mine
    assert find(mine).known is None
    assert find("my-model", folders=[models / "third"]).path == mine


def test_folder_given_comes_first(models):
    for place in ("first", "given"):
        shutil.copytree(GOLDEN / "m2b_a", models / place / "acestep-v15-base")
    assert find("base", folders=[models / "given"]).path == models / "given" / "acestep-v15-base"
    assert models_folders([models / "given"])[0] == models / "given"


def test_beside_the_packs_own_folder_all_of_comfyuis_models_are_found(models, monkeypatch):
    """The README names the folder acestep, into which downloads go."""
    own = models / "ComfyUI" / "acestep"
    monkeypatch.setenv("ACESTEP_MODELS", str(own))
    own.mkdir(parents=True)
    assert models not in models_folders() and own.parent not in models_folders()  # nothing of ComfyUI's is there
    for name in ("diffusion_models/acestep_v1.5_turbo.safetensors", "loras/mine.safetensors"):
        (own.parent / name).parent.mkdir()
        (own.parent / name).touch()
    assert models_folders()[:2] == [own, own.parent]
    assert find("acestep_v1.5_turbo").path == own.parent / "diffusion_models" / "acestep_v1.5_turbo.safetensors"
    assert find_adapter("mine") == own.parent / "loras" / "mine.safetensors"


def test_absent_model_names_the_command(models):
    with pytest.raises(CheckpointError) as caught:
        load_stage_model("xl-turbo")
    told, how = str(caught.value), how_to_get("acestep-v15-xl-turbo")
    assert told.startswith("acestep-v15-xl-turbo is not on this machine (about 20.0 GB, MIT licence); ")
    assert told.endswith(f"; {how}, or name the folder that holds it in ACESTEP_MODELS")


def test_unknown_names():
    with pytest.raises(CheckpointError, match=r"did you mean acestep-v15-turbo\?.*give a path, or a name that"):
        find("acestp-v15-turbo")
    with pytest.raises(CheckpointError, match="acestep-v15-vae is a vocoder, expected a stage model"):
        find("acestep-v15-vae")
    with pytest.raises(CheckpointError, match="tiny is a whole cascade, expected one stage model"):
        find("tiny")


def test_embedded_family(models, monkeypatch):
    monkeypatch.setattr(local, "TINY_FOLDER", models / "tiny")
    with pytest.raises(CheckpointError, match="this copy of the package is not whole; install it again"):
        find("tiny-l")
    shutil.copytree(GOLDEN / "m2b_a", models / "tiny" / "l")
    shutil.copytree(GOLDEN / "vae_a", models / "tiny" / "vae")
    assert find("tiny-l").path == models / "tiny" / "l"
    assert find("tiny", "vocoder").path == models / "tiny" / "vae"
    row = next(row for row in list_models() if row.name == "tiny-l")
    assert row.complete
    assert row.parameters > 0


def test_list(models):
    place = models / "first" / "acestep-v15-turbo"
    shutil.copytree(GOLDEN / "m2b_a", place)
    rows = {row.name: row for row in list_models()}
    assert list(rows) == list(KNOWN)
    here, absent = rows["acestep-v15-turbo"], rows["acestep-v15-xl-turbo"]
    assert (here.here, here.complete) == (place, True)
    assert here.size_bytes == sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    assert (absent.here, absent.complete, absent.slot, absent.licence) == (None, False, "L", "MIT")
    assert absent.parameters == 4_987_310_726


def test_every_row_is_whole():
    for model in KNOWN.values():
        assert model.slot in ("L", "M", "S", "M, S", "text", "vocoder", "planner")
        assert model.kinds
        assert model.licence
        assert not model.repo or (model.size_bytes > 1e8 and model.parameters > 1e8)
        assert not model.repo or all(p.endswith((".json", ".safetensors", "silence_latent.pt")) for p in model.patterns)


def test_listing_needs_neither_torch_nor_diffusers():
    code = (
        "import importlib.util, json, sys\n"
        "spec = importlib.util.spec_from_file_location('acestep_pack', sys.argv[1])\n"
        "sys.modules['acestep_pack'] = pack = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(pack)\n"
        "from acestep_pack.acestep_core.checkpoints.checkpoint import read_checkpoint\n"
        "from acestep_pack.acestep_core.checkpoints.locate import list_models\n"
        "list_models(), read_checkpoint(sys.argv[2])\n"
        "sys.stdout.write(json.dumps([m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules]))\n"
    )
    command = [sys.executable, "-c", code, str(GOLDEN.parents[1] / "__init__.py"), str(GOLDEN / "m2b_a")]
    assert json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) == []
