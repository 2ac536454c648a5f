"""How to install what an optional feature needs: the packages of an extra, by name. The library itself may lie
anywhere, and no index of packages need know it, so nobody is told to install it again.
"""

import importlib.metadata
import re
import shlex
import sys
import tomllib
from pathlib import Path

NAME = "acestep-cascade"
_CHECKOUT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def install_command(extra: str) -> str:
    """The pip command, for the Python that runs, that brings the packages of an extra."""
    return " ".join([shlex.quote(sys.executable), "-m pip install", *map(shlex.quote, packages_of(extra))])


def packages_of(extra: str) -> list[str]:
    """Requirements such as `ray>=2.40`: of the checkout, else of the installed package. Raises KeyError if there is no
    such extra.
    """
    try:
        known = tomllib.loads(_CHECKOUT.read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):  # beside an installed package lies no checkout, and maybe another's file
        known = {}
    if known.get("name") == NAME:
        return known["optional-dependencies"][extra]
    found = [_of_extra(line) for line in importlib.metadata.requires(NAME) or ()]
    if packages := [package for name, package in filter(None, found) if name == extra]:
        return packages
    raise KeyError(extra)


def _of_extra(requirement: str) -> tuple[str, str] | None:
    """(extra, package) of a line such as `ray>=2.40; extra == "cluster"`; None of one that is always needed."""
    match = re.fullmatch(r"(.+?)\s*;.*\bextra\s*==\s*['\"]([\w-]+)['\"].*", requirement)
    return (match[2], match[1].strip()) if match else None
