"""Mutations of the patterns in an adapter's settings: of the wrong kind, no patterns, or ones that take for ever."""

import json

from .draw import Draw

_KEYS = (
    *(
        "(l+)+x",
        "(a|a)*$",
        "(.*)*x",
        "(.+)+Z",
        r"(([a-z_]+)\.?)+[A-Z]",
        r"(\w|\d|_)*!",
        ".*.*.*.*.*.*.*.*Z",
        "(",
        "[",
        "*",
    ),
    *("", ".*", "(?P<x>", "(" * 5000, f"{'(' * 500}l{')*' * 500}Z", "(?:l{0,1000}){0,1000}Z", "l" * 200_000, "\ud800"),
    *("layers.0.self_attn.q_proj", "q_proj", r"layers\.\d+\.self_attn\.q_proj", "^", "$", r"\Z", "(?i)Q_PROJ", r"\1"),
)
_VALUES = ("2", "null", "true", '"x"', "[1]", "{}", "0", "-1", "NaN", "Infinity", "1e308", f"1{'0' * 400}", "0.5")
_WHOLES = ("[]", '"(l+)+x"', "3", "true", '["q_proj"]', '[["q_proj", 2]]', '{"a": {"b": 1}}', '"{}"', "1e308")


def pattern(text: str, draw: Draw) -> str:
    """alpha_pattern or rank_pattern is another, with or without an alpha for all modules."""
    config = json.loads(text)
    where = draw.choice(("alpha_pattern", "rank_pattern"))
    config[where] = "mutant@here"
    if draw.random() < 0.3:
        config["lora_alpha"] = None
    if draw.random() < 0.3:
        config["r"] = 0
    raw = draw.in_turn((*(f"{{{json.dumps(key)}: {draw.choice(_VALUES)}}}" for key in _KEYS), *_WHOLES))
    return json.dumps(config).replace('"mutant@here"', raw)


PATTERNS = {"pattern": pattern}
