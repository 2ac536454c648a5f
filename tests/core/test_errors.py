"""Messages of errors: one line of text, whatever files of strangers put into it."""

import pickle
import sys
from pathlib import Path

import pytest
from acestep_pack.acestep_core import errors
from acestep_pack.acestep_core.errors import MESSAGE_LENGTH, AceStepError, CheckpointError, UserError

ROOT = Path(__file__).resolve().parents[2]


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


def test_a_pack_in_comfyuis_folder_names_the_choice_and_a_command_that_is_there():
    command = f"`python -m acestep_core models download x` in {ROOT}, with ComfyUI's Python"
    assert errors.how_to_get("x") == f'choose "x (download, ...)" in a loader, or run {command}'


@pytest.mark.parametrize(
    "program, command", [("/usr/bin/acestep-cascade", "acestep-cascade"), ("/x/__main__.py", "python -m acestep_core")]
)
def test_an_installed_library_names_the_command_that_was_typed(program, command, monkeypatch):
    monkeypatch.setattr(errors, "__package__", "acestep_core")
    monkeypatch.setattr(sys, "argv", [program])
    assert errors.how_to_get("x") == f"get it with `{command} models download x`"
