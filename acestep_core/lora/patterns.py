"""PEFT's rank_pattern and alpha_pattern: values by the names of layers, or by regular expressions.

A key holds for layers of that name, and for layers with names that end in it after a dot. PEFT takes every key for a
regular expression; as a file is a stranger's, only expressions that match in bounded time are read here.
"""

import math
import re
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ..errors import UserError

_NAME = re.compile(r"[\w.-]+", re.ASCII)
_ATOM = r"(?:[\w.-]|\\[.dw]|\[[\w-]+\])"
# No repeated part contains a repetition, so the time grows at most with the square of a name's length.
_SAFE = re.compile(rf"\^?(?:{_ATOM}[*+?]?|\((?:\?:)?{_ATOM}+(?:\|{_ATOM}+)*\)\??)+\$?", re.ASCII)
_REPETITIONS_MAX, _KEY_LENGTH_MAX, _EXPRESSIONS_MAX = 2, 200, 32
_SECONDS_MAX = 2.0  # for all layers of an adapter


class Patterns:
    """Numbers by layer. Raises UserError, with the place first, for values or keys that cannot be read."""

    def __init__(self, values: object, place: str):
        if not isinstance(values, Mapping):
            raise UserError(f"{place}: is a {type(values).__name__}, expected an object of numbers by layer")
        self._place, self._left_seconds = place, _SECONDS_MAX
        self._values = tuple(finite(value, f"{place}: {key[:80]!r}") for key, value in values.items())
        self._names: Mapping[str, int] = MappingProxyType(
            {key: index for index, key in enumerate(values) if _NAME.fullmatch(key)}
        )
        self._expressions = tuple(
            (index, self._expression(key)) for index, key in enumerate(values) if key not in self._names
        )
        if len(self._expressions) > _EXPRESSIONS_MAX:
            raise UserError(f"{place}: has {len(self._expressions)} patterns, expected at most {_EXPRESSIONS_MAX}")

    def __bool__(self) -> bool:
        return bool(self._values)

    def value(self, names: Iterable[str]) -> float | None:
        """The value of the first key that holds for one of a layer's names; None where none does."""
        names = tuple(names)
        found = [self._names[end] for name in names for end in _ends(name) if end in self._names]
        found += [index for index, expression in self._expressions if self._matches(expression, names)]
        return self._values[min(found)] if found else None

    def _expression(self, key: str) -> re.Pattern:
        repetitions = len(re.findall(r"[*+]", key))
        if len(key) > _KEY_LENGTH_MAX or repetitions > _REPETITIONS_MAX or not _SAFE.fullmatch(key):
            raise UserError(
                f"{self._place}: has the pattern {key[:80]!r}, expected the name of a layer, or a pattern with at most "
                f"{_REPETITIONS_MAX} repetitions and no repeated group; write out the layers' names"
            )
        return re.compile(rf"(.*\.)?({key})")

    def _matches(self, expression: re.Pattern, names: tuple[str, ...]) -> bool:
        start = time.monotonic()
        found = any(expression.fullmatch(name) for name in names if len(name) <= _KEY_LENGTH_MAX)
        self._left_seconds -= time.monotonic() - start
        if self._left_seconds < 0:
            raise UserError(f"{self._place}: its patterns take too long; write out the layers' names")
        return found


def finite(value: object, place: str) -> float:
    """A finite number, which may be written as text. Raises UserError, with the place first."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(
            f"{place}: got {str(value)[:40]!r}, expected a finite number; the file is damaged, get it again"
        )
    return number


def _ends(name: str) -> Iterable[str]:
    """A dotted name, and all of its ends after a dot."""
    parts = name.split(".")
    return (".".join(parts[start:]) for start in range(len(parts)))
