"""The pack in a running ComfyUI, before any of its nodes has run."""

import json
import re
import subprocess
import urllib.error
from itertools import pairwise

import pytest
from comfyui_tests.install import ROOT, interpreter
from comfyui_tests.server import PACK


@pytest.fixture(scope="module")
def our_nodes(node_info):
    ours = {name: node for name, node in node_info.items() if node["python_module"] == f"custom_nodes.{PACK}"}
    assert ours, "the pack did not load"
    return ours


def test_pack_loads_without_an_error_in_the_log(server, our_nodes):
    log = server.log_at_start
    assert "Traceback" not in log
    assert [line for line in log.splitlines() if PACK in line and re.search(r"ERROR|WARNING|FAILED", line)] == []


def test_starting_imports_no_network_library(server, our_nodes):
    # transformers is imported by ComfyUI itself.
    assert set(server.state_at_start["imported"]) <= {"transformers"}


def test_node_ids_have_the_packs_prefix(our_nodes):
    assert [name for name in our_nodes if not name.startswith("AceStep")] == []
    assert [name for name, node in our_nodes.items() if not node["category"].startswith("ACE-Step")] == []


def test_every_node_and_every_input_is_explained(our_nodes):
    assert [name for name, node in our_nodes.items() if not node["description"].strip()] == []
    bare = [f"{name}.{path}" for name, node in our_nodes.items() for path, spec in _inputs(node) if not _tooltip(spec)]
    assert bare == []


def _inputs(node, prefix=""):
    """(path, spec) of every input, also of those that a choice of a dynamic combo brings."""
    for group in ("required", "optional"):
        for name, spec in node.get("input", node).get(group, {}).items():
            yield prefix + name, spec
            for option in _options(spec):
                if isinstance(option, dict):
                    yield from _inputs(option["inputs"], f"{prefix}{name}={option['key']}.")


def _options(spec):
    return spec[1].get("options", ()) if len(spec) > 1 else ()


def _tooltip(spec):
    # The player is no input that a user sees.
    return spec[0] == "AUDIO_UI" or (len(spec) > 1 and spec[1].get("tooltip", "").strip())


def test_every_node_has_a_help_page_that_names_its_widgets(comfy, our_nodes):
    for name, node in our_nodes.items():
        page = comfy.get(f"/extensions/{PACK}/docs/{name}.md").decode().lower()
        widgets = [path.rsplit(".", 1)[-1] for path, spec in _inputs(node) if _is_widget(spec)]
        unnamed = [widget for widget in widgets if not {widget, widget.replace("_", " ")} & _words(page)]
        assert unnamed == [], f"web/docs/{name}.md"


def _is_widget(spec):
    return isinstance(spec[0], list) or spec[0] in (
        "INT",
        "FLOAT",
        "STRING",
        "BOOLEAN",
        "COMBO",
        "COMFY_DYNAMICCOMBO_V3",
    )


def _words(page):
    """Single words of a page, and pairs of words that follow one another."""
    words = re.findall(r"\w+", page)
    return {*words, *(f"{one} {two}" for one, two in pairwise(words))}


def test_every_help_page_has_a_node(our_nodes):
    assert {page.stem for page in (ROOT / "web" / "docs").glob("*.md")} == set(our_nodes)


IMPORT_PACK = """
import asyncio, importlib.util, json, sys

pack, comfyui = sys.argv[1:]
sys.argv = ["main.py", "--cpu"]
sys.path.insert(0, comfyui)
import comfy.options
comfy.options.enable_args_parsing()
import torch, comfy_api.latest, comfy.model_management, comfy.model_patcher, comfy.utils, folder_paths, server

def load(name):
    spec = importlib.util.spec_from_file_location(name, pack + "/__init__.py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return asyncio.run(module.comfy_entrypoint())

before = set(sys.modules)
extension = load("first_pack")
asyncio.run(extension.get_node_list())
print(json.dumps(sorted({name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))))
"""


def test_importing_the_pack_brings_nothing_along(server, our_nodes):
    command = [interpreter(), "-c", IMPORT_PACK, str(ROOT), str(server.comfyui)]
    done = subprocess.run(command, cwd=server.comfyui, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["first_pack"]


def test_stretch_route_tells_the_times_of_a_stage(comfy):
    told = comfy.get_json("/acestep-cascade/stretch", slot="L", model="tiny-l", steps=0, shift=0)
    assert told["times"][0] == 1.0 and sorted(told["times"], reverse=True) == told["times"]
    assert len(told["times"]) == told["steps"] + 1
    chosen = comfy.get_json("/acestep-cascade/stretch", slot="M", model="tiny-m", steps=2, shift=1, start=0.8, end=0.4)
    assert chosen["times"] == pytest.approx([0.8, 0.6, 0.4])


@pytest.mark.parametrize(
    "query",
    [
        {"slot": "L", "model": "../../secret", "steps": 0, "shift": 0},
        {"slot": "L", "model": "tiny-l", "steps": 0, "shift": 0, "start": 0.2, "end": 0.6},
        {"slot": "X", "model": "tiny-l", "steps": 0, "shift": 0},
        {"slot": "L", "model": "tiny-l", "steps": "many", "shift": 0},
        {"slot": "L"},
    ],
)
def test_stretch_route_tells_a_mistake_in_one_line(comfy, query):
    with pytest.raises(urllib.error.HTTPError) as caught:
        comfy.get("/acestep-cascade/stretch", **query)
    assert caught.value.code == 400
    error = json.loads(caught.value.read())["error"]
    assert error and "\n" not in error
