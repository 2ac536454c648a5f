"""Every spelling of a key, every place of a scale, and the facts that a file tells of itself."""

import json

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.lora.adapter import read_adapter
from acestep_pack.acestep_core.lora.save import save_adapter
from core_tests.lora_material import LAYERS, PEFT, SPELLED, A, B, low_rank, write

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture(scope="module")
def model(tiny_family):
    return load_stage_model(tiny_family / "m")


SPELLINGS = {
    f"base_model.model.{SPELLED}": ("peft", A, B),
    f"base_model.model.base_model.model.{SPELLED}": ("peft", A, B),
    f"base_model.model.decoder.{SPELLED}": ("peft", "lora_A.default.weight", "lora_B.default.weight"),
    f"base_model.model.{SPELLED} ": ("comfyui", "lora_down.weight", "lora_up.weight"),
    f"diffusion_model.decoder.{SPELLED}": ("comfyui", "lora_down.weight", "lora_up.weight"),
    f"model.diffusion_model.decoder.{SPELLED}": ("comfyui", A, B),
    "lora_unet_decoder_layers_0_self_attn_q_proj": ("kohya", "lora_down.weight", "lora_up.weight"),
    "lora_unet_layers_0_self_attn_to_q": ("kohya", "lora_down.weight", "lora_up.weight"),
    "lycoris_layers_0_self_attn_q_proj": ("lycoris", "lora_down.weight", "lora_up.weight"),
    "transformer.layers.0.self_attn.to_q": ("diffusers", A, B),
    f"decoder.{SPELLED}": ("plain", A, B),
}


@pytest.mark.parametrize("prefix", SPELLINGS)
def test_every_spelling_of_a_key_names_the_same_layer(model, prefix):
    layout, lower, upper = SPELLINGS[prefix]
    adapter = read_adapter(write(model, prefix.strip(), lower, upper))
    assert adapter.layout == layout and list(adapter.modules) == [LAYERS[0]]
    assert torch.equal(adapter.modules[LAYERS[0]].a, low_rank(model, LAYERS[0]).a)


DIFFUSERS = {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 12, "transformer.r": 4})}
PATTERNS = {"r": 8, "lora_alpha": 8, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"q_proj": 2}}
SCALES = [
    ({"alpha": 8}, None, 2.0, "alpha in its tensors"),
    ({"alpha": 8, "metadata": {"ss_network_alpha": "2"}}, None, 2.0, "alpha in its tensors"),
    ({"metadata": {"ss_network_alpha": "2", "ss_network_dim": "4"}}, None, 0.5, "its metadata"),
    ({"metadata": {"lora_config": '{"r": 4, "lora_alpha": 16}'}}, None, 4.0, "its metadata"),
    ({"metadata": {"lora_alpha": "8", "use_rslora": "true"}}, None, 4.0, "its metadata"),
    ({"metadata": DIFFUSERS}, None, 3.0, "its metadata"),
    ({}, {"r": 4, "lora_alpha": 8}, 2.0, "adapter_config.json"),
    ({}, {"r": 4, "lora_alpha": 8, "use_rslora": True}, 4.0, "adapter_config.json"),
    ({}, PATTERNS, 0.5, "adapter_config.json"),
    ({}, None, 1.0, "no alpha in the file: 1 is taken, as ComfyUI and diffusers do"),
]


@pytest.mark.parametrize("written, config, scale, source", SCALES)
def test_the_true_scale_is_found_wherever_it_stands(model, tmp_path, written, config, scale, source):
    folder = tmp_path / "one"
    folder.mkdir()
    write(model, PEFT, name=folder / "adapter_model.safetensors", **written)
    if config:
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **config}))
    adapter = read_adapter(folder)
    assert adapter.scales == (scale,) and adapter.scale_source.startswith(source)


def test_settings_beside_several_files_belong_to_pefts_own(model, tmp_path):
    write(model, PEFT, name="adapter_model.safetensors")
    write(model, PEFT, name="other.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}))
    assert read_adapter("adapter_model.safetensors").scales == (2.0,)
    assert read_adapter("other.safetensors").scales == (1.0,)


def test_facts_are_told_and_kept(model):
    metadata = {"ss_sd_model_name": "acestep-v15-base", "trigger_words": '["neon", "rain"]', "ss_learning_rate": "1e-4"}
    adapter = read_adapter(write(model, PEFT, metadata=metadata))
    told = {"trigger words": "neon, rain", "base": "acestep-v15-base", "learning rate": "1e-4"}
    assert adapter.facts == told
    for layout in ("peft", "comfyui", "diffusers"):
        target = layout if layout == "peft" else f"{layout}.safetensors"
        saved = read_adapter(save_adapter(adapter, target, layout, {"steps": 500}))
        assert saved.facts == {**told, "steps": "500"} and saved.scales == (1.0,)
