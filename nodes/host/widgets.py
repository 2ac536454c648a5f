"""Values of widgets as ComfyUI hands them to a node."""

from collections.abc import Iterable

from ...acestep_core.errors import UserError


def check_choice(name: str, given: object, options: Iterable[str]) -> str | None:
    """The error for the value of a DynamicCombo, None if it can be read. ComfyUI gives a dict of the choice and its
    widgets; for an unknown choice it gives None, and for a link the bare value.
    """
    if isinstance(given, dict):
        return None
    return f"{name}: expected one of {', '.join(options)}, chosen on the node; it cannot come through a link"


def chosen(name: str, given: object, options: Iterable[str]) -> dict:
    """A DynamicCombo's choice with its widgets. Raises UserError."""
    if wrong := check_choice(name, given, options):
        raise UserError(wrong)
    return given
