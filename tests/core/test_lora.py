"""Adapters: read from every layout at their true scale, worn without touching the base, saved, converted, refused."""

import copy
import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core import cli
from acestep_pack.acestep_core.checkpoints import load_stage_model
from acestep_pack.acestep_core.condition import Condition
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.formats import read_tags
from acestep_pack.acestep_core.generate import Cascade
from acestep_pack.acestep_core.lora.adapter import Adapter, Hadamard, Kronecker, LowRank, read_adapter
from acestep_pack.acestep_core.lora.deltas import tensors_of, with_tensors
from acestep_pack.acestep_core.lora.find import Lora, find_adapter, list_adapters
from acestep_pack.acestep_core.lora.save import save_adapter
from acestep_pack.acestep_core.lora.tree import replace, share
from acestep_pack.acestep_core.lora.wear import Dressed, adaptable, wear
from acestep_pack.acestep_core.song import Song
from acestep_pack.acestep_core.transformer import prepare
from safetensors.torch import load_file, save_file

CHANNELS, FRAMES = 8, 20
LAYERS = ("layers.0.self_attn.to_q", "layers.1.cross_attn.to_out.0", "layers.1.mlp.down_proj", "time_embed.linear_1")
CONV = "proj_in_conv"


@pytest.fixture(scope="module")
def model(tiny_family):
    return load_stage_model(tiny_family / "m")


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("ACESTEP_MODELS", str(tmp_path / "models"))


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(math.prod(shape))) * 0.3


def low_rank(model, path, rank=4, scale=2.0):
    weight = adaptable(model.transformer)[path].weight
    return LowRank(draw(rank, *weight.shape[1:]), draw(weight.shape[0], rank, *[1] * (weight.dim() - 2)), scale)


def lora(model, paths=(*LAYERS, CONV), **fields):
    return Adapter("test", {path: low_rank(model, path, **fields) for path in paths})


def velocity(model):
    condition = Condition(draw(1, 6, 32), draw(1, 1, 32), draw(1, 2 * CHANNELS, FRAMES))
    with torch.no_grad():
        return prepare(model.transformer, condition)(draw(1, CHANNELS, FRAMES), 0.6)


def merged(model, adapter, strength=1.0):
    """The model with its weights changed for good: W + strength * (V - W), V rescaled to the magnitude."""
    transformer = copy.deepcopy(model.transformer)
    for path, delta in adapter.modules.items():
        weight = transformer.get_submodule(path).weight
        adapted = weight + delta.weight().reshape(weight.shape)
        if delta.magnitude is not None:
            by_rows = delta.magnitude.shape[0] == len(weight)
            axes = [axis for axis in range(weight.dim()) if axis != (0 if by_rows else 1)]
            norm = adapted.norm(dim=axes, keepdim=True)
            adapted = adapted / norm * delta.magnitude.reshape(norm.shape)
        weight.data += strength * (adapted - weight)
    return dataclasses.replace(model, transformer=transformer)


def near(got, expected, tolerance=1e-4):
    assert (got - expected).abs().max() <= tolerance


def differ(got, expected, by=1e-3):
    assert (got - expected).abs().max() > by


# ---- the tree --------------------------------------------------------------------------------------------------------


def test_a_shared_tree_has_the_same_leaves_and_replacing_one_does_not_show(model):
    base, leaf = model.transformer, model.transformer.layers[0].self_attn.to_q
    other = share(base)
    assert all(a is b for a, b in zip(base.parameters(), other.parameters(), strict=True))
    assert other.layers[0] is not base.layers[0] and other.config is base.config and other.dtype == base.dtype
    replace(other, "layers.0.self_attn.to_q", torch.nn.Identity())
    assert base.layers[0].self_attn.to_q is leaf and other.layers[0].self_attn.to_q is not leaf
    with pytest.raises(AttributeError, match="to_x"):
        replace(other, "layers.0.self_attn.to_x", torch.nn.Identity())


def test_a_shared_tree_leaves_the_containers_hooks_behind(model):
    base, heard = share(model.transformer), []
    base.layers[0].register_forward_hook(lambda *given: heard.append(1))
    base.layers[0].forward = lambda *given: heard.append(2)
    other = share(base)
    assert not other.layers[0]._forward_hooks and "forward" not in vars(other.layers[0])


