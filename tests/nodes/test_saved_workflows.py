"""Workflows saved by earlier versions of the pack: the nodes still take every input and value in them.

`tests/compat/workflows/` holds them in the format of the front end, `api/` below it as the front end queued them.
"""

import json

import pytest
from acestep_pack import nodes as pack
from comfyui_tests.install import ROOT

FOLDER = ROOT / "tests" / "compat" / "workflows"
NAMES = sorted(path.name for path in FOLDER.glob("*.json"))
OURS = "AceStep"
SEED_CONTROL = ("fixed", "increment", "decrement", "randomize")  # a widget that the front end adds to a seed


@pytest.fixture
def known(comfy_models):
    """Node id -> what ComfyUI's server says about the node."""
    return {node.GET_SCHEMA().node_id: node.GET_NODE_INFO_V1() for node in pack.NODES}


def workflow(name):
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def queued(name):
    return json.loads((FOLDER / "api" / name).read_text(encoding="utf-8"))


def our_nodes(name):
    return [node for node in workflow(name)["nodes"] if node["type"].startswith(OURS)]


def inputs_of(node, values, prefix=""):
    """(name, spec) of each input in the order of the schema, with those that the chosen options bring."""
    for group in ("required", "optional"):
        for name, spec in node.get(group, {}).items():
            yield prefix + name, spec
            for option in spec[1].get("options", ()) if len(spec) > 1 else ():
                if isinstance(option, dict) and option["key"] == values.get(prefix + name):
                    yield from inputs_of(option["inputs"], values, f"{prefix}{name}.")


def accepts(spec, value):
    kind, limits = spec[0], spec[1] if len(spec) > 1 else {}
    if kind in ("INT", "FLOAT"):
        return isinstance(value, int | float) and limits.get("min", value) <= value <= limits.get("max", value)
    if kind in ("STRING", "BOOLEAN"):
        return isinstance(value, str if kind == "STRING" else bool)
    options = kind if isinstance(kind, list) else limits["options"]
    return value in [option["key"] if isinstance(option, dict) else option for option in options]


def test_the_workflows_are_there():
    assert len(NAMES) == 11
    assert sorted(path.name for path in (FOLDER / "api").glob("*.json")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_sockets_are_what_they_were(name, known):
    """Links are saved by the position of an output and the name of an input."""
    for node in our_nodes(name):
        info = known[node["type"]]
        kinds = dict(inputs_of(info["input"], {}))
        for socket in node["inputs"]:
            assert socket["type"] == kinds[socket["name"]][0], (node["type"], socket["name"])
        saved = [socket["type"] for socket in node["outputs"]]
        assert list(info["output"])[: len(saved)] == saved, node["type"]


@pytest.mark.parametrize("name", NAMES)
def test_widgets_are_in_their_places(name, known):
    """Values are saved by position: a new widget may only come after those that were there."""
    for node in our_nodes(name):
        values = node.get("widgets_values_named", {})
        saved = [key for key in values if key not in SEED_CONTROL]
        sockets = {socket["name"] for socket in node["inputs"]}
        now = [key for key, _ in inputs_of(known[node["type"]]["input"], values) if key not in sockets]
        assert now[: len(saved)] == saved, node["type"]


@pytest.mark.parametrize("name", NAMES)
def test_values_are_accepted(name, known):
    for node in queued(name).values():
        if not node["class_type"].startswith(OURS):
            continue
        values = {key: value for key, value in node["inputs"].items() if not isinstance(value, list)}
        specs = dict(inputs_of(known[node["class_type"]]["input"], values))
        refused = {key: value for key, value in values.items() if not accepts(specs[key], value)}
        assert refused == {}, node["class_type"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_is_required_is_missing(name, known):
    for node in queued(name).values():
        if node["class_type"].startswith(OURS):
            required = known[node["class_type"]]["input"]["required"]
            assert set(required) <= set(node["inputs"]), node["class_type"]
