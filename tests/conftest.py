"""Loads the pack as ComfyUI does: by file, under a name of its own, with nothing put on sys.path."""

import importlib.util
import os
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# `python -m pytest` puts this folder on sys.path, where our nodes/ would pass for ComfyUI's nodes.py.
sys.path[:] = [p for p in sys.path if Path(p).resolve() != ROOT]

os.environ["ACESTEP_CACHE"] = "off"  # one run's text is no other's

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    # Threads beyond the cores wait for one another; processes that tests start inherit it.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

if "acestep_pack" not in sys.modules:
    spec = importlib.util.spec_from_file_location("acestep_pack", ROOT / "__init__.py")
    sys.modules["acestep_pack"] = pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)

# Test files cannot import one another; what those of a folder share goes by these names.
for folder in ("comfyui", "core", "mutations", "workflows"):
    if f"{folder}_tests" not in sys.modules:
        sys.modules[f"{folder}_tests"] = package = types.ModuleType(f"{folder}_tests")
        package.__path__ = [str(ROOT / "tests" / folder)]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file stays in one process with `-n`, and those that talk to a running ComfyUI share one.

    Two parts of them have a process and a server of their own: the workflows, which take longest, and all that is seen
    in the newest front end.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.split("::")[0]
            if not file.startswith("tests/comfyui/"):
                return file
            if "[newest, " in nodeid:
                return "tests/comfyui: newest"
            return file if file.endswith("/test_workflows.py") else "tests/comfyui"

    config.option.loadscopereorder = False  # by numbers of tests: slow files have few, and would come last
    return ByFile(config, log)
