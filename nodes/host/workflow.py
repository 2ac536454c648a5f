"""The workflow that a node runs in: for the tags of files, and for facts about the nodes around a node."""

import json
from collections.abc import Iterator

from comfy.cli_args import args

from ...acestep_core.spec import MAX_SECONDS, MIN_SECONDS


def workflow_tags(hidden) -> dict[str, str]:
    """The prompt and workflow that a node ran in, as tags in which the front end finds them when a file is dropped.

    The front end reads them as plain ASCII from flac, mp3, ogg and opus, and not at all from wav. Of ogg and opus it
    reads the first 64 kB. The workflow comes last, to be cut off first: the prompt alone can be laid out as a graph.
    """
    if args.disable_metadata:
        return {}
    others = hidden.extra_pnginfo or {}
    found = {"prompt": hidden.prompt, **{name: others[name] for name in sorted(others, key="workflow".__eq__)}}
    return {name: json.dumps(value, separators=(",", ":")) for name, value in found.items() if value is not None}


def song_seconds(prompt: dict | None, node_id: str) -> list[float]:
    """`seconds` of the Song nodes whose songs are made with a node. A length through a link is left out, and one that
    no song can have, which the Song node refuses.

    A Song node counts if it is upstream of this node, or of a node downstream of this one.
    """
    links = {one: set(_linked(node)) for one, node in (prompt or {}).items()}
    takers = _closure({str(node_id)}, {one: {taker for taker, given in links.items() if one in given} for one in links})
    around = (prompt[one] for one in _closure(takers, links) if one in links)
    lengths = (node["inputs"].get("seconds") for node in around if node.get("class_type") == "AceStepSong")
    numbers = (length for length in lengths if isinstance(length, int | float))
    return [length for length in numbers if MIN_SECONDS <= length <= MAX_SECONDS]  # NaN is not


def _linked(node: dict) -> Iterator[str]:
    """Ids of the nodes from which a node's inputs come."""
    for given in node.get("inputs", {}).values():
        if isinstance(given, list) and len(given) == 2:
            yield str(given[0])


def _closure(start: set[str], onward: dict[str, set[str]]) -> set[str]:
    found, new = set(start), set(start)
    while new:
        new = {far for near in new for far in onward.get(near, ())} - found
        found |= new
    return found
