"""A wrong safetensors header is refused by its file's name where it is asked for, and left out of lists."""

import json
import struct

import pytest
from acestep_pack.acestep_core.checkpoints.choices import Shelf
from acestep_pack.acestep_core.checkpoints.registry import STAGE
from acestep_pack.acestep_core.checkpoints.weights import read_header, read_metadata
from acestep_pack.acestep_core.errors import CheckpointError
from acestep_pack.acestep_core.lora.find import list_adapters, why_not

NAME = "layers.0.self_attn.q_proj.lora_A.weight"
GOOD = {"dtype": "F32", "shape": [4, 8], "data_offsets": [0, 128]}


@pytest.fixture(autouse=True)
def no_models_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("ACESTEP_MODELS", raising=False)


def write(path, header):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(128))
    return path


def one(**changed):
    return {NAME: {**GOOD, **changed}}


WRONG = {
    "one offset": one(data_offsets=[0.4]),
    "fractional offsets": one(data_offsets=[0.0, 128.0]),
    "offsets as text": one(data_offsets="0,128"),
    "offsets of text": one(data_offsets=["0", "128"]),
    "offsets that go back": one(data_offsets=[128, 0]),
    "a negative offset": one(data_offsets=[-128, 0]),
    "no offsets": {NAME: {"dtype": "F32", "shape": [4, 8]}},
    "a shape of text": one(shape="ab"),
    "sizes of text": one(shape=["32"]),
    "a true size": one(shape=[True, 32]),
    "a negative size": one(shape=[-4, -8]),
    "a huge size": one(shape=[10**30, 0]),
    "no shape": one(shape=None),
    "many axes": one(shape=[1] * 30 + [32]),
    "a dtype that is a number": one(dtype=32),
    "a size that is not the shape's": one(shape=[4, 9]),
    "an entry that is a list": {NAME: [1]},
    "an entry that is null": {NAME: None},
    "metadata that is a list": {**one(), "__metadata__": ["a"]},
    "metadata of numbers": {**one(), "__metadata__": {"a": 1}},
    "a list": b"{" + b'"a":[' * 100_000,
    "an integer without an end": b'{"a":{"shape":[' + b"9" * 5000 + b"]}}",
    "half a character": b'{"\\ud800":' + json.dumps(GOOD).encode() + b"}",
    "another encoding": b'{"\xe9":' + json.dumps(GOOD).encode() + b"}",
    "text that breaks off": b'{"a":',
    "no tensors": {},
}


@pytest.mark.parametrize("header", WRONG.values(), ids=WRONG)
def test_a_wrong_header_is_refused_by_name_and_left_out_of_lists(tmp_path, header):
    loras, models = tmp_path / "loras", tmp_path / "diffusion_models"
    bad, good = write(loras / "bad.safetensors", header), write(loras / "good.safetensors", one())
    write(models / "bad.safetensors", header)
    for read in (read_header, read_metadata):
        with pytest.raises(CheckpointError) as raised:
            read(bad)
        assert str(bad) in str(raised.value) and "fetch the file again" in str(raised.value)
        assert "\n" not in str(raised.value)
    listed = list_adapters((loras,))
    assert listed["good.safetensors"] == good and "bad.safetensors" not in listed
    assert str(bad) in why_not("bad.safetensors", (loras,))
    shelf = Shelf((tmp_path / "acestep",), {STAGE: (models,)})
    assert "bad.safetensors" not in shelf.here(STAGE)
    with pytest.raises(CheckpointError) as raised:
        shelf.find("bad.safetensors", STAGE)
    assert str(models / "bad.safetensors") in str(raised.value)


def test_a_right_header_is_read(tmp_path):
    file = write(tmp_path / "a.safetensors", {**one(), "__metadata__": {"base": "xl"}})
    info = read_header(file)[NAME]
    assert (info.name, info.dtype, info.shape, info.count, info.file) == (NAME, "F32", (4, 8), 32, file)
    assert read_metadata(file) == {"base": "xl"}


@pytest.mark.parametrize(
    "shard", [["a"], 3, None, "../outside.safetensors", "/etc/x.safetensors", "a/b.safetensors", "a.bin", ""]
)
def test_an_index_names_files_beside_it_only(tmp_path, shard):
    (tmp_path / "config.json").write_text("{}")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a.weight": shard}}))
    from acestep_pack.acestep_core.checkpoints.locate import is_complete
    from acestep_pack.acestep_core.checkpoints.weights import read_folder

    write(tmp_path.parent / "outside.safetensors", one())
    with pytest.raises(CheckpointError, match="weight_map puts a.weight into .* expected the name of a .safetensors"):
        read_folder(tmp_path)
    assert not is_complete(tmp_path)
