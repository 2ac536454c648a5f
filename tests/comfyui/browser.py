"""ComfyUI's real front end in a headless Chromium, driven by browser.mjs."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfyui_tests.install import node_modules

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
DRIVER = Path(__file__).with_name("browser.mjs")

# Node type -> widget -> its value; a number is the most that it may be, {"exactly": 3} is set.
Changes = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True)
class Browser:
    node: str
    chromium: str
    modules: Path

    def open(
        self,
        url: str,
        *files: Path,
        timeout: float = 900,
        run: bool | Mapping[str, Changes] = False,
        options: Sequence[str] = (),
    ) -> dict[str, dict]:
        """Opens each workflow, in UI or API format, one after the other: what browser.mjs reports, by file name.

        `run`: presses Run, in all of them or in those that are named, with the widgets changed as told.
        """
        running = {file.name: {} for file in files} if run is True else run or {}
        command = [self.node, str(DRIVER), url, *map(str, files), "--run", json.dumps(running), *options]
        paths = [str(self.modules), *filter(None, [os.environ.get("NODE_PATH")])]
        environment = os.environ | {"NODE_PATH": os.pathsep.join(paths), "CHROMIUM": self.chromium}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
        if done.returncode:
            raise RuntimeError(f"browser.mjs: {done.stderr[-3000:]}")
        return json.loads(done.stdout)


def find_browser() -> Browser | str:
    """The browser, or what is missing."""
    node = shutil.which("node")
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    modules = node_modules()
    for thing, name in ((node, "node"), (chromium, "chromium"), (modules, "npm's playwright-core")):
        if thing is None:
            return f"{name} is not here"
    return Browser(node, chromium, modules)
