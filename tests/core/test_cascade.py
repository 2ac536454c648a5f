import json
import shutil

import pytest
from acestep_pack.acestep_core.checkpoints.cascade_models import find_cascade
from acestep_pack.acestep_core.errors import CheckpointError
from safetensors.torch import load_file, save_file


@pytest.fixture(autouse=True)
def no_models_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("ACESTEP_MODELS", str(tmp_path / "models"))


def folders(found):
    return [model.path.name for model in found.stages]


def test_a_family_folder_is_a_cascade(tiny_family):
    found = find_cascade(tiny_family)
    assert folders(found) == ["l", "m", "s"]
    assert found.text.path == tiny_family / "text_encoder" and found.vocoder.path == tiny_family / "vae"
    assert [own.steps for own in found.defaults] == [4, 4, 4]
    assert found.names["m"] == str(tiny_family / "m")


def test_one_model_runs_alone_and_slots_replace_or_fill(tiny_family):
    l, m, s = (tiny_family / slot for slot in "lms")  # noqa: E741
    assert folders(find_cascade(m)) == ["m"]
    assert folders(find_cascade(tiny_family, s=m)) == ["l", "m", "m"]
    assert folders(find_cascade(m, l=l)) == ["l", "m", "m"]
    assert folders(find_cascade(l=l)) == ["l", "l", "l"]
    assert folders(find_cascade(m=m)) == ["m", "m", "m"]
    assert folders(find_cascade(s=s)) == ["s", "s", "s"]
    assert folders(find_cascade(l=l, s=s)) == ["l", "l", "s"]
    assert folders(find_cascade(m=m, s=s)) == ["m", "m", "s"]


def test_parts_may_be_named(tiny_family, tmp_path):
    shutil.copytree(tiny_family / "m", tmp_path / "alone")
    found = find_cascade(tmp_path / "alone", text=tiny_family / "text_encoder", vocoder=tiny_family / "vae")
    assert found.vocoder.path == tiny_family / "vae"
    with pytest.raises(CheckpointError, match="models download Qwen3-Embedding-0.6B"):
        find_cascade(tmp_path / "alone")


def test_what_is_not_here_or_does_not_fit_is_told(tiny_family, tmp_path):
    with pytest.raises(CheckpointError, match="models download acestep-v15-xl-turbo"):
        find_cascade("published")
    with pytest.raises(CheckpointError, match="nonsense is neither a file or folder nor a known stage model"):
        find_cascade("nonsense")
    with pytest.raises(CheckpointError, match="has no transformer"):
        find_cascade(tiny_family / "vae")
    wide = tmp_path / "wide"
    shutil.copytree(tiny_family / "text_encoder", wide)
    tensors = load_file(wide / "model.safetensors")
    tensors["embed_tokens.weight"] = tensors["embed_tokens.weight"].repeat(1, 2)
    save_file(tensors, wide / "model.safetensors")
    with pytest.raises(CheckpointError, match="hidden_size is 24 by the config and 48 by the weights"):
        find_cascade(tiny_family, text=wide)
    config = json.loads((wide / "config.json").read_text())
    (wide / "config.json").write_text(json.dumps(config | {"hidden_size": 48}))
    with pytest.raises(CheckpointError, match="l reads text of width 24, the text encoder wide gives 48"):
        find_cascade(tiny_family, text=wide)
