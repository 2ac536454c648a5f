"""What we save is read by other libraries, or refused by the layout that cannot hold it."""

import copy
import dataclasses
import json

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.errors import AceStepError, UserError
from acestep_pack.acestep_core.lora.adapter import Adapter, read_adapter
from acestep_pack.acestep_core.lora.apply import apply_adapter
from acestep_pack.acestep_core.lora.save import save_adapter
from core_tests.in_diffusers import in_diffusers
from core_tests.lora_material import CONV, LAYERS, dora, draw, hadamard, kronecker, lora, low_rank, near, velocity
from safetensors import SafetensorError

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture(scope="module")
def model(tiny_family):
    return load_stage_model(tiny_family / "m")


@pytest.mark.parametrize(
    "rank, options",
    [
        (2, {}),
        (2, {"decompose_both": True}),
        (3, {"decompose_factor": 4}),
        (100, {}),
        (2, {"alpha_pattern": {LAYERS[0]: 9}, "rank_pattern": {LAYERS[1]: 4}}),
    ],
)
def test_pefts_lokr_saved_by_us_is_pefts_again(model, tmp_path, rank, options):
    peft = pytest.importorskip("peft")
    paths = list(LAYERS[:3])  # one is not square
    config = peft.LoKrConfig(r=rank, alpha=5, target_modules=paths, init_weights=False, **options)
    theirs = peft.get_peft_model(copy.deepcopy(model.transformer), config)
    theirs.save_pretrained(tmp_path / "theirs")
    adapter = read_adapter(tmp_path / "theirs")
    for path in paths:
        layer = theirs.base_model.model.get_submodule(path)
        near(layer.get_delta_weight("default"), adapter.modules[path].weight(), 1e-6)
    again = read_adapter(save_adapter(adapter, tmp_path / "ours"))
    assert adapter.layout == again.layout == "peft" and again.kind == "LoKr"
    near(velocity(apply_adapter(model, again)[0]), velocity(apply_adapter(model, adapter)[0]), 1e-6)
    # PEFT makes layers of the same shapes from our settings and fills every one of them.
    names = peft.LoKrConfig.from_pretrained(tmp_path / "ours")
    renamed = {"layers.0.self_attn.q_proj": paths[0], "layers.1.cross_attn.o_proj": paths[1], paths[2]: paths[2]}
    assert set(names.target_modules) == set(renamed)
    bare = torch.nn.ModuleDict()
    for name, path in renamed.items():
        put(bare, name, copy.deepcopy(model.transformer.get_submodule(path)))
    loaded = peft.PeftModel.from_pretrained(bare, str(tmp_path / "ours"))
    for name, path in renamed.items():
        layer = loaded.base_model.model.get_submodule(name)
        near(layer.get_delta_weight("default"), adapter.modules[path].weight(), 1e-6)


def put(tree, path, layer):
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in tree:
            tree[parent] = torch.nn.ModuleDict()
        tree = tree[parent]
    tree[name] = layer


def test_peft_reads_what_we_save(model):
    peft = pytest.importorskip("peft")
    adapter = dataclasses.replace(
        lora(model), modules={LAYERS[0]: low_rank(model, LAYERS[0], 2, 3.0), **lora(model, LAYERS[2:]).modules}
    )
    folder = save_adapter(adapter, "mine")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["rank_pattern"] == {"layers.0.self_attn.q_proj": 2}
    assert {"layers.0.self_attn.q_proj", "layers.1.mlp.down_proj"} <= set(config["target_modules"])
    ours = copy.deepcopy(model.transformer)
    attention = ours.layers[0].self_attn
    attention.q_proj = attention.to_q  # PEFT looks for the original's names
    del attention.to_q
    theirs = peft.PeftModel.from_pretrained(ours, str(folder))
    attention.to_q = attention.q_proj
    near(
        velocity(apply_adapter(model, adapter)[0]),
        velocity(dataclasses.replace(model, transformer=theirs.base_model.model.eval())),
    )


