"""Adapters found by name, and wishes for them as they are written."""

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.lora.find import Lora, find_adapter, list_adapters
from acestep_pack.acestep_core.lora.save import save_adapter
from core_tests.lora_material import lora
from safetensors.torch import save_file

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture(scope="module")
def model(tiny_family):
    return load_stage_model(tiny_family / "m")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a.safetensors", Lora("a.safetensors")),
        ("a.safetensors:0.8", Lora("a.safetensors", 0.8)),
        ("L=a.safetensors:-1", Lora("a.safetensors", -1.0, "l")),
        ("2=a", Lora("a", 1.0, "2")),
        (r"C:\x.safetensors", Lora(r"C:\x.safetensors")),
        (r"S=C:\x.safetensors:.5", Lora(r"C:\x.safetensors", 0.5, "s")),
    ],
)
def test_a_wish_is_read_and_written(text, expected):
    assert Lora.parse(text) == expected and Lora.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text, message",
    [(":0.5", "expected FILE"), ("a:nan", "got the strength nan for a"), ("x=a", "got the stage 'x'")],
)
def test_a_wish_that_makes_no_sense_says_so(text, message):
    with pytest.raises(UserError, match=message):
        Lora.parse(text)


def test_adapters_are_found_by_name(model, tmp_path):
    loras = tmp_path / "models" / "loras" / "jazz"
    loras.mkdir(parents=True)
    save_adapter(lora(model), loras / "smooth.safetensors", "comfyui")
    save_adapter(lora(model), loras / "folder")
    save_file({"lora_unet_down_blocks_0.lora_down.weight": torch.zeros(1, 1)}, loras / "picture.safetensors")
    assert list(list_adapters()) == ["jazz/folder", "jazz/smooth.safetensors", "tiny-l-chiptune.safetensors"]
    assert find_adapter("jazz/smooth") == loras / "smooth.safetensors"
    assert find_adapter("smooth", [loras]) == loras / "smooth.safetensors"
    with pytest.raises(UserError, match="nope: there is no such adapter; searched as a path and by name in .*loras"):
        find_adapter("nope")
    with pytest.raises(
        UserError, match=r"smoth: there is no such adapter \(did you mean smooth.safetensors\?\); searched"
    ):
        find_adapter("smoth", [loras])
