"""Files and folders that hold no adapter to wear say why."""

import json
import math
import os
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.lora.adapter import read_adapter
from acestep_pack.acestep_core.lora.find import adapter_digest
from core_tests.lora_material import PEFT, SPELLED, A, B, write
from safetensors.torch import save_file

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture(scope="module")
def model(tiny_family):
    return load_stage_model(tiny_family / "m")


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


def saved(*shapes_of_parts, fill=0.0):
    """A maker of a file with tensors of these shapes, by the ends of their keys."""

    def make(model):
        tensors = {f"{PEFT}.{part}": torch.full(shape, fill) for part, shape in shapes_of_parts}
        save_file(tensors, "x.safetensors")

    return make


GOOD_A, GOOD_B = (A, (4, 32)), (B, (32, 4))
LOCON = (("lora_down.weight", (4, 32)), ("lora_up.weight", (32, 4)), ("lora_mid.weight", (4, 3, 1)))
LOKR = (("lokr_w1", (2**13, 2**8)), ("lokr_w2", (2**13, 2**8)))
LOHA = (*((f"hada_w{n}_a", (32, 4)) for n in (1, 2)), ("hada_w1_b", (4, 32)), ("hada_w2_b", (4, 16)))
DAMAGED = [
    ("a scalar", saved((A, ()), GOOD_B), r"lora_A.weight has the shape \[\], which that part of an adapter never has"),
    ("one axis", saved(GOOD_A, (B, (32,))), r"lora_B.weight has the shape \[32\]"),
    ("no rank", saved((A, (0, 32)), (B, (32, 0))), r"has the shape \[0, 32\]"),
    ("two alphas", saved(GOOD_A, GOOD_B, ("alpha", (2,))), r"alpha has the shape \[2\]"),
    ("NaN", saved(GOOD_A, GOOD_B, fill=math.nan), "lora_A.weight holds NaN or infinity, as after a training"),
    ("infinity", saved(GOOD_A, GOOD_B, fill=-math.inf), "holds NaN or infinity"),
    ("a kernel above", saved((A, (4, 32, 2)), (B, (32, 4, 2))), r"an upper half of shape \[32, 4, 2\]"),
    (
        "a core of another rank",
        saved(("lora_down.weight", (4, 32)), ("lora_up.weight", (32, 4)), ("lora_mid.weight", (4, 3, 1))),
        "is of rank 3 in its lower half and 4 in its upper",
    ),
    ("a magnitude of others", saved(GOOD_A, GOOD_B, ("dora_scale", (31, 1))), "a magnitude of 31 numbers for 32 rows"),
    (
        "columns of others",
        saved(GOOD_A, GOOD_B, ("dora_scale", (1, 31))),
        "a magnitude of 31 numbers for 32 rows",
    ),
    (
        "a huge product",
        saved(*LOKR),
        "has factors for a layer of shape",
    ),
    (
        "two products",
        saved(*LOHA),
        "multiplies two products of different shapes",
    ),
]


@pytest.mark.parametrize(("make", "message"), [case[1:] for case in DAMAGED], ids=[case[0] for case in DAMAGED])
def test_a_damaged_file_is_refused_by_name(make, message):
    make(None)
    with pytest.raises(UserError, match=rf"^x\.safetensors: .*{message}"):
        read_adapter("x.safetensors")


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


@pytest.mark.skipif(os.name == "nt", reason="has no pipes in folders")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.safetensors")
    for read in (read_adapter, adapter_digest):
        with pytest.raises(UserError, match="is neither a file nor a folder; expected a .safetensors file"):
            read(tmp_path / "x.safetensors")


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