@pytest.mark.parametrize("rank", [2, 16])  # with the larger one PEFT leaves products whole
def test_a_lokr_of_a_convolution_is_what_peft_trained(model, rank):
    peft = pytest.importorskip("peft")
    config = peft.LoKrConfig(r=rank, alpha=3, target_modules=[CONV])
    theirs = peft.get_peft_model(copy.deepcopy(model.transformer), config).eval()
    for parameter in theirs.parameters():
        if parameter.requires_grad:
            parameter.data = draw(*parameter.shape)
    theirs.save_pretrained("theirs")
    near(
        velocity(apply_adapter(model, read_adapter("theirs"))[0]),
        velocity(dataclasses.replace(model, transformer=theirs.base_model.model)),
    )


@pytest.mark.parametrize("magnitude", [False, True])
def test_diffusers_reads_what_we_save(model, magnitude):
    pytest.importorskip("peft")
    from diffusers.loaders.lora_pipeline import AceStepLoraLoaderMixin

    paths = LAYERS[:3]
    adapter = Adapter("d", {path: low_rank(model, path, rank, 1.5) for path, rank in zip(paths, (4, 4, 2))})
    adapter = dora(model, adapter) if magnitude else adapter
    file = save_adapter(adapter, "d.safetensors", "diffusers")
    transformer = in_diffusers(model.transformer)
    state, metadata = AceStepLoraLoaderMixin.lora_state_dict(
        str(file.parent), weight_name=file.name, return_lora_metadata=True
    )
    AceStepLoraLoaderMixin.load_lora_into_transformer(state, transformer, metadata=metadata)
    expected = velocity(dataclasses.replace(model, transformer=transformer.eval()))
    near(velocity(apply_adapter(model, adapter)[0]), expected)
    read = read_adapter(file)
    assert read.layout == "diffusers" and read.scale_source == "its metadata" and read.scales == (1.5,)


@pytest.mark.parametrize(
    "layout, target, message",
    [
        ("peft", "x.safetensors", "peft is a folder of two files"),
        ("comfyui", "x", "comfyui is one file, expected a name that ends in .safetensors"),
        ("other", "x", "layout: got 'other', expected one of peft, comfyui, diffusers"),
    ],
)
def test_a_target_that_does_not_fit_says_why(model, layout, target, message):
    with pytest.raises(UserError, match=message):
        save_adapter(lora(model), target, layout)


def test_a_layout_that_cannot_hold_it_says_why(model):
    lokr = Adapter("a", {LAYERS[0]: kronecker(model, LAYERS[0], True)})
    with pytest.raises(UserError, match="a: is a LoKr of shapes that peft cannot hold; save it as comfyui"):
        save_adapter(lokr, "x")
    with pytest.raises(UserError, match="is LoKr, which diffusers cannot hold; save it as comfyui"):
        save_adapter(lokr, "x.safetensors", "diffusers")
    with pytest.raises(UserError, match="is LoHa, which peft cannot hold; save it as comfyui"):
        save_adapter(Adapter("a", {LAYERS[0]: hadamard(model, LAYERS[0])}), "x")
    with pytest.raises(UserError, match="magnitude is one of each column"):
        save_adapter(dora(model, lora(model, [LAYERS[2]]), "columns"), "x")


def test_a_full_disk_is_told_by_the_file(model, monkeypatch):
    def fail(*given, **named):
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("acestep_pack.acestep_core.checkpoints.save.save_file", fail)
    with pytest.raises(AceStepError, match="could not be written .No space left on device.; free space"):
        save_adapter(lora(model), "x")


def test_a_failing_save_leaves_what_was_there(model, monkeypatch, tmp_path):
    save_adapter(lora(model), "x")
    before = {file.name: file.read_bytes() for file in (tmp_path / "x").iterdir()}

    def fail(*given, **named):
        raise OSError("disk full")

    monkeypatch.setattr("acestep_pack.acestep_core.lora.save.write_tensors", fail)
    with pytest.raises(AceStepError, match=r"could not be written \(disk full\)"):
        save_adapter(lora(model, rank=2), "x")
    assert {file.name: file.read_bytes() for file in (tmp_path / "x").iterdir()} == before