# ---- wearing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [1.0, 0.5, -0.7])
def test_a_worn_lora_is_the_merged_one(model, strength):
    adapter = lora(model)
    worn, report = wear(model, adapter, strength)
    near(velocity(worn), velocity(merged(model, adapter, strength)))
    differ(velocity(worn), velocity(model))
    assert set(report.matched) == set(adapter.modules) and report.unmatched == ()


def test_apply_then_remove_is_the_base_to_the_bit(model):
    before, state = velocity(model), {name: p.clone() for name, p in model.transformer.named_parameters()}
    worn, _ = wear(model, lora(model), 0.8)
    velocity(worn)
    assert torch.equal(velocity(model), before)
    assert all(torch.equal(p, state[name]) for name, p in model.transformer.named_parameters())
    assert not any(isinstance(module, Dressed) for module in model.transformer.modules())


def test_no_strength_is_no_adapter(model):
    worn, report = wear(model, lora(model), 0)
    assert worn is model and report.matched


def test_adapters_add_up_in_any_order(model):
    first, second = lora(model), dora(model, Adapter("other", {path: low_rank(model, path, 3) for path in LAYERS}))
    one, _ = wear(wear(model, first, 0.5)[0], second, 0.7)
    other, _ = wear(wear(model, second, 0.7)[0], first, 0.5)
    near(velocity(one), velocity(other), 1e-5)
    alone = velocity(wear(model, second, 0.7)[0])
    differ(velocity(one), alone)
    weight = one.transformer.get_submodule(LAYERS[0])
    assert len(weight.branches) == 2 and weight.base is model.transformer.get_submodule(LAYERS[0])


def test_a_dressed_layer_shows_its_bases_attributes(model):
    worn, _ = wear(model, lora(model))
    dressed, base = (m.transformer.get_submodule(CONV) for m in (worn, model))
    assert dressed.weight is base.weight and dressed.stride == base.stride and dressed.out_channels == base.out_channels
    assert worn.transformer.dtype == torch.float32 and not any(p.requires_grad for p in worn.transformer.parameters())
    with pytest.raises(AttributeError):
        _ = dressed.nonsense


def test_a_worn_model_moves_with_its_adapter(tiny_family):
    half = load_stage_model(tiny_family / "m", dtype=torch.bfloat16)
    worn, _ = wear(half, lora(half))
    assert velocity(worn).isfinite().all()
    differ(velocity(worn), velocity(half))
    buffers = dict(worn.to(dtype=torch.float32).transformer.named_buffers())
    assert buffers and {buffer.dtype for buffer in buffers.values()} == {torch.float32}


# ---- kinds -----------------------------------------------------------------------------------------------------------


def dora(model, adapter, by="rows"):
    """The adapter with a magnitude near the base's own."""
    modules = {}
    for path, delta in adapter.modules.items():
        weight = adaptable(model.transformer)[path].weight
        norm = (
            weight.flatten(1).norm(dim=1)[:, None]
            if by == "rows"
            else weight.transpose(0, 1).flatten(1).norm(dim=1)[None]
        )
        modules[path] = dataclasses.replace(delta, magnitude=norm * (1 + draw(*norm.shape)))
    return dataclasses.replace(adapter, modules=modules)


