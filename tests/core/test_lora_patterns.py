"""Alpha and rank by layer: names are compared as PEFT writes them, and no pattern of a stranger takes long."""

import json
import re

import pytest
from acestep_pack.acestep_core.checkpoints.load import load_stage_model
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.lora import patterns
from acestep_pack.acestep_core.lora.adapter import read_adapter
from acestep_pack.acestep_core.lora.patterns import Patterns
from core_tests.lora_material import PEFT, write

pytestmark = pytest.mark.usefixtures("own_folder")
NAMES = [f"layers.{n}.self_attn.{p}_proj" for n in (0, 1, 10, 11) for p in "qkvo"] + [
    "layers.1.mlp.up_proj",
    "time_proj",
]


@pytest.fixture(scope="module")
def model(tiny_family):
    return load_stage_model(tiny_family / "m")


@pytest.mark.parametrize(
    "key",
    [
        "q_proj",
        "self_attn.q_proj",
        "layers.1.self_attn.q_proj",
        "1.self_attn.q_proj",
        "proj",
        "_proj",
        ".*q_proj",
        r".*\.q_proj",
        r"layers\.1\.self_attn\.q_proj",
        r"^layers\.1\.self_attn\.q_proj",
        r"^layers\.[0-9]+\.self_attn\.(q_proj|k_proj)$",
        r"layers\.\d\.self_attn\.[qk]_proj",
        "layers.1.*(up_proj|o_proj)",
        "layers.1?.self_attn.(?:q|k)_proj",
    ],
)
def test_a_key_holds_for_the_layers_for_which_peft_takes_it(key):
    from peft.utils.other import get_pattern_key

    found = {name for name in NAMES if Patterns({key: 2}, "x").value((name,)) == 2}
    assert found == {name for name in NAMES if get_pattern_key([key], name) == key}


def test_the_first_key_that_holds_counts():
    values = {"k_proj": 1, r".*\.1\.self_attn.*": 2, "self_attn.q_proj": 3, "q_proj": 4}
    assert [Patterns(values, "x").value((name,)) for name in NAMES[:8]] == [3, 1, None, None, 2, 1, 2, 2]
    assert Patterns(values, "x").value(("layers.0.mlp.up_proj", "layers.0.self_attn.q_proj")) == 3


HOSTILE = [
    "(l+)+x",
    "(a|a)*x",
    "(.*)*x",
    ".*.*.*x",
    "(a{1000}){1000}",
    "(?=a)x",
    r"(a)\1",
    "(",
    "[",
    "*a",
    "a\\",
    "x" * 300 + "*",
]


@pytest.mark.parametrize("key", HOSTILE)
@pytest.mark.parametrize("where", ["alpha_pattern", "rank_pattern"])
def test_a_pattern_that_could_take_long_is_refused(model, tmp_path, key, where):
    (tmp_path / "f").mkdir()
    write(model, PEFT, name=tmp_path / "f" / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, where: {key: 2}}
    (tmp_path / "f" / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=re.escape(f"adapter_config.json: {where}: has the pattern {key[:80]!r}, ")):
        read_adapter("f")


def test_patterns_are_bounded_in_number_and_in_time(monkeypatch):
    with pytest.raises(UserError, match="x: has 33 patterns, expected at most 32"):
        Patterns({f".*{number}": 1 for number in range(33)}, "x")
    many = Patterns({f"layers.{number}.q_proj": number for number in range(100_000)}, "x")
    assert many.value(("layers.99999.q_proj",)) == 99999
    slow, clock = Patterns({".*q_proj": 1}, "x"), iter(range(100))
    monkeypatch.setattr(patterns.time, "monotonic", lambda: next(clock))  # each match takes a second
    assert [slow.value((name,)) for name in NAMES[:2]] == [1, None]
    with pytest.raises(UserError, match="x: its patterns take too long"):
        slow.value(NAMES[2:3])


def test_names_longer_than_any_layers_are_not_matched():
    assert Patterns({".*a.*b": 1}, "x").value(("." + "a." * 100 + "b",)) is None
    assert Patterns({".*a.*b": 1}, "x").value(("a.b",)) == 1


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"alpha_pattern": [["q_proj", 2]]}, "alpha_pattern: is a list, expected an object of numbers by layer"),
        ({"alpha_pattern": "q_proj"}, "alpha_pattern: is a str, expected an object"),
        ({"rank_pattern": 4}, "rank_pattern: is a int, expected an object"),
        ({"alpha_pattern": {"q_proj": "two"}}, "alpha_pattern: 'q_proj': got 'two', expected a finite number"),
        ({"alpha_pattern": {"q_proj": [2]}}, "alpha_pattern: 'q_proj': got"),
        ({"lora_alpha": "nan"}, "lora_alpha: got 'nan', expected a finite number"),
        ({"lora_alpha": "inf"}, "lora_alpha: got 'inf', expected a finite number"),
        ({"lora_alpha": True}, "lora_alpha: got 'True', expected a finite number"),
        ({"r": {}}, "r: got '{}', expected a finite number"),
    ],
)
def test_settings_of_a_wrong_kind_are_refused_by_file_and_key(model, tmp_path, config, said):
    (tmp_path / "f").mkdir()
    write(model, PEFT, name=tmp_path / "f" / "adapter_model.safetensors")
    (tmp_path / "f" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 8} | config))
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'f' / 'adapter_config.json'}: {said}")):
        read_adapter(tmp_path / "f")


def test_metadata_that_is_no_number_is_not_an_alpha_but_nan_is_refused(model):
    metadata = {"alpha": "None", "rank": "auto", "lora_config": "[" * 100_000, "ss_network_args": "{"}
    assert read_adapter(write(model, PEFT, metadata=metadata)).scales == (1.0,)
    with pytest.raises(UserError, match="a.safetensors: metadata: network_alpha: got 'nan', expected a finite number"):
        read_adapter(write(model, PEFT, metadata={"ss_network_alpha": "nan"}))


def test_a_config_nested_without_end_is_refused(model, tmp_path):
    (tmp_path / "f").mkdir()
    write(model, PEFT, name=tmp_path / "f" / "adapter_model.safetensors")
    (tmp_path / "f" / "adapter_config.json").write_text('{"a":' * 100_000)
    with pytest.raises(UserError, match="adapter_config.json: cannot be read as JSON .nested deeper than 64"):
        read_adapter("f")
