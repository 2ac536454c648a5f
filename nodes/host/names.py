"""The beginning of a file's name, as a user writes it on a node -> one that any system can hold.

%date:yyyy-MM-dd% and %Node.widget% are filled in by the rules of ComfyUI's front end, which does so for core's nodes
only; %year% and its like are ComfyUI's server's own.
"""

import datetime
import json
import re
from collections.abc import Iterator

NAME_BYTES_MOST = 200  # of 255 that file systems hold: a number and an ending follow
_TOKEN = re.compile(r"%([^%]+)%")
_OF_THE_SERVER = {"width", "height", "year", "month", "day", "hour", "minute", "second", "batch_num"}
_DATE_PART = re.compile(r"dd?|MM?|hh?|mm?|ss?|yyy?y?")
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f\x7f]')  # by Windows, in a file's or folder's name
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[\d¹²³]|lpt[\d¹²³])(?=\.|$)", re.IGNORECASE)  # by Windows, for devices


def filled(prefix: str, prompt: dict | None, workflow: dict | None) -> tuple[str, list[str]]:
    """The prefix with its tokens filled in, and the tokens for which there is no node, widget or value."""
    now, unknown = datetime.datetime.now().astimezone(), []

    def value(token: re.Match) -> str:
        text = token[1]
        if text.startswith("date:"):
            return _date(text.removeprefix("date:"), now)
        found = None if text in _OF_THE_SERVER else _widget(text, prompt or {}, workflow or {})
        if found is None and text not in _OF_THE_SERVER:
            unknown.append(token[0])
        return token[0] if found is None else found

    return _TOKEN.sub(value, prefix), unknown


def _date(form: str, now: datetime.datetime) -> str:
    numbers = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}

    def part(match: re.Match) -> str:
        name = match[0]
        if name[0] == "y":
            return {"yy": f"{now.year:04}"[2:], "yyyy": str(now.year)}.get(name, name)
        return str(numbers[name[0]]).zfill(len(name))

    return _DATE_PART.sub(part, form)


def _widget(token: str, prompt: dict, workflow: dict) -> str | None:
    """The value of a node's widget, without characters that separate names; None where there is none."""
    for names in _names(prompt, workflow):
        for node_id, name in names.items():
            value = prompt[node_id].get("inputs", {}).get(token.removeprefix(f"{name}."))
            if name and token.startswith(f"{name}.") and isinstance(value, str | int | float):
                return re.sub(r"[/\\]", "_", _FORBIDDEN.sub("_", _text(value)))
    return None


def _names(prompt: dict, workflow: dict) -> Iterator[dict[str, str]]:
    """Node id -> the node's name in a token, in order of priority: as in the front end, the name for search and
    replace, then the title; then the class, for prompts without a workflow.
    """
    drawn = {str(node.get("id")): node for node in workflow.get("nodes", ()) if isinstance(node, dict)}
    yield {one: (drawn.get(one, {}).get("properties") or {}).get("Node name for S&R") for one in prompt}
    yield {one: drawn.get(one, {}).get("title") for one in prompt}
    yield {one: (node.get("_meta") or {}).get("title") for one, node in prompt.items()}
    yield {one: node.get("class_type") for one, node in prompt.items()}


def _text(value: str | int | float) -> str:
    if isinstance(value, bool | float):
        value = int(value) if isinstance(value, float) and value.is_integer() else value
        return json.dumps(value)
    return str(value)


def portable(prefix: str) -> str:
    """The prefix with names that Windows, macOS and Linux can hold; / and \\ separate folders."""
    return "/".join(map(_portable_name, prefix.replace("\\", "/").split("/")))


def _portable_name(name: str) -> str:
    if name in ("", ".", ".."):
        return name
    short = _FORBIDDEN.sub("_", name).encode(errors="ignore")[:NAME_BYTES_MOST].decode(errors="ignore")
    return _RESERVED.sub(r"\1_", short.rstrip(". ") or "_")
