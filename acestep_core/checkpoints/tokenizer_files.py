"""Reads tokenizer.json and tokenizer_config.json, checked before a tokenizer is built of them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CheckpointError
from .config_check import Rule, check_value, whole
from .weights import read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")
_ID = whole(0, 2**22 - 1)  # a tokenizer's memory grows with its largest id
_OBJECT = Rule("an object", lambda value: isinstance(value, dict))
_TOKEN = Rule("a token, or an object with its content", lambda value: isinstance(value, str) and 1 <= len(value) <= 200)


def read_tokenizer(file: Path) -> "Tokenizer":
    """The tokenizer of a tokenizer.json, exactly as it stands there. Raises CheckpointError."""
    from tokenizers import Tokenizer

    check_tokenizer(read_json(file), file)
    return _built(Tokenizer.from_file, str(file), file)


def tokenizer_of(table: dict, file: Path) -> "Tokenizer":
    """The tokenizer of a table that `check_tokenizer` passed; `file` is named in messages. Raises CheckpointError."""
    from tokenizers import Tokenizer

    return _built(Tokenizer.from_str, json.dumps(table, ensure_ascii=False), file)


def _built(make: "Callable[[str], Tokenizer]", source: str, file: Path) -> "Tokenizer":
    try:
        return make(source)
    except Exception as exc:  # noqa: BLE001  tokenizers has no class of its own for a file that it cannot read
        raise CheckpointError(f"{file} cannot be read as a tokenizer ({exc}); download it again") from exc


def check_tokenizer(tokenizer: dict, file: Path) -> None:
    """Checks what a tokenizer takes memory by, before it is built. Raises CheckpointError."""
    check_value(file, "model", tokenizer.get("model"), _OBJECT)
    for key, number in _ids(tokenizer):
        if not _ID.holds(number):
            check_value(file, f"the id of {str(key)[:80]!r}", number, _ID)


def _ids(tokenizer: dict) -> Iterator[tuple[object, object]]:
    vocabulary = tokenizer["model"].get("vocab")
    if isinstance(vocabulary, dict):
        yield from vocabulary.items()
    added = tokenizer.get("added_tokens")
    for token in added if isinstance(added, list) else ():
        if isinstance(token, dict):
            yield token.get("content"), token.get("id")


def special_tokens(file: Path) -> dict[str, str]:
    """The special tokens that a tokenizer_config.json names; {} where there is no file. Raises CheckpointError."""
    settings = read_json(file) if file.is_file() else {}
    tokens = {key: settings[key] for key in _SPECIAL if settings.get(key)}
    tokens = {key: token.get("content") if isinstance(token, dict) else token for key, token in tokens.items()}
    for key, token in tokens.items():
        check_value(file, key, token, _TOKEN)
    return tokens
