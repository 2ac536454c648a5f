"""Values of widgets as ComfyUI hands them to a node."""

from collections.abc import Iterable

from ...acestep_core.errors import UserError


def check_choice(name: str, given: object, options: Iterable[str]) -> str | None:
    """Why a DynamicCombo cannot be read, if it cannot: ComfyUI gives the choice with its widgets as a dict, None for
    one that it does not know, and a value through a link as it is.
    """
    if isinstance(given, dict):
        return None
    return f"{name}: expected one of {', '.join(options)}, chosen on the node; it cannot come through a link"


def chosen(name: str, given: object, options: Iterable[str]) -> dict:
    """A DynamicCombo's choice with its widgets. Raises UserError."""
    if wrong := check_choice(name, given, options):
        raise UserError(wrong)
    return given
