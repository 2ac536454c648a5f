"""Fields of requests in JSON, checked one by one: of the right kind, within bounds, and known."""

import re
from collections.abc import Collection, Mapping

from ..errors import UserError, did_you_mean, shown

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def name_of(given: Mapping, field: str) -> str:
    """A name that may be that of a file or folder here, and leads nowhere else. Raises UserError."""
    value = given.get(field)
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise UserError(f"{field}: got {shown(value)}, expected a name of letters, digits, - and _, such as my-style")
    return value


def text_of(given: Mapping, field: str, longest: int = 200) -> str | None:
    """A text; None where there is none. Raises UserError."""
    value = given.get(field)
    if value is not None and (not isinstance(value, str) or len(value) > longest):
        raise UserError(f"{field}: got {shown(value)}, expected a text of at most {longest} characters")
    return value or None


def check_fields(given: Mapping, known: Collection[str]) -> None:
    """Raises UserError for a field that is not known."""
    if unknown := sorted(str(name) for name in set(given) - set(known)):
        raise UserError(f"request: unknown field {shown(unknown[0])}{did_you_mean(unknown[0], known)}")


def object_of(given: Mapping, name: str) -> Mapping:
    """An object among the fields; an empty one where there is none. Raises UserError."""
    value = given.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{name}: got {shown(value)}, expected an object")
    return value


def flag_of(given: Mapping, name: str, usual: bool) -> bool:
    """True or false. Raises UserError for anything else."""
    value = given.get(name)
    if not isinstance(value, bool | None):
        raise UserError(f"{name}: got {shown(value)}, expected true or false")
    return usual if value is None else value


def whole_of(given: Mapping, name: str, low: int, high: int, usual: int) -> int:
    """A whole number from `low` to `high`. Raises UserError."""
    value = given.get(name)
    if value is None:
        return usual
    if type(value) is not int or not low <= value <= high:
        raise UserError(f"{name}: got {shown(value)}, expected a whole number from {low} to {high}")
    return value


def number_of(given: Mapping, name: str, low: float, high: float, usual: float) -> float:
    """A number from `low` to `high`. Raises UserError."""
    value = given.get(name)
    if value is None:
        return usual
    if type(value) not in (int, float) or not low <= value <= high:
        raise UserError(f"{name}: got {shown(value)}, expected a number from {low:g} to {high:g}")
    return float(value)
