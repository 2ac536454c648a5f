"""An adapter is held against the base that it was trained on."""

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.lora.adapter import Adapter, LowRank, read_adapter
from acestep_pack.acestep_core.lora.apply import apply_adapter
from core_tests.lora_material import CONV, LAYERS, PEFT, lora, write
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture(scope="module")
def model(tiny_family):
    return load_stage_model(tiny_family / "m")


def test_a_base_is_known_by_its_shapes():
    def adapter(rows, columns, path="layers.30.self_attn.to_q"):
        return Adapter("a", {path: LowRank(torch.zeros(2, columns), torch.zeros(rows, 2))})

    assert adapter(4096, 2560).bases == ("XL (acestep-v15-xl-turbo, -sft, -base)",)
    assert adapter(2048, 2048, LAYERS[0]).bases == ("2B (acestep-v15-turbo, -sft, -base)",)
    assert adapter(2048, 2048).bases == ()  # 2B has no layer 30
    tiny = {slot: load_stage_model(f"tiny-{slot}") for slot in "lms"}
    for slot, own in tiny.items():
        assert lora(own, (*LAYERS[:3], CONV)).bases == (f"tiny-{slot}",)
    with pytest.raises(
        UserError, match=r"test was trained on tiny-l, not on tiny-m: layers.0.self_attn.to_q is \[384, 256\]"
    ):
        apply_adapter(tiny["m"], lora(tiny["l"]))


def test_what_does_not_match_is_told_key_by_key(model):
    save_file(
        load_file(write(model, PEFT))
        | load_file(write(model, "lora_te_block", "lora_down.weight", "lora_up.weight", name="b.safetensors")),
        "c.safetensors",
    )
    worn, report = apply_adapter(model, read_adapter("c.safetensors"))
    assert report.matched == (LAYERS[0],) and len(report.unmatched) == 2
    assert "2 keys belong to no layer of the model: lora_te_block.lora_down.weight" in report.lines[1]
    with pytest.raises(
        UserError, match="b adapts no layer that m has: its first is lora_te_block, expected one such as"
    ):
        apply_adapter(model, read_adapter("b.safetensors"))
