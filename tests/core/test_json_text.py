"""One reader of JSON: bounds and errors that every file of a stranger meets."""

import json

import pytest
from acestep_pack.acestep_core.errors import AceStepError, CheckpointError, UserError
from acestep_pack.acestep_core.json_text import JSON_BYTES_MAX, parse_json, parse_json_object, read_json_object


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2.5, null, true, "ü"]}', {"a": [1, 2.5, None, True, "ü"]}),
        ("-3", -3),
        (str(10**30), 10**30),
        ("[" * 64 + "]" * 64, json.loads("[" * 64 + "]" * 64)),
        ('"\\ud83d\\ude00"', "😀"),
        ('\ufeff{"a": 1}'.encode(), {"a": 1}),
        ('{"a": 1}'.encode("utf-16"), {"a": 1}),
    ],
)
def test_json_is_parsed(text, value):
    assert parse_json(text, "x.json") == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested deeper than 64"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested deeper than 64"),
        ("[" * 66 + "]" * 66, "nested deeper than 64"),
        (str(10**400), "integer of 401 digits"),
        ("-" + "9" * 5000, "integer of 5001 digits"),
        ("1e400", "1e400 is too large"),
        ("[NaN]", "NaN is no number"),
        ("-Infinity", "-Infinity is no number"),
        ('"\\ud800"', "surrogates not allowed"),
        ("[" + " " * JSON_BYTES_MAX + "]", "more than 33,554,432 bytes"),
        (b'{"a": "\xe9"}', "can't decode byte 0xe9"),
        ("", "Expecting value"),
        ("{'a': 1}", "Expecting property name"),
    ],
)
@pytest.mark.parametrize("error", [UserError, CheckpointError])
def test_what_is_no_json_is_refused_with_the_callers_error(text, reason, error):
    with pytest.raises(AceStepError) as raised:
        parse_json(text, "songs.jsonl line 3", error, "write it anew")
    assert type(raised.value) is error
    assert str(raised.value).startswith("songs.jsonl line 3: cannot be read as JSON (")
    assert reason in str(raised.value)
    assert str(raised.value).endswith("; write it anew")


@pytest.mark.parametrize(("text", "kind"), [("[1]", "list"), ('"a"', "str"), ("null", "NoneType"), ("1.5", "float")])
def test_only_an_object_is_an_object(text, kind):
    with pytest.raises(UserError, match=f"^x: holds a JSON {kind}, expected an object; correct the file$"):
        parse_json_object(text, "x")


def test_a_file_is_read(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('{"a": 1}', encoding="utf-8")
    assert read_json_object(file) == {"a": 1}


def test_a_file_that_is_not_there_or_too_large_is_refused_by_name(tmp_path):
    with pytest.raises(CheckpointError, match=r"b\.json: cannot be read \(No such file or directory\); fetch it"):
        read_json_object(tmp_path / "b.json", CheckpointError, "fetch it")
    with pytest.raises(UserError, match="cannot be read"):
        read_json_object(tmp_path)
    with (tmp_path / "c.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match=r"c\.json: cannot be read as JSON \(more than"):
        read_json_object(tmp_path / "c.json")
