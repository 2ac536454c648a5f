"""Configs and tokenizers: a value of a wrong kind, sign or size is refused by file and key before anything is built."""

import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.checkpoints import load, networks
from acestep_pack.acestep_core.checkpoints.checkpoint import read_checkpoint
from acestep_pack.acestep_core.checkpoints.choices import Shelf
from acestep_pack.acestep_core.checkpoints.layouts import vae_to_diffusers
from acestep_pack.acestep_core.checkpoints.load import load_stage_model, load_text_encoder, load_tokenizer, load_vae
from acestep_pack.acestep_core.checkpoints.registry import STAGE, TEXT, VOCODER
from acestep_pack.acestep_core.errors import CheckpointError
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
LOADERS = {STAGE: load_stage_model, TEXT: load_text_encoder, VOCODER: load_vae}


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("ACESTEP_MODELS", raising=False)

    def built(name, arguments):
        raise AssertionError(f"{name} was built of {arguments}")

    monkeypatch.setattr(networks, "_empty", built)


@pytest.fixture
def family(tiny_family, tmp_path):
    """Folders with a config each, in all layouts: by kind of model."""
    from diffusers import AceStepTransformer1DModel  # noqa: F401  imported before anything is replaced

    shutil.copytree(GOLDEN / "mxl_a", tmp_path / "acestep" / "stage")
    shutil.copytree(tiny_family / "text_encoder", tmp_path / "acestep" / "text")
    shutil.copytree(GOLDEN / "vae_a", tmp_path / "acestep" / "vocoder")
    return tmp_path / "acestep"


def change(file, *keys, value):
    config = inner = json.loads(file.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    file.write_text(json.dumps(config))


def refused(family, kind):
    """The message; the model is left out of the list, too."""
    assert kind not in Shelf((family,), {}).here(kind)
    with pytest.raises(CheckpointError) as raised:
        LOADERS[kind](family / kind)
    message = str(raised.value)
    assert "\n" not in message and ";" in message and len(message) < 1000
    return message


SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim")
WRONG_SIZES = ("0", 0, -1, 2.0, 10**9, 10**30, [1], {}, True, 3)
CASES = [
    *((STAGE, key, value) for key in ("patch_size", "encoder_hidden_size", *SIZES) for value in WRONG_SIZES),
    *((STAGE, key, "0") for key in ("num_lyric_encoder_hidden_layers", "num_timbre_encoder_hidden_layers")),
    *((STAGE, key, 10**9) for key in ("num_lyric_encoder_hidden_layers", "encoder_intermediate_size")),
    *((STAGE, "layer_types", value) for value in ("full_attention", ["full_attention"], [1, 2, 3, 4], {}, ["x"] * 4)),
    *((STAGE, "rope_theta", value) for value in ("1e6", 0, -1.0, True, 10**30, [])),
    *((STAGE, "rms_norm_eps", value) for value in ("1e-6", 0, -1e-6, 5, {})),
    *((STAGE, "sliding_window", value) for value in (0, -1, 2.5, "8", 10**12)),
    *((STAGE, key, value) for key in ("attention_bias", "is_turbo", "use_sliding_window") for value in (1, "no", [])),
    *((STAGE, "timbre_fix_frame", value) for value in (-1, 10**9, "750", 2.5)),
    *((STAGE, "fsq_input_levels", value) for value in (8, [8] * 40, [64] * 16, [0, 1], ["8"])),
    *((STAGE, "fsq_dim", value) for value in (10**9, "64", 63)),
    *((STAGE, "model_version", value) for value in (1, ["turbo"], "x" * 1000)),
    *((TEXT, key, value) for key in ("vocab_size", *SIZES) for value in WRONG_SIZES if value != 3),
    *((TEXT, "layer_types", value) for value in ([], "full_attention", ["linear_attention"])),
    *((TEXT, "rope_parameters", value) for value in ("1e9", 3, [1], {"rope_type": "yarn"}, {"rope_type": ["x"]})),
    (TEXT, "rope_scaling", {"type": "yarn", "rope_type": "yarn", "factor": 4}),
    *((TEXT, "attention_bias", value) for value in (-1, "true")),
    *((TEXT, "hidden_act", value) for value in ("os.system", 1)),
    *((VOCODER, "channel_multiples", value) for value in ([1, 2], [1, 2, "4"], 4, [1, 2, -4], [1, 2, 10**9])),
    *((VOCODER, "downsampling_ratios", value) for value in ([2, 4, 0], [2, 4], [2, 4, [6]], "246", [256] * 16)),
    *((VOCODER, "sampling_rate", value) for value in (0, -48000, "48000", 48000.5, 10**12)),
    *((VOCODER, key, value) for key in ("audio_channels", "decoder_channels") for value in (0, "8", 2.0, 10**9)),
]


@pytest.mark.parametrize(("kind", "key", "value"), CASES)
def test_a_wrong_value_is_refused_by_file_and_key(family, kind, key, value):
    file = family / kind / "config.json"
    change(file, key, value=value)
    message = refused(family, kind)
    assert str(file) in message and f": {key} " in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("family", "3b"),
        ("steps", "8"),
        ("steps", 10**7),
        ("shift", 0),
        ("guidance", "7"),
        ("guidance_kind", 1),
        ("boundaries", [0.5, "x"]),
        ("boundaries", 0.5),
        ("cascade_steps", [0]),
        ("valid_times", [2]),
        ("variant", []),
    ],
)
def test_a_wrong_default_is_refused_by_key(family, key, value):
    change(family / STAGE / "config.json", "acestep_cascade", value={key: value})
    assert f"acestep_cascade's {key} is {value!r}, expected " in refused(family, STAGE)


