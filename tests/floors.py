"""Tries the lower bounds of requirements.txt: an environment that holds exactly them, and the quick tests in it.

    python3.11 tests/floors.py [--torch VERSION] [--keep FOLDER] [-- arguments of pytest]

By hand, before a release. Everything goes into a virtual environment of its own, in a temporary folder unless --keep
names one (which is then used as it stands the next time, where its versions are the same). What the tests need beside
the requirements comes in the newest versions that go with them; ComfyUI is left out, for it moves some of them.
Standard library only.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS_AT_ONCE = "2"


def floors(requirements: str) -> dict[str, str]:
    """Name -> lowest version, of the lines `name>=version`; names without a bound are left out."""
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)>=([\w.]+)$", requirements, re.MULTILINE))


def lowest_cpu_build(floor: str) -> str:
    """The lowest torch, `floor` or above, that pip finds as a CPU build; `floor` itself where it knows of none.

    PyPI's builds for Linux bring gigabytes of CUDA. On other systems they are CPU builds, and none is called so.
    """
    listed = _output(sys.executable, "-m", "pip", "index", "versions", "torch")
    builds = re.findall(r"([\d.]+)\+cpu", listed)
    return min((one for one in builds if _numbers(one) >= _numbers(floor)), key=_numbers, default=floor)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def install(folder: Path, wanted: dict[str, str]) -> Path:
    """An environment in `folder` with this project and its tests' packages -> its interpreter."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    constraints = folder / "floors.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in wanted.items()))
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-c", constraints, "-r", ROOT / "requirements.txt", *_test_packages()], check=True)
    subprocess.run([*pip, "check"], check=True)
    return python


def _test_packages() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["optional-dependencies"]["test"]


def run_tests(python: Path, arguments: list[str]) -> int:
    environment = os.environ | {"COMFYUI_PATH": os.devnull, "PYTHONPATH": ""}
    return subprocess.run([python, "-m", "pytest", *arguments], cwd=ROOT, env=environment).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", metavar="VERSION", help="default: the lowest CPU build that pip finds")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="keep the environment here")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest; default: -q -n 2")
    chosen = parser.parse_args()
    wanted = floors((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    wanted["torch"] = chosen.torch or lowest_cpu_build(wanted["torch"])
    with tempfile.TemporaryDirectory() as folder:
        python = install(chosen.keep or Path(folder), wanted)
        return run_tests(python, chosen.pytest or ["-q", "-n", TESTS_AT_ONCE])


if __name__ == "__main__":
    sys.exit(main())
