"""Mutations of JSON by its structure: values of the wrong kind, sign and size, keys lost, doubled and new, torn text.

Each takes a text and gives one; those of ENCODED give bytes that are no good UTF-8.
"""

import copy
import json
import re
from collections.abc import Iterator

from .draw import Draw

DEPTH = 100_000
MANY = 60  # children of a list or object that are mutated, of more evenly spaced ones
_MARK = "mutant@here"

DEEP_LIST = "[" * DEPTH + "]" * DEPTH
DEEP_OBJECT = '{"a":' * DEPTH + "1" + "}" * DEPTH
SURROGATE, ESCAPE = r'"\ud800"', r'"\u001b[31m\u0007mutant"'
# As they stand in JSON: some are nothing that json.dumps would write.
WRONG = (
    *("null", "true", "false", '"0"', '""', '"x"', '"-1"', '"1e9"', '"NaN"', r'"\u0000"', r'"\u0661"', '"../../x"'),
    *("-1", "0", "1", "1000000000", "-1000000000", f"1{'0' * 400}", "9223372036854775808", f"1{'0' * 5000}"),
    *("0.4", "1.5", "-0.0", "1e308", "-1e308", "5e-324", "NaN", "Infinity", "-Infinity"),
    *("[]", "{}", "[0.4]", "[[]]", "[null]", "[-1]", '["x"]', '{"a":null}', "[1000000000,1000000000,1000000000]"),
    *(DEEP_LIST, DEEP_OBJECT, SURROGATE, ESCAPE, f'"{"a" * 100_000}"', f"[{','.join(['1'] * 100_000)}]"),
)
KEYS = ("mutant", "", "__class__", "_class_name", "../x", r"\ud800", r"\u001b[2J", r"\u0000", "a" * 70_000)


def paths(value, before: tuple = ()) -> Iterator[tuple]:
    """Of all that lies within a JSON value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys[:: max(1, len(keys) // MANY)]:
        yield (*before, key)
        yield from paths(value[key], (*before, key))


def at(value, path: tuple):
    for key in path:
        value = value[key]
    return value


def replaced(text: str, path: tuple, raw: str) -> str:
    """The text with `raw`, which need not be JSON, at one path."""
    changed = copy.deepcopy(json.loads(text))
    at(changed, path[:-1])[path[-1]] = _MARK
    return json.dumps(changed).replace(json.dumps(_MARK), raw)


def wrong_value(text: str, draw: Draw) -> str:
    """Each path in turn holds something else."""
    return replaced(text, draw.in_turn(list(paths(json.loads(text)))), draw.choice(WRONG))


def scaled(text: str, draw: Draw) -> str:
    """A value of the right kind that is another: negative, larger, longer, shorter."""
    document = json.loads(text)
    path = draw.in_turn(list(paths(document)))
    return replaced(text, path, json.dumps(_scaled(at(document, path), draw)))


def _scaled(value, draw: Draw):
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return draw.choice((-value, value + 1, value - 1, value * 1000, value / 2, value * 10**12, str(value), [value]))
    if isinstance(value, str):
        return draw.choice((value[:-1], value * 2, value.upper(), value + "\n", value + "\t\x1b", list(value)))
    if isinstance(value, list):
        return draw.choice(
            (value[:-1], value[1:], value * 2, value[::-1], value * 1000, dict.fromkeys(map(str, value)))
        )
    return draw.choice((list(value), list(value.items()), dict.fromkeys(value), dict(list(value.items())[::2])))


def missing(text: str, draw: Draw) -> str:
    changed = json.loads(text)
    path = draw.in_turn(list(paths(changed)))
    del at(changed, path[:-1])[path[-1]]
    return json.dumps(changed)


def extra(text: str, draw: Draw) -> str:
    """A key more, first in some object, with a value of any kind."""
    starts = [found.end() for found in re.finditer(r"\{", text)]
    start = draw.choice(starts)
    comma = "" if text[start:].lstrip().startswith("}") else ","
    return f'{text[:start]}"{draw.in_turn(KEYS)}":{draw.choice(WRONG)}{comma}{text[start:]}'


def twice(text: str, draw: Draw) -> str:
    """A key of the outer object stands there twice; the last one counts."""
    document = json.loads(text)
    if not isinstance(document, dict) or not document:
        return f"{text}{text}"
    again = f"{json.dumps(draw.in_turn(list(document)))}:{draw.choice(WRONG)}"
    inner = json.dumps(document)[1:-1]
    return f"{{{inner},{again}}}" if draw.random() < 0.7 else f"{{{again},{inner}}}"


def deep(text: str, draw: Draw) -> str:
    """Nested beyond what a recursive reader can hold: a value, or the whole, or never closed."""
    whole = (DEEP_LIST, DEEP_OBJECT, "[" * DEPTH, '{"a":' * DEPTH, f'{{"a":{DEEP_LIST}}}', f"[{text},{DEEP_LIST}]")
    if draw.number % 2:
        return draw.in_turn(whole)
    return replaced(text, draw.in_turn(list(paths(json.loads(text)))), draw.choice((DEEP_LIST, DEEP_OBJECT)))


def top(text: str, draw: Draw) -> str:
    """The whole is a value of another kind."""
    return draw.in_turn((*WRONG, "", " ", f"[{text}]", json.dumps(text), f"{text}{text}", f"{text} x"))


def torn(text: str, draw: Draw) -> str:
    borders = [found.start() for found in re.finditer(r'[{}\[\]",:]', text)]
    return text[: draw.choice(borders) + draw.choice((0, 1))]


def syntax(text: str, draw: Draw) -> str:
    """What other languages and careless people write."""
    return draw.in_turn(
        (
            text.replace('"', "'"),
            re.sub(r"\}\s*$", ",}", text),
            "// a comment\n" + text,
            text.replace(":", "=", 1),
            re.sub(r'"(\w+)":', r"\1:", text),
            text.replace(",", "", 1),
            re.sub(r": ?(\d)", r": 0\1", text, count=1),
            re.sub(r": ?\d+", ": 0x10", text, count=1),
            text.replace('"', '"\x1b\x07', 1),
            text.replace('"', '"\n', 1),
            text.replace('"', r'"\q', 1),
            text.replace('"', r'"\ud800', 1),
        )
    )


JSON = {
    function.__name__: function for function in (wrong_value, scaled, missing, extra, twice, deep, top, torn, syntax)
}


def encoding(text: str, draw: Draw) -> bytes:
    """Bytes that are not the UTF-8 which they should be."""
    accented = text.replace("a", "é", 3)
    return draw.in_turn(
        (
            text.encode("utf-8-sig"),
            text.encode("utf-16"),
            text.encode("utf-16-le"),
            text.encode("utf-16-be"),
            text.encode("utf-32"),
            accented.encode("latin-1", "replace"),
            accented.encode("cp1252", "replace"),
            text.encode().replace(b"a", b"\xff", 1),
            text.encode().replace(b"a", b"\xed\xa0\x80", 1),
            text.encode().replace(b"a", b"\x00", 1),
            text.encode() + b"\x00",
            text.encode("utf-8-sig").decode().encode("utf-8-sig"),
        )
    )


ENCODED = {"encoding": encoding}
