"""What there is to choose from: told by what files hold, under names that stay, and found by these names only."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.checkpoint import read_checkpoint
from acestep_pack.acestep_core.checkpoints.choices import Shelf
from acestep_pack.acestep_core.checkpoints.registry import KNOWN, STAGE, TEXT, VOCODER
from acestep_pack.acestep_core.errors import CheckpointError
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
EMBEDDED = {STAGE: ["tiny-l", "tiny-m", "tiny-s"], TEXT: ["tiny-text"], VOCODER: ["tiny-vocoder"]}
KINDS = tuple(EMBEDDED)


@pytest.fixture(autouse=True)
def no_models_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("ACESTEP_MODELS", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def own(tmp_path):
    (tmp_path / "acestep").mkdir()
    return tmp_path / "acestep"


@pytest.fixture
def shared(tmp_path):
    """A folder in which stage models of any family lie."""
    (tmp_path / "diffusion_models").mkdir()
    return tmp_path / "diffusion_models"


@pytest.fixture
def shelf(own, shared, tmp_path):
    return Shelf((own,), {STAGE: (shared,), TEXT: (tmp_path / "text_encoders",), VOCODER: (tmp_path / "not_there",)})


def stage_file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(GOLDEN / "m2b_a" / "model.safetensors", path)
    return path


def stage_folder(path):
    path.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "silence_latent.pt"):
        shutil.copy(GOLDEN / "m2b_a" / name, path)
    return path


def more(shelf, kind=STAGE):
    """What is there besides the embedded models."""
    names = shelf.here(kind)
    assert names[: len(EMBEDDED[kind])] == EMBEDDED[kind]
    return names[len(EMBEDDED[kind]) :]


# ---- what is listed --------------------------------------------------------------------------------------------------


def test_embedded_models_are_always_there(shelf):
    assert {kind: shelf.here(kind) for kind in KINDS} == EMBEDDED
    for kind in KINDS:
        for name in EMBEDDED[kind]:
            found = shelf.find(name, kind)
            assert found.name == name and found.known is KNOWN[name] and read_checkpoint(found.path).parts


def test_files_are_told_by_what_they_hold(shelf, shared, tmp_path):
    stage_file(shared / "holiday.safetensors")
    save_file({"blocks.0.weight": torch.zeros(2, 2)}, shared / "acestep_v1.5_base_picture.safetensors")
    shutil.copy(GOLDEN / "vae_a" / "comfyui_layout.safetensors", shared / "a_stage_model.safetensors")
    assert more(shelf) == ["holiday.safetensors"]
    assert more(shelf, VOCODER) == more(shelf, TEXT) == []


def test_a_file_is_offered_for_every_kind_that_it_holds(own):
    tensors = {f"model.diffusion_model.{n}": t for n, t in load_file(GOLDEN / "m2b_a" / "model.safetensors").items()}
    tensors |= {f"vae.{n}": t for n, t in load_file(GOLDEN / "vae_a" / "comfyui_layout.safetensors").items()}
    save_file(tensors, own / "all.safetensors")
    shelf = Shelf((own,), {})
    assert (more(shelf), more(shelf, VOCODER), more(shelf, TEXT)) == (["all.safetensors"], ["all.safetensors"], [])


@pytest.mark.parametrize("content", [b"", b"\x10\x00", b"not a model" * 9, b"PK\x03\x04" + bytes(60)])
def test_a_damaged_file_is_not_fatal(shelf, shared, content):
    (shared / "damaged.safetensors").write_bytes(content)
    stage_file(shared / "good.safetensors")
    assert more(shelf) == ["good.safetensors"]


def test_a_file_that_is_cut_off_is_listed_once_it_is_whole(shelf, shared):
    file = stage_file(shared / "mine.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1000])
    assert more(shelf) == []
    file.write_bytes(whole)
    assert more(shelf) == ["mine.safetensors"]


def test_links_that_lead_nowhere_are_not_fatal(shelf, own, shared, tmp_path):
    (shared / "gone.safetensors").symlink_to(tmp_path / "unplugged")
    (own / "gone").symlink_to(tmp_path / "unplugged")
    assert more(shelf) == []


def test_links_to_files_and_folders_on_other_disks_are_followed(shelf, shared, tmp_path):
    stage_file(tmp_path / "disk" / "linked.safetensors")
    (shared / "other disk").symlink_to(tmp_path / "disk")
    (shared / "file.safetensors").symlink_to(tmp_path / "disk" / "linked.safetensors")
    (shared / "loop").symlink_to(shared)
    assert {"file.safetensors", "other disk/linked.safetensors"} <= set(more(shelf))
    assert shelf.find("other disk/linked.safetensors", STAGE).path.samefile(tmp_path / "disk" / "linked.safetensors")


def test_files_keep_their_folder_in_their_name(shelf, own, shared):
    stage_file(shared / "b" / "one.safetensors")
    stage_file(own / "a" / "two.safetensors")
    assert more(shelf) == ["a/two.safetensors", "b/one.safetensors"]
    assert shelf.find("b/one.safetensors", STAGE).path == shared / "b" / "one.safetensors"


def test_of_two_files_with_one_name_the_one_in_the_first_folder_counts(own, shared, tmp_path):
    stage_file(shared / "mine.safetensors")
    stage_file(own / "mine.safetensors")
    for folders in ((own, shared), (shared, own)):
        shelf = Shelf((own,), {STAGE: folders})
        assert more(shelf) == ["mine.safetensors"]
        assert shelf.find("mine.safetensors", STAGE).path == own / "mine.safetensors"
    assert Shelf((tmp_path / "none",), {STAGE: (shared, own)}).find("mine.safetensors", STAGE).path.parent == shared


# ---- models that are folders -----------------------------------------------------------------------------------------


def test_a_folder_in_the_original_layout_is_one_model(shelf, own, shared):
    stage_folder(own / "kept" / "mine")
    assert more(shelf) == ["kept/mine"]
    assert more(shelf, VOCODER) == []
    assert shelf.find("kept/mine", STAGE).path == own / "kept" / "mine"
    stage_folder(shared / "elsewhere")  # in a folder of all families only files are looked for
    assert more(shelf) == ["kept/mine"]


def test_shards_are_one_model(shelf, own):
    folder = stage_folder(own / "sharded")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    halves = {f"model-0000{i + 1}-of-00002.safetensors": list(tensors)[i::2] for i in range(2)}
    for file, names in halves.items():
        save_file({name: tensors[name] for name in names}, folder / file)
    weight_map = {name: file for file, names in halves.items() for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert more(shelf) == ["sharded"]
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert more(shelf) == []


@pytest.mark.parametrize("index", ["{", "[]", '{"weight_map": []}', "{}"])
def test_a_damaged_index_is_not_fatal(shelf, own, index):
    for name in ("mine", "acestep-v15-sft"):
        folder = stage_folder(own / name)
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        (folder / "model.safetensors.index.json").write_text(index)
    assert more(shelf) == []
    assert "acestep-v15-sft" in {model.name for model in shelf.absent(STAGE)}


def pipeline(folder):
    """As diffusers lays it out: a folder for each network."""
    from acestep_pack.acestep_core.checkpoints.load import load_stage_model
    from core_tests.in_diffusers import in_diffusers

    model = load_stage_model(GOLDEN / "m2b_a")
    for part in ("transformer", "condition_encoder"):
        in_diffusers(getattr(model, part)).save_pretrained(folder / part)
    shutil.copytree(GOLDEN / "vae_a", folder / "vae")
    (folder / "model_index.json").write_text('{"_class_name": "AceStepPipeline"}')
    return folder


@pytest.mark.parametrize("name", ["mine", "acestep-v15-xl-turbo-diffusers"])
def test_a_diffusers_pipeline_is_one_model(shelf, own, name):
    folder = pipeline(own / name)
    assert more(shelf) == more(shelf, VOCODER) == [name]
    assert more(shelf, TEXT) == ([] if name == "mine" else [name])
    assert shelf.find(name, STAGE).path == shelf.find(name, VOCODER).path == folder
    shutil.rmtree(folder / "transformer")
    assert more(shelf) == more(shelf, VOCODER) == []


def test_a_foreign_folder_is_not_listed(shelf, own):
    for name, config in (("t5", '{"model_type": "t5"}'), ("broken", "{"), ("list", "[]")):
        folder = stage_folder(own / name)
        (folder / "config.json").write_text(config)
    assert more(shelf) == []


def test_a_folder_is_listed_once_its_files_are_whole(shelf, own):
    folder = stage_folder(own / "mine")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1000])
    assert more(shelf) == []
    (folder / "model.safetensors").write_bytes(whole)
    assert more(shelf) == ["mine"]


def test_a_model_right_in_the_own_folder_is_its_file(shelf, own):
    for file in stage_folder(own / "mine").iterdir():
        file.rename(own / file.name)
    assert more(shelf) == ["model.safetensors"]


# ---- known models ----------------------------------------------------------------------------------------------------


def test_a_known_model_in_a_folder_of_comfyui_is_listed_once_by_its_known_name(shelf, shared):
    before = {model.name for model in shelf.absent(STAGE)}
    file = stage_file(shared / "acestep_v1.5_turbo.safetensors")
    assert more(shelf) == ["acestep_v1.5_turbo"]
    assert {model.name for model in shelf.absent(STAGE)} == before - {"acestep_v1.5_turbo"}
    found = shelf.find("acestep_v1.5_turbo", STAGE)
    assert (found.path, found.known) == (file, KNOWN["acestep_v1.5_turbo"])


def test_a_known_model_as_a_download_lays_it_is_listed_once(shelf, own):
    stage_folder(own / "Ace-Step1.5" / "acestep-v15-turbo")
    assert more(shelf) == ["acestep-v15-turbo"]


def test_a_half_downloaded_model_is_absent(shelf, own):
    folder = stage_folder(own / "acestep-v15-sft")
    (folder / "model.safetensors").rename(folder / "model.safetensors.ab12.incomplete")
    assert more(shelf) == []
    assert "acestep-v15-sft" in {model.name for model in shelf.absent(STAGE)}


def test_absent_models_are_the_published_ones(shelf):
    for kind in KINDS:
        absent = shelf.absent(kind)
        assert absent == [model for model in KNOWN.values() if model.repo and kind in model.kinds]


def test_an_absent_known_model_says_where_to_get_it(shelf):
    for name in ("acestep-v15-sft", "sft"):
        with pytest.raises(
            CheckpointError, match="acestep-v15-sft is not on this machine .* models download acestep-v15-sft`"
        ):
            shelf.find(name, STAGE)


# ---- names, not paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../outside.safetensors",
        "b/../../outside.safetensors",
        "{tmp}/outside.safetensors",
        "~/outside.safetensors",
        "outside",
        "mine",
        "./mine.safetensors",
        ".",
        "",
    ],
)
def test_what_is_no_name_of_the_list_is_refused(shelf, shared, tmp_path, monkeypatch, name):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    stage_file(tmp_path / "outside.safetensors")
    stage_file(shared / "mine.safetensors")
    (shared / "b").mkdir()
    name = name.format(tmp=tmp_path)
    with pytest.raises(CheckpointError) as caught:
        shelf.find(name, STAGE)
    said = str(caught.value)
    assert said.startswith(f"{name} is no stage model that is here")
    assert said.endswith(f"; choose one of the list, or put a file into {shared}, a folder into {tmp_path / 'acestep'}")


def test_a_name_that_is_nearly_listed_is_proposed(shelf, shared):
    stage_file(shared / "mine.safetensors")
    for name, near in (("mien.safetensors", "mine.safetensors"), ("acestep-turbo.safetensors", "acestep-v15-turbo")):
        with pytest.raises(CheckpointError, match=rf"^{name} is no stage .* here \(did you mean {near}\?\); choose"):
            shelf.find(name, STAGE)


def test_messages_name_the_folder_of_each_kind_under_its_present_name(tmp_path):
    kinds = {STAGE: ("unet", "diffusion_models"), TEXT: ("clip", "text_encoders"), VOCODER: ("my vocoders",)}
    folders = {kind: tuple(tmp_path / name for name in names) for kind, names in kinds.items()}
    for kind, name in ((STAGE, "diffusion_models"), (TEXT, "text_encoders"), (VOCODER, "my vocoders")):
        with pytest.raises(CheckpointError) as caught:
            Shelf((tmp_path / "acestep",), folders).find("gone", kind)
        assert str(caught.value).endswith(f"put a file into {tmp_path / name}, a folder into {tmp_path / 'acestep'}")


def test_a_model_of_another_kind_is_refused(shelf):
    with pytest.raises(CheckpointError, match="tiny-vocoder is no stage model that is here"):
        shelf.find("tiny-vocoder", STAGE)
    with pytest.raises(CheckpointError, match="acestep-v15-vae is no text encoder that is here"):
        shelf.find("acestep-v15-vae", TEXT)


def test_a_name_means_what_is_listed_under_it(shelf, own, shared, tmp_path, monkeypatch):
    """Not a known model with a similar name, and not a file where the program happens to run."""
    stage_folder(own / "acestep-v15-turbo")
    mine = [stage_file(shared / name) for name in ("turbo.safetensors", "mine.safetensors")]
    stage_file(tmp_path / "here" / "mine.safetensors")
    monkeypatch.chdir(tmp_path / "here")
    assert more(shelf) == ["acestep-v15-turbo", "mine.safetensors", "turbo.safetensors"]
    assert [shelf.find(file.name, STAGE).path for file in mine] == mine


def test_headers_are_read_once(shelf, shared, monkeypatch):
    file = stage_file(shared / "mine.safetensors")
    assert more(shelf) == ["mine.safetensors"]
    monkeypatch.setattr(Path, "open", lambda *given: pytest.fail("a file was read again"))
    assert more(shelf) == ["mine.safetensors"]
    os.utime(file, ns=(0, 0))
    with pytest.raises(pytest.fail.Exception):
        shelf.here(STAGE)
