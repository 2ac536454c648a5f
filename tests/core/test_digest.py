"""Digests tell whether a model or an adapter is still the one that made a song."""

import shutil

import pytest
from acestep_pack.acestep_core.checkpoints.cascade_models import embedded_name, find_cascade
from acestep_pack.acestep_core.checkpoints.digest import model_digest
from acestep_pack.acestep_core.lora.find import adapter_digest


def flip(file, place):
    """One byte of a file changed, the size and the rest as before."""
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("folder, kind", [("l", "stage"), ("text_encoder", "text"), ("vae", "vocoder")])
def test_a_digest_is_the_contents_and_not_the_place(folder, kind, tiny_family, tmp_path):
    digest = model_digest(tiny_family / folder, kind)
    copy = shutil.copytree(tiny_family / folder, tmp_path / "copy")
    assert model_digest(copy, kind) == digest and len(digest) == 12 and int(digest, 16)
    for file in copy.glob("*.safetensors"):
        flip(file, -1)
    changed = model_digest(copy, kind)
    config = copy / "config.json"
    config.write_text(config.read_text() + "\n")
    assert len({digest, changed, model_digest(copy, kind)}) == 3


def test_a_text_encoder_is_its_tokenizer_too(tiny_family, tmp_path):
    copy = shutil.copytree(tiny_family / "text_encoder", tmp_path / "copy")
    digest = model_digest(copy, "text")
    flip(copy / "tokenizer.json", -2)
    assert model_digest(copy, "text") != digest


def test_an_adapter_is_its_weights_and_its_config(tmp_path):
    file = tmp_path / "a.safetensors"
    file.write_bytes(bytes(100))
    folder = tmp_path / "b"
    folder.mkdir()
    shutil.copy(file, folder / "adapter_model.safetensors")
    assert adapter_digest(file) == adapter_digest(folder)
    (folder / "adapter_config.json").write_text("{}")
    assert adapter_digest(file) != adapter_digest(folder)


def test_embedded_models_have_names_and_no_paths():
    found = find_cascade("tiny")
    names = {"l": "tiny-l", "m": "tiny-m", "s": "tiny-s", "text": "tiny-text", "vocoder": "tiny-vocoder"}
    assert found.names == names and found.digests().keys() == names.keys()
    assert len(set(found.digests().values())) == 5


@pytest.mark.parametrize(
    "path, name",
    [
        ("/home/anna/ComfyUI/custom_nodes/ace/acestep_core/tiny/vae", "tiny-vocoder"),
        ("C:\\ComfyUI\\custom_nodes\\ace\\acestep_core\\tiny\\text_encoder", "tiny-text"),
        ("/opt/acestep_core/tiny/m/", "tiny-m"),
        ("/opt/acestep_core/tiny", "tiny"),
        ("/opt/models/tiny/vae", None),
        ("/opt/acestep_core/tiny/other", None),
        ("tiny-l", None),
    ],
)
def test_a_folder_of_any_copy_of_the_package_is_its_models_name(path, name):
    assert embedded_name(path) == name
