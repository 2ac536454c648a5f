"""A ComfyUI server of the tests' own: everything it reads and writes lies in one scratch folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from comfyui_tests.client import Comfy
from comfyui_tests.install import ROOT, interpreter

PACK = "acestep-cascade"
START_SECONDS = 240


class StartFailed(Exception):
    pass


class Server:
    """ComfyUI on the CPU with this pack in it, offline. Below `base` lie its folders: models, input, output.

    `frontend`: the static files of another front end than that which this ComfyUI pins; `packs`: folders of further
    packs, which are copied, as packs may write into their folders.
    """

    def __init__(self, comfyui: Path, base: Path, frontend: Path | None = None, packs: Sequence[Path] = ()):
        self.comfyui, self.base, self.log, self.frontend = comfyui, base, base / "server.log", frontend
        self._lay_out_packs(packs)
        port = _free_port()
        self.client = Comfy(f"http://127.0.0.1:{port}")
        self._process = self._start(port)

    def _lay_out_packs(self, others: Sequence[Path]) -> None:
        packs = self.base / "custom_nodes"
        (packs / "acestep-probe").mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("probe.py"), packs / "acestep-probe" / "__init__.py")
        (packs / PACK).symlink_to(ROOT, target_is_directory=True)
        for other in others:
            shutil.copytree(other, packs / other.name)

    def _start(self, port: int) -> subprocess.Popen:
        command = [interpreter(), "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port)]
        # The cache forgets where less memory than this is free (GB), and tests ask what is run again.
        command += ["--disable-auto-launch", "--disable-api-nodes", "--log-stdout", "--cache-ram", "0.5"]
        command += ["--base-directory", str(self.base), "--database-url", "sqlite:///:memory:"]
        command += ["--front-end-root", str(self.frontend)] if self.frontend else []
        environment = os.environ | {"HF_HUB_OFFLINE": "1"}
        with self.log.open("wb") as log:
            return subprocess.Popen(
                command, cwd=self.comfyui, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait(self) -> None:
        """Until it answers. Raises StartFailed."""
        deadline = time.monotonic() + START_SECONDS
        while not self.client.answers():
            if self._process.poll() is not None:
                raise StartFailed(f"ComfyUI ended with exit code {self._process.returncode}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise StartFailed(f"ComfyUI did not answer within {START_SECONDS} s:\n{self.log_tail()}")
            time.sleep(0.2)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def log_tail(self, lines: int = 60) -> str:
        return "\n".join(self.log_text().splitlines()[-lines:])

    def state(self) -> dict:
        """`loaded`: the models that ComfyUI holds in memory; `imported`: heavy packages that are imported."""
        return self.client.get_json("/acestep-tests/state")

    def our_models(self) -> list[dict]:
        """Those of the loaded models that are this pack's."""
        return [model for model in self.state()["loaded"] if PACK in model["module"]]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
