"""JSON from files of strangers: parsed within bounds, and refused with the caller's own error."""

import json
import math
import re
from pathlib import Path
from typing import Any, NoReturn

from .errors import AceStepError, UserError

JSON_BYTES_MAX = 32 << 20  # three times a tokenizer.json; an object takes up to 25 times its text in memory
JSON_DEPTH_MAX = 64  # far below Python's recursion limit, so that writing and comparing are safe as well
INTEGER_DIGITS_MAX = 40  # tokenizers write 10**30 for "no limit"; any such integer still fits a float
_LONG_INTEGER = re.compile(rf"[0-9]{{{INTEGER_DIGITS_MAX + 1}}}")
_CONTAINERS = (dict, list)
_CORRECT = "correct the file"


def parse_json(text: str | bytes, place: object, error: type[AceStepError] = UserError, remedy: str = _CORRECT) -> Any:
    """The value of a JSON text, bytes in UTF-8 (with or without a BOM), UTF-16 or UTF-32.

    Raises `error`, with `place` (a file, a line, a tag) first and `remedy` last, for everything that is no JSON by its
    standard (NaN and Infinity are none), and for what would break its reader: text above 32 MiB, nesting deeper than
    64, integers of more than 40 digits, numbers beyond a float, halves of surrogate pairs.
    """
    try:
        return _parse(text)
    except RecursionError:
        reason = f"nested deeper than {JSON_DEPTH_MAX}"
    except ValueError as exc:
        reason = str(exc)
    raise error(f"{place}: cannot be read as JSON ({reason}); {remedy}")


def parse_json_object(
    text: str | bytes, place: object, error: type[AceStepError] = UserError, remedy: str = _CORRECT
) -> dict[str, Any]:
    """The object of a JSON text. Raises `error` as `parse_json` does, and for any other value."""
    value = parse_json(text, place, error, remedy)
    if not isinstance(value, dict):
        raise error(f"{place}: holds a JSON {type(value).__name__}, expected an object; {remedy}")
    return value


def read_json_object(path: Path, error: type[AceStepError] = UserError, remedy: str = _CORRECT) -> dict[str, Any]:
    """The object of a JSON file. Raises `error` as `parse_json_object` does, and where the file cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(JSON_BYTES_MAX + 1)
    except OSError as exc:
        raise error(f"{path}: cannot be read ({exc.strerror or exc}); {remedy}") from exc
    return parse_json_object(text, path, error, remedy)


def _parse(text: str | bytes) -> Any:
    if len(text) > JSON_BYTES_MAX:
        raise ValueError(f"more than {JSON_BYTES_MAX:,} bytes")
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text))
    # A hook is called for every integer, which takes as long as all the rest; most files need none.
    integer = _integer if _LONG_INTEGER.search(text) else None
    value = json.loads(text, parse_int=integer, parse_float=_finite, parse_constant=_refuse)
    _check_depth(value)
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError, a ValueError, for half a surrogate pair
    return value


def _integer(digits: str) -> int:
    if len(digits) > INTEGER_DIGITS_MAX:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:INTEGER_DIGITS_MAX]} is too large")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(JSON_DEPTH_MAX + 1):
        level = [inner for outer in level for inner in _containers(outer)]
        if not level:
            return
    raise RecursionError


def _containers(value: Any) -> list[Any]:
    inner = value.values() if type(value) is dict else value if type(value) is list else ()
    return [one for one in inner if type(one) in _CONTAINERS]
