"""Adapters as other libraries train them are worn as those libraries run them."""

import copy
import dataclasses

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.lora.adapter import read_adapter
from acestep_pack.acestep_core.lora.apply import apply_adapter
from core_tests.lora_material import CONV, LAYERS, differ, near, velocity
from safetensors.torch import save_file

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture(scope="module")
def model(tiny_family):
    return load_stage_model(tiny_family / "m")


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"use_rslora": True}, {"patterns": True}], ids=str)
def test_peft_saves_it_and_we_wear_the_same(model, tmp_path, options):
    peft = pytest.importorskip("peft")
    patterns = {"rank_pattern": {"layers.1.mlp.down_proj": 2}, "alpha_pattern": {"down_proj": 12}}
    options = patterns if options.get("patterns") else options
    torch.manual_seed(3)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=[*LAYERS, CONV], init_lora_weights=False, **options)
    theirs = peft.get_peft_model(copy.deepcopy(model.transformer), config)
    theirs.save_pretrained(tmp_path / "adapter")
    expected = velocity(dataclasses.replace(model, transformer=theirs.base_model.model.eval()))
    adapter = read_adapter(tmp_path / "adapter")
    near(velocity(apply_adapter(model, adapter)[0]), expected)
    differ(expected, velocity(model))
    assert adapter.scale_source == "adapter_config.json"


@pytest.mark.parametrize("rank, options", [(4, {}), (4, {"decompose_both": True}), (100, {})])
def test_pefts_own_lokr_is_worn_the_same(model, tmp_path, rank, options):
    peft = pytest.importorskip("peft")
    torch.manual_seed(5)
    config = peft.LoKrConfig(r=rank, alpha=8, target_modules=list(LAYERS), init_weights=False, **options)
    theirs = peft.get_peft_model(copy.deepcopy(model.transformer), config)
    theirs.save_pretrained(tmp_path / "lokr")
    expected = velocity(dataclasses.replace(model, transformer=theirs.base_model.model.eval()))
    near(velocity(apply_adapter(model, read_adapter(tmp_path / "lokr"))[0]), expected)
    differ(expected, velocity(model))


@pytest.mark.parametrize("by_rows", [True, False, None])
@pytest.mark.parametrize("algorithm", ["loha", "lokr"])
def test_lycoris_trains_it_and_we_wear_the_same(model, algorithm, by_rows):
    lycoris = pytest.importorskip("lycoris")
    modules = {"loha": lycoris.modules.loha.LohaModule, "lokr": lycoris.modules.lokr.LokrModule}
    options = {} if by_rows is None else {"weight_decompose": True, "wd_on_out": by_rows}
    saved, transformer = {}, copy.deepcopy(model.transformer)
    torch.manual_seed(4)
    for path in (*LAYERS, CONV):
        layer = transformer.get_submodule(path)
        module = modules[algorithm](path, layer, 1.0, 3, 6, factor=4, **options)
        for parameter in module.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        flat = {CONV: "proj_in_1"}.get(
            path, path.replace(".", "_").replace("to_q", "q_proj").replace("to_out_0", "o_proj")
        )
        saved |= {
            f"lycoris_{flat}.{name}": value.detach().clone() for name, value in module.custom_state_dict().items()
        }
        module.apply_to()
    save_file(saved, "lycoris.safetensors")
    expected = velocity(dataclasses.replace(model, transformer=transformer.eval()))
    adapter = read_adapter("lycoris.safetensors")
    near(velocity(apply_adapter(model, adapter)[0]), expected)
    differ(expected, velocity(model))
    assert adapter.layout == "lycoris" and set(adapter.modules) == {*LAYERS, CONV}