@pytest.mark.parametrize("value", [[1], "turbo", 3])
def test_defaults_that_are_no_object(family, value):
    change(family / STAGE / "config.json", "acestep_cascade", value=value)
    assert "acestep_cascade is " in refused(family, STAGE)


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (("model",), [], "model is [], expected an object"),
        (("model", "vocab", "a"), 10**9, "the id of 'a' is 1000000000, expected a whole number from 0 to"),
        (("model", "vocab", "a"), -1, "the id of 'a' is -1"),
        (("model", "vocab", "a"), "1", "the id of 'a' is '1'"),
        (("added_tokens", 0, "id"), 10**9, "the id of '<|endoftext|>' is 1000000000"),
        (("model", "type"), "None", "cannot be read as a tokenizer"),
        (("model", "merges"), 3, "cannot be read as a tokenizer"),
        (("pre_tokenizer",), {"type": "x"}, "cannot be read as a tokenizer"),
    ],
)
def test_a_wrong_tokenizer_is_refused_by_file(family, keys, value, said):
    change(family / TEXT / "tokenizer.json", *keys, value=value)
    with pytest.raises(CheckpointError) as raised:
        load_text_encoder(family / TEXT)
    assert str(family / TEXT / "tokenizer.json") in str(raised.value) and said in str(raised.value)


@pytest.mark.parametrize("token", [["a"], 5, {"content": 5}, {"content": None}, "a" * 1000])
def test_a_special_token_is_a_text(family, token):
    change(family / TEXT / "tokenizer_config.json", "eos_token", value=token)
    with pytest.raises(CheckpointError, match="tokenizer_config.json: eos_token is "):
        load_tokenizer(family / TEXT)


def test_an_id_that_the_text_encoder_does_not_know(family):
    change(family / TEXT / "tokenizer.json", "model", "vocab", "a", value=5000)
    with pytest.raises(CheckpointError, match="knows 257 tokens, its tokenizer has 5001; put the tokenizer.json"):
        load_text_encoder(family / TEXT)


def test_layers_are_counted_by_the_numbers_that_are_there(family, tmp_path):
    """A single file has no config: a layer far beyond the others is one that is missing, not a billion layers."""
    tensors = load_file(family / STAGE / "model.safetensors")
    names = {name.replace("layers.3.", "layers.999999999."): tensor for name, tensor in tensors.items()}
    save_file(names, tmp_path / "far.safetensors")
    with pytest.raises(CheckpointError, match="the condition_encoder lacks|the transformer lacks layers.3"):
        read_checkpoint(tmp_path / "far.safetensors")
    assert vae_to_diffusers({f"encoder.layers.{'9' * 30}.x": 1, "encoder.layers.99999.x": 2})


@pytest.mark.parametrize("shape", [[], [7], [7, 7, 7, 7], [0, 0]])
@pytest.mark.parametrize(
    "name", ["condition_embedder.weight", "proj_in_conv", "layers.0.self_attn.q_norm.weight", "proj_out_conv"]
)
def test_tensors_of_strange_shapes_are_refused(family, tmp_path, name, shape):
    file = tmp_path / "strange.safetensors"
    body = bytearray((family / STAGE / "model.safetensors").read_bytes())
    length = struct.unpack("<Q", body[:8])[0]
    header = json.loads(body[8 : 8 + length])
    spelled = {"proj_in_conv": "proj_in.1.weight", "proj_out_conv": "proj_out.1.weight"}.get(name, name)
    entry = header[f"decoder.{spelled}"]
    entry["shape"], entry["dtype"] = shape, "F4"  # a number format of unknown size, so that the bytes may fit
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(body[8 + length :]))
    with pytest.raises(
        CheckpointError, match="strange.safetensors: (the transformer has tensors of shapes|hidden_size is 0)"
    ):
        read_checkpoint(file)


def test_what_is_right_still_loads(family, monkeypatch):
    monkeypatch.undo()
    for kind in (STAGE, TEXT, VOCODER):
        LOADERS[kind](family / kind)
    assert load.load_text_encoder(family / TEXT).model.config.rope_theta == 10000.0


def test_the_rotary_base_is_the_configs(family, monkeypatch):
    monkeypatch.undo()
    for keys, value in ((("rope_parameters",), {"rope_type": "default", "rope_theta": 5e5}), (("rope_theta",), 7e5)):
        file = family / TEXT / "config.json"
        config = json.loads(file.read_text())
        config.pop("rope_parameters", None)
        file.write_text(json.dumps(config))
        change(file, *keys, value=value)
        expected = value["rope_theta"] if isinstance(value, dict) else value
        assert load_text_encoder(family / TEXT).model.config.rope_theta == expected
    assert torch.is_tensor(load_text_encoder(family / TEXT).model.embed_tokens.weight)
