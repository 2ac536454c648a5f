"""Number formats that a device has no instructions for: what is taken instead, and what is said."""

import shutil

import pytest
import torch
from acestep_pack.acestep_core.generation.cascade import Cascade
from acestep_pack.acestep_core.memory import model_pool as parts
from acestep_pack.acestep_core.memory.free import PROGRAM_BYTES
from acestep_pack.acestep_core.nn import dtypes as arithmetic
from acestep_pack.acestep_core.nn.dtypes import computes
from acestep_pack.acestep_core.song import Song
from safetensors.torch import load_file, save_file

CPU = torch.device("cpu")
WITHOUT, WITH = {"avx512_f": True, "amx_bf16": False}, {"avx512_bf16": True}


@pytest.fixture(scope="module")
def halved(tiny_family, tmp_path_factory):
    """The tiny family with all its networks stored in bfloat16."""
    folder = shutil.copytree(tiny_family, tmp_path_factory.mktemp("halved") / "family")
    for file in folder.rglob("*.safetensors"):
        save_file({name: tensor.bfloat16() for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    return folder


@pytest.fixture
def cpu(monkeypatch):
    def has(known: dict | None) -> None:
        if known is None:  # an old torch
            monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
        else:
            monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)

    return has


@pytest.mark.parametrize(
    "known, bf16, fp16",
    [
        (None, False, False),
        (WITHOUT, False, False),
        (WITH, True, False),
        ({"amx_bf16": True, "amx_fp16": True}, True, True),
        ({"neon": True, "bf16": True, "fp16_arith": True}, True, True),
    ],
)
def test_a_cpu_computes_in_what_it_has_instructions_for(cpu, known, bf16, fp16):
    cpu(known)
    assert [computes(CPU, dtype) for dtype in (torch.float32, torch.bfloat16, torch.float16)] == [True, bf16, fp16]


@pytest.mark.parametrize("capability, hip, has", [((7, 5), None, False), ((8, 6), None, True), ((9, 0), "6.4", True)])
def test_cards_before_ampere_have_no_bf16(monkeypatch, capability, hip, has):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert computes(torch.device("cuda"), torch.bfloat16) is has


def test_files_in_bf16_run_as_the_cpu_computes_fast(halved, cpu, caplog):
    cpu(WITH)
    natively = Cascade.load(halved, device="cpu")
    assert natively.pool[natively.stages[0]].transformer.dtype == torch.bfloat16 and not caplog.records
    cpu(WITHOUT)
    widened = Cascade.load(halved, device="cpu")
    assert widened.pool[widened.stages[0]].transformer.dtype == torch.float32
    assert widened.pool[parts.TEXT].model.dtype == torch.float32
    assert "files are in bf16, for which this device has no instructions: they run in fp32" in caplog.text
    song = Song("lo-fi beat", seconds=10)
    asked = Cascade.load(halved, device="cpu", dtype="fp32").generate(song, seed=5)
    assert torch.equal(widened.generate(song, seed=5).samples, asked.samples)


def test_files_in_bf16_stay_so_where_fp32_does_not_fit(halved, cpu, caplog):
    cpu(WITHOUT)
    needs = Cascade.load(halved, device="cpu").pool._needs
    limit = needs.peak(parts.PLANS[-1], parts.LONG_SECONDS) - 1
    caplog.clear()
    cascade = Cascade.load(halved, device="cpu", memory_gb=(limit + PROGRAM_BYTES) / 1e9)
    assert cascade.pool[cascade.stages[0]].transformer.dtype == torch.bfloat16
    assert [record.getMessage() for record in caplog.records] == [
        "this CPU has no instructions for bfloat16, so fp32 is several times faster"
    ]


def test_what_is_asked_for_is_done_and_said(tiny_family, cpu, caplog):
    cpu(WITHOUT)
    asked = Cascade.load(tiny_family, device="cpu", dtype="fp16", vocoder_dtype="bf16")
    assert asked.pool[asked.stages[0]].transformer.dtype == torch.float16
    assert [record.getMessage().split(", so")[0] for record in caplog.records] == [
        "this CPU has no instructions for bfloat16",
        "this CPU has no instructions for float16",
    ]
    caplog.clear()
    Cascade.load(tiny_family, device="cpu")  # float32 is stored
    assert not caplog.records


def test_a_gpu_is_called_one(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.version, "hip", None)
    arithmetic.warn_if_emulated(torch.device("cuda"), torch.bfloat16, torch.float32, torch.float16)
    assert [r.getMessage().split(", so")[0] for r in caplog.records] == ["this GPU has no instructions for bfloat16"]
