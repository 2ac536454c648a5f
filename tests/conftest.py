"""Loads the pack as ComfyUI does: by file, under a name of its own, with nothing put on sys.path."""

import importlib.util
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# `python -m pytest` puts this folder on sys.path, where our nodes/ would pass for ComfyUI's nodes.py.
sys.path[:] = [p for p in sys.path if Path(p).resolve() != ROOT]

if "acestep_pack" not in sys.modules:
    spec = importlib.util.spec_from_file_location("acestep_pack", ROOT / "__init__.py")
    sys.modules["acestep_pack"] = pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)

# Test files cannot import one another; what those of comfyui/ and nodes/ share is imported by this name.
if "comfyui_tests" not in sys.modules:
    sys.modules["comfyui_tests"] = package = types.ModuleType("comfyui_tests")
    package.__path__ = [str(ROOT / "tests" / "comfyui")]
