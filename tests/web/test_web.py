"""The web extension's own tests, run by node."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def test_web_extension():
    node = shutil.which("node")
    if node is None:
        reason = "no node; install Node.js for the tests of the web extension"
        if os.environ.get("ACESTEP_REQUIRE_COMFYUI") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    files = sorted(Path(__file__).parent.glob("*.test.mjs"))
    done = subprocess.run([node, "--test", *map(str, files)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