def kronecker(model, path, low):
    weight = adaptable(model.transformer)[path].weight
    rows, columns, extra = weight.shape[0], weight.shape[1], weight[0, 0].numel()
    w2 = (
        (draw(rows // 4, 3), draw(3, columns // 2 * extra))
        if low
        else (draw(rows // 4, columns // 2, *weight.shape[2:]),)
    )
    return Kronecker((draw(4, 2),), w2, 0.5 if low else 1.0)


def hadamard(model, path):
    weight = adaptable(model.transformer)[path].weight
    pairs = ((draw(len(weight), 3), draw(3, weight[0].numel())) for _ in range(2))
    return Hadamard(*pairs, 0.5)


KINDS = {
    "LoKr of factors": lambda model, path: kronecker(model, path, True),
    "LoKr of full products": lambda model, path: kronecker(model, path, False),
    "LoHa": hadamard,
    "LoRA": low_rank,
}


@pytest.mark.parametrize("magnitude", [None, "rows", "columns"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_its_merged_weight_and_survives_comfyuis_file(model, kind, magnitude):
    adapter = Adapter("a", {path: KINDS[kind](model, path) for path in (*LAYERS, CONV)})
    adapter = dora(model, adapter, magnitude) if magnitude else adapter
    worn, _ = wear(model, adapter, 0.6)
    near(velocity(worn), velocity(merged(model, adapter, 0.6)))
    read = read_adapter(save_adapter(adapter, "a.safetensors", "comfyui"))
    near(velocity(wear(model, read, 0.6)[0]), velocity(worn), 1e-5)
    assert read.layout == "comfyui" and read.kind == adapter.kind


def test_deltas_give_and_take_their_tensors(model):
    delta = kronecker(model, LAYERS[0], True)
    assert list(tensors_of(delta)) == ["w1_0", "w2_0", "w2_1"]
    assert torch.equal(with_tensors(delta, tensors_of(delta)).weight(), delta.weight())


# ---- other libraries as judges ---------------------------------------------------------------------------------------


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
    near(velocity(wear(model, adapter)[0]), expected)
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
    near(velocity(wear(model, read_adapter(tmp_path / "lokr"))[0]), expected)
    differ(expected, velocity(model))


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
        velocity(wear(model, adapter)[0]),
        velocity(dataclasses.replace(model, transformer=theirs.base_model.model.eval())),
    )


@pytest.mark.parametrize("magnitude", [False, True])
def test_diffusers_reads_what_we_save(model, magnitude):
    pytest.importorskip("peft")
    from diffusers.loaders.lora_pipeline import AceStepLoraLoaderMixin

    paths = LAYERS[:3]
    adapter = Adapter("d", {path: low_rank(model, path, rank, 1.5) for path, rank in zip(paths, (4, 4, 2))})
    adapter = dora(model, adapter) if magnitude else adapter
    file = save_adapter(adapter, "d.safetensors", "diffusers")
    transformer = copy.deepcopy(model.transformer)
    state, metadata = AceStepLoraLoaderMixin.lora_state_dict(
        str(file.parent), weight_name=file.name, return_lora_metadata=True
    )
    AceStepLoraLoaderMixin.load_lora_into_transformer(state, transformer, metadata=metadata)
    expected = velocity(dataclasses.replace(model, transformer=transformer.eval()))
    near(velocity(wear(model, adapter)[0]), expected)
    read = read_adapter(file)
    assert read.layout == "diffusers" and read.scale_source == "its metadata" and read.scales == (1.5,)


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
    near(velocity(wear(model, adapter)[0]), expected)
    differ(expected, velocity(model))
    assert adapter.layout == "lycoris" and set(adapter.modules) == {*LAYERS, CONV}


# ---- layouts ---------------------------------------------------------------------------------------------------------

A, B, SPELLED = "lora_A.weight", "lora_B.weight", "layers.0.self_attn.q_proj"
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


def write(model, prefix, lower=A, upper=B, alpha=None, metadata=None, name="a.safetensors"):
    delta = low_rank(model, LAYERS[0])
    tensors = {f"{prefix}.{lower}": delta.a, f"{prefix}.{upper}": delta.b}
    save_file(tensors | ({f"{prefix}.alpha": torch.tensor(float(alpha))} if alpha else {}), name, metadata=metadata)
    return name


@pytest.mark.parametrize("prefix", SPELLINGS)
def test_every_spelling_of_a_key_names_the_same_layer(model, prefix):
    layout, lower, upper = SPELLINGS[prefix]
    adapter = read_adapter(write(model, prefix.strip(), lower, upper))
    assert adapter.layout == layout and list(adapter.modules) == [LAYERS[0]]
    assert torch.equal(adapter.modules[LAYERS[0]].a, low_rank(model, LAYERS[0]).a)


PEFT = f"base_model.model.{SPELLED}"
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


# ---- bases -----------------------------------------------------------------------------------------------------------


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
        wear(tiny["m"], lora(tiny["l"]))


def test_what_does_not_match_is_told_key_by_key(model):
    save_file(
        load_file(write(model, PEFT))
        | load_file(write(model, "lora_te_block", "lora_down.weight", "lora_up.weight", name="b.safetensors")),
        "c.safetensors",
    )
    worn, report = wear(model, read_adapter("c.safetensors"))
    assert report.matched == (LAYERS[0],) and len(report.unmatched) == 2
    assert "2 keys belong to no layer of the model: lora_te_block.lora_down.weight" in report.lines[1]
    with pytest.raises(
        UserError, match="b adapts no layer that m has: its first is lora_te_block, expected one such as"
    ):
        wear(model, read_adapter("b.safetensors"))


# ---- refusals --------------------------------------------------------------------------------------------------------


def half_a_lora(model):
    save_file({f"{PEFT}.{A}": torch.zeros(4, 32)}, "x.safetensors")


def two_ranks(model):
    save_file({f"{PEFT}.{A}": torch.zeros(4, 32), f"{PEFT}.{B}": torch.zeros(32, 3)}, "x.safetensors")


def oft(model):
    save_file({f"base_model.model.{SPELLED}.oft_R.weight": torch.zeros(4, 32)}, "x.safetensors")


def whole_model(model):
    save_file({"decoder.condition_embedder.weight": torch.zeros(4, 32)}, "x.safetensors")


def two_adapters(model):
    save_file({f"{PEFT}.lora_A.{name}.weight": torch.zeros(4, 32) for name in "ab"}, "x.safetensors")


def in_fp8(model):
    save_file({f"{PEFT}.{part}": torch.zeros(4, 4).to(torch.float8_e4m3fn) for part in (A, B)}, "x.safetensors")


def only_alpha(model):
    save_file({f"{PEFT}.alpha": torch.tensor(1.0)}, "x.safetensors")


def cut_off(model):
    file = Path(write(model, PEFT, name="x.safetensors"))
    file.write_bytes(file.read_bytes()[:-50])


REFUSED = {
    half_a_lora: "layers.0.self_attn.to_q has a but no b; the file is not whole",
    two_ranks: "is of rank 4 in its lower half and 3 in its upper",
    oft: r"oft_R.weight \(OFT\); choose an adapter of one of these kinds",
    whole_model: "is a whole model, no adapter",
    two_adapters: "are the same part of layers.0.self_attn.to_q; save one adapter a file",
    in_fp8: "is stored as F8_E4M3, expected one of F64, F32, F16, BF16",
    only_alpha: "has only alpha, no weights of an adapter",
    cut_off: "is cut off",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_a_file_that_cannot_be_worn_says_why(model, make):
    make(model)
    with pytest.raises(UserError, match=REFUSED[make]):
        read_adapter("x.safetensors")


def test_a_folder_that_holds_no_adapter_says_why(model, tmp_path):
    (tmp_path / "f").mkdir()
    with pytest.raises(UserError, match=r"holds no adapter: expected adapter_config.json"):
        read_adapter("f")
    (tmp_path / "f" / "adapter_model.bin").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"only as adapter_model.bin: a pickle, .* get the .safetensors version"):
        read_adapter("f")
    with pytest.raises(UserError, match="a pickle"):
        read_adapter(tmp_path / "f" / "adapter_model.bin")
    write(model, PEFT, name=tmp_path / "f" / "adapter_model.safetensors")
    for config, message in (
        ({"peft_type": "OFT"}, "is of a OFT"),
        ({"init_lora_weights": "pissa"}, "pissa had changed"),
    ):
        (tmp_path / "f" / "adapter_config.json").write_text(json.dumps(config))
        with pytest.raises(UserError, match=message):
            read_adapter("f")


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
    with pytest.raises(UserError, match="is LoKr, which peft cannot hold; save it as comfyui"):
        save_adapter(lokr, "x")
    with pytest.raises(UserError, match="magnitude is one of each column"):
        save_adapter(dora(model, lora(model, [LAYERS[2]]), "columns"), "x")


def test_a_failing_save_leaves_what_was_there(model, monkeypatch, tmp_path):
    save_adapter(lora(model), "x")
    before = {file.name: file.read_bytes() for file in (tmp_path / "x").iterdir()}

    def fail(*given, **named):
        raise OSError("disk full")

    monkeypatch.setattr("acestep_pack.acestep_core.lora.save.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_adapter(lora(model, rank=2), "x")
    assert {file.name: file.read_bytes() for file in (tmp_path / "x").iterdir()} == before


# ---- names and wishes ------------------------------------------------------------------------------------------------


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
    assert list(list_adapters()) == ["jazz/folder", "jazz/smooth.safetensors"]
    assert find_adapter("jazz/smooth") == loras / "smooth.safetensors"
    assert find_adapter("smooth", [loras]) == loras / "smooth.safetensors"
    with pytest.raises(UserError, match="nope: there is no such adapter; searched as a path and by name in .*loras"):
        find_adapter("nope")


# ---- songs -----------------------------------------------------------------------------------------------------------

SONG = Song("lo-fi beat", seconds=10)


def latents_of(cascade, **wishes):
    return [step.latents for step in cascade.iterate(SONG, seed=1, **wishes)][-1]


def test_one_stage_or_all_wear_it_and_the_next_song_is_bare(tiny_family, model, tmp_path):
    cascade = Cascade.load(tiny_family, device="cpu")
    file = save_adapter(lora(model), tmp_path / "a.safetensors", "comfyui")
    bare = latents_of(cascade)
    every, one = latents_of(cascade, lora=[file]), latents_of(cascade, lora=[f"M={file}"])
    differ(every, bare)
    differ(one, bare)
    differ(every, one)
    assert torch.equal(latents_of(cascade, lora=[Lora(str(file), 1.0, "m")]), one)
    assert torch.equal(latents_of(cascade, lora=[f"{file}:0"]), bare) and torch.equal(latents_of(cascade), bare)
    with pytest.raises(UserError, match="got the stage 4 for .*, but this run has 3 stages"):
        latents_of(cascade, lora=[f"4={file}"])


def test_in_a_mixed_cascade_it_is_worn_where_it_fits(tiny_family, model, tmp_path, caplog):
    cascade = Cascade.load(None, device="cpu")
    tiny = load_stage_model("tiny-m")
    file = save_adapter(lora(tiny), tmp_path / "a.safetensors", "comfyui")
    assert [len(outfit) for outfit in cascade.outfits([file])] == [0, 1, 0]
    assert "a was trained on another base than tiny-l, which goes without" in caplog.text
    with pytest.raises(UserError, match="a was trained on tiny-m, not on tiny-l"):
        cascade.outfits([f"L={file}"])
    with pytest.raises(UserError, match="b was trained on another transformer, 32 wide, not on tiny-l"):
        cascade.outfits([save_adapter(lora(model), tmp_path / "b.safetensors", "comfyui")])


@pytest.fixture
def command(capsys):
    def run(*arguments):
        code = cli.main([*map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_song_keeps_its_adapters_and_is_made_again_with_them(tiny_family, model, tmp_path, command):
    file = save_adapter(lora(model), tmp_path / "a.safetensors", "comfyui")
    common = ["--models", tiny_family, "--device", "cpu", "-q"]
    wishes = ["x", "--seconds", 10, "--seed", 2, *common]
    assert command("generate", *wishes, "--lora", "M=a.safetensors:0.5", "-o", "a.wav")[0] == 0
    assert json.loads(read_tags("a.wav")["settings"])["lora"] == [f"m={file}:0.5"]
    assert command("generate", "--from", "a.wav", "--device", "cpu", "-q", "-o", "b.wav")[0] == 0
    assert command("generate", "--from", "a.wav", "--lora", "none", "--device", "cpu", "-q", "-o", "bare.wav")[0] == 0
    assert command("generate", *wishes, "-o", "c.wav")[0] == 0
    sound = {name: (tmp_path / name).read_bytes()[-40000:-4000] for name in ("a.wav", "b.wav", "bare.wav", "c.wav")}
    assert sound["a.wav"] == sound["b.wav"] != sound["bare.wav"]
    file.unlink()
    code, out, err = command("generate", "--from", "a.wav", "-o", "d.wav")
    assert code == 2 and out == "" and "a.safetensors: there is no such adapter" in err


def test_show_and_convert(model, command):
    save_adapter(lora(model), "a", metadata={"trigger words": "neon"})
    code, out, _ = command("lora", "show", "a")
    assert code == 0 and "kind            LoRA\nlayout          peft\n" in out
    assert "scale           2\nscale from      adapter_config.json\nlayers          5\n" in out and "neon" in out
    code, out, _ = command("lora", "convert", "a", "-o", "b.safetensors", "--to", "comfyui")
    assert code == 0 and "LoRA as comfyui, 5 layers, scale 2 (alpha 8, rank 4; adapter_config.json)" in out
    told = json.loads(command("lora", "show", "b.safetensors", "--json")[1])
    assert (
        told["scale"] == [2.0]
        and told["scale from"] == "alpha in its tensors"
        and told["facts"] == {"trigger words": "neon"}
    )
    near(velocity(wear(model, read_adapter("a"))[0]), velocity(wear(model, read_adapter("b.safetensors"))[0]), 1e-5)
    save_adapter(dora(model, lora(model)), "d")
    assert (
        "note: ComfyUI's own loaders rescale a DoRA"
        in command("lora", "convert", "d", "-o", "d.safetensors", "--to", "comfyui")[2]
    )
    assert load_file("d.safetensors")["diffusion_model.decoder.proj_in.1.dora_scale"].shape == (32, 1, 1)
    code, out, err = command("lora", "show", "gone")
    assert code == 2 and out == "" and "gone: there is no such adapter" in err
