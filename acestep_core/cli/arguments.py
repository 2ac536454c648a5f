"""Parsers of argument values that several commands take: one value, or one for each stage, separated by commas."""

import argparse

from ..song import AUTO


def numbers(kind: type):
    """A parser of "3" or "3,3,2": one number, or a tuple of them."""

    def parse(text: str):
        try:
            values = tuple(kind(part) for part in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected numbers such as 3 or 3,3,2") from None
        return values[0] if len(values) == 1 else values

    return parse


def length(text: str) -> float | str:
    """A number of seconds, or "auto"."""
    try:
        return AUTO if text.strip().lower() == AUTO else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid float value: {text!r}, expected seconds or auto") from None


def texts(text: str) -> str | tuple[str, ...]:
    """One text, or a tuple of the texts between commas."""
    values = tuple(part.strip() for part in text.split(","))
    return values[0] if len(values) == 1 else values


def several(kind: type):
    """A parser of "0.8333,0.5": a tuple, also of one value."""

    def parse(text: str) -> tuple:
        value = numbers(kind)(text)
        return value if isinstance(value, tuple) else (value,)

    return parse
