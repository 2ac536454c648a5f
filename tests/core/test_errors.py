"""Messages of errors: one line of text, whatever files of strangers put into it."""

import pickle

import pytest
from acestep_pack.acestep_core.errors import MESSAGE_LENGTH, AceStepError, CheckpointError, UserError


@pytest.mark.parametrize("error", [AceStepError, UserError, CheckpointError])
@pytest.mark.parametrize(
    ("quoted", "shown"),
    [
        ("été, 音楽\u3000b, 😀", "été, 音楽\u3000b, 😀"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\0b\x07", r"a\x00b\x07"),
        ("one\ntwo\r\n", r"one\ntwo\r\n"),
        ("\ud800", r"\ud800"),
        ("\u2028", r"\u2028"),
    ],
)
def test_what_is_no_text_is_escaped(error, quoted, shown):
    message = str(error(f"{quoted}.safetensors: is damaged; get it again"))
    assert message == f"{shown}.safetensors: is damaged; get it again"
    message.encode()


def test_a_long_message_keeps_the_file_and_the_remedy():
    message = str(UserError(f"a.json: unknown field {'x' * 10**6}; remove it"))
    assert len(message) <= MESSAGE_LENGTH + 5
    assert message.startswith("a.json: unknown field x") and message.endswith("; remove it") and " ... " in message


def test_an_error_goes_between_processes():
    again = pickle.loads(pickle.dumps(CheckpointError("a: b")))
    assert type(again) is CheckpointError and str(again) == "a: b" and isinstance(again, ValueError)
