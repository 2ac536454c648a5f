"""Adapters in the graph: worn on a model that others go on using, listed, stacked, refused, and described."""

import os

import pytest
import torch
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.lora.adapter import Adapter, LowRank
from acestep_pack.acestep_core.lora.find import finish_judging
from acestep_pack.acestep_core.lora.save import save_adapter
from acestep_pack.nodes import load, lora
from safetensors.torch import save_file


def an_adapter(rows, columns, seed=0, scale=2.0):
    drawn = torch.Generator().manual_seed(seed)
    a, b = torch.randn(4, columns, generator=drawn), torch.randn(rows, 4, generator=drawn)
    return Adapter(f"style{seed}", {"layers.0.self_attn.to_q": LowRank(a, b, scale)})


@pytest.fixture
def loras(comfy_models):
    """ComfyUI's loras folder, with adapters of tiny-l in it."""
    folder = comfy_models / "loras"
    for seed in (0, 1):
        save_adapter(
            an_adapter(384, 256, seed), folder / f"style{seed}.safetensors", "comfyui", {"trigger words": "zap"}
        )
    save_adapter(an_adapter(32, 24), folder / "foreign.safetensors", "comfyui")
    return folder


@pytest.fixture
def model(loras, run_node, said):
    return run_node(load.LoadStageModel, model="tiny-l", dtype="auto").args[0]


def query(handle):
    with torch.no_grad():
        return handle.model.transformer.layers[0].self_attn.to_q(torch.ones(1, 1, 256))


def worn(run_node, model, adapter="style0", strength=1.0, **more):
    return run_node(lora.ApplyLora, model=model, adapter=adapter, strength=strength, **more).args


def test_an_applied_adapter_changes_the_song_and_the_model_that_went_in_stays(model, run_node):
    before = query(model)
    dressed, report = worn(run_node, model, "style0.safetensors")
    delta = an_adapter(384, 256).modules["layers.0.self_attn.to_q"].weight() @ torch.ones(256)
    assert torch.allclose(query(dressed) - before, delta.expand_as(before), rtol=1e-4, atol=1e-4)
    assert torch.equal(query(model), before)
    assert "scale 2" in report and "1 layer" in report
    assert dressed.transformer is model.transformer and len(dressed.adapters) == 1
    assert not any(buffer.is_inference() for buffer in dressed.model.transformer.buffers())


def test_an_adapter_is_worn_over_weights_in_8_bits(loras, run_node, said):
    pytest.importorskip("torchao")
    model = run_node(load.LoadStageModel, model="tiny-l", dtype="auto", quantise="int8").args[0]
    dressed, _ = worn(run_node, model, "style0.safetensors")
    delta = an_adapter(384, 256).modules["layers.0.self_attn.to_q"].weight() @ torch.ones(256)
    assert torch.allclose(query(dressed) - query(model), delta.expand(1, 1, -1), rtol=1e-3, atol=1e-3)


def test_strength_is_a_factor_and_adapters_add_up(model, run_node):
    first = query(worn(run_node, model, "style0.safetensors")[0]) - query(model)
    half = query(worn(run_node, model, "style0.safetensors", 0.5)[0]) - query(model)
    assert torch.allclose(half, first / 2, rtol=1e-4, atol=1e-4)
    second = query(worn(run_node, model, "style1.safetensors")[0]) - query(model)
    both, _ = worn(run_node, worn(run_node, model, "style0.safetensors")[0], "style1.safetensors")
    assert torch.allclose(query(both) - query(model), first + second, rtol=1e-4, atol=1e-3) and len(both.adapters) == 2
    off, _ = worn(run_node, model, "style0.safetensors", 0.0)
    assert off is model and worn(run_node, model, "none")[0] is model


def test_only_adapters_for_ace_step_are_listed(loras):
    (loras / "picture.safetensors").write_bytes((loras / "style0.safetensors").read_bytes()[:40])
    own = ["foreign.safetensors", "style0.safetensors", "style1.safetensors"]
    first = lora.choices()
    assert set(own) <= set(first)  # before anything was opened
    finish_judging()
    assert lora.choices() == ["none", *own, "tiny-l-chiptune.safetensors"]


def test_an_adapter_of_another_base_is_refused(model, run_node):
    with pytest.raises(UserError, match="foreign.*tiny-l"):
        worn(run_node, model, "foreign.safetensors")


@pytest.mark.parametrize("name", ["gone.safetensors", "../../secret.safetensors"])
def test_what_is_not_there_is_told_before_anything_runs(loras, name):
    assert "there is no such adapter" in lora.ApplyLora.validate_inputs(adapter=name)
    assert "there is no such adapter" in lora.LoraInfo.validate_inputs(adapter=name)
    assert lora.ApplyLora.validate_inputs(adapter="style0.safetensors") is True
    assert "(did you mean style0.safetensors?); put" in lora.ApplyLora.validate_inputs(adapter="stile0.safetensors")


def test_a_file_that_is_there_and_not_listed_is_told_why(loras):
    cut = loras / "cut.safetensors"
    cut.write_bytes((loras / "style0.safetensors").read_bytes()[:-100])
    (loras / "sub").mkdir()
    save_file({"some.layer.weight": torch.zeros(2, 2)}, loras / "sub" / "picture.safetensors")
    assert str(cut) in lora.ApplyLora.validate_inputs(adapter="cut.safetensors")
    assert "there is no such" not in lora.ApplyLora.validate_inputs(adapter="cut.safetensors")
    assert "adapts no layer of an ACE-Step" in lora.LoraInfo.validate_inputs(adapter="sub/picture.safetensors")


def test_a_choice_that_is_gone_does_not_matter_beside_a_trained_one(loras):
    for node in (lora.ApplyLora, lora.LoraInfo):
        assert node.validate_inputs(adapter="gone.safetensors", trained=None) is True  # None is what is connected


def test_a_changed_file_changes_the_fingerprint(loras):
    given = {"model": None, "adapter": "style0.safetensors", "strength": 1.0}
    before = lora.ApplyLora.fingerprint_inputs(**given)
    assert lora.ApplyLora.fingerprint_inputs(**given) == before
    os.utime(loras / "style0.safetensors", ns=(0, 0))
    assert lora.ApplyLora.fingerprint_inputs(**given) != before
    assert lora.LoraInfo.fingerprint_inputs(adapter="style1.safetensors") != before


def test_changed_settings_of_a_folder_change_the_fingerprint(loras):
    save_adapter(an_adapter(384, 256), loras / "folder")
    before = lora.LoraInfo.fingerprint_inputs(adapter="folder")
    os.utime(loras / "folder" / "adapter_config.json", ns=(0, 0))
    assert lora.LoraInfo.fingerprint_inputs(adapter="folder") != before


def test_a_file_that_is_not_listed_is_not_read(loras, tmp_path, monkeypatch):
    (loras / "style0.safetensors").rename(tmp_path / "elsewhere.safetensors")
    monkeypatch.chdir(tmp_path)
    assert "there is no such adapter" in lora.ApplyLora.validate_inputs(adapter="elsewhere.safetensors")


def test_info_tells_what_the_command_line_tells(loras, run_node, said):
    (info,) = run_node(lora.LoraInfo, adapter="style0.safetensors").args
    lines = {line[:15].strip(): line[16:] for line in info.splitlines()}
    assert lines["rank"] == "4" and lines["alpha"] == "8" and lines["scale"] == "2" and lines["trigger words"] == "zap"
    assert lines["base"] == "tiny-l"
