"""What a user installs: the library and nothing else, with bounds that move nobody's torch."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def lines(name):
    return [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]


def test_only_the_library_is_packaged():
    from setuptools import find_packages

    options = PROJECT["tool"]["setuptools"]["packages"]["find"]
    found = find_packages(str(ROOT), include=options["include"])
    assert "acestep_core" in found and "acestep_core.checkpoints" in found
    assert {name.split(".")[0] for name in found} == {"acestep_core"}
    for folder in (path.parent for path in (ROOT / "acestep_core").rglob("*.py")):
        assert ".".join(folder.relative_to(ROOT).parts) in found, f"{folder} has no __init__.py and would be left out"


def test_requirements_are_lower_bounds_and_torch_has_none():
    for requirement in lines("requirements.txt"):
        assert re.fullmatch(r"[a-z_]+(>=[\d.]+)?", requirement)
    assert {"torch", "torchaudio"} <= set(lines("requirements.txt"))
    assert PROJECT["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}


def test_every_requirement_has_a_tested_version():
    pinned = {line.split("==")[0] for line in lines("tests/constraints.txt")}
    needed = lines("requirements.txt") + PROJECT["project"]["optional-dependencies"]["test"]
    assert {re.split(">=", requirement)[0] for requirement in needed} <= pinned


def test_continuous_integration_runs_the_readmes_test_command(tmp_path):
    readme = (ROOT / "README.md").read_text()
    command = re.search(r"<!-- test command -->\n```bash\n(.*?)```", readme, re.DOTALL).group(1)
    assert "python3.11 -m venv" in command and "pytest" in command
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_text((ROOT / ".ci" / "run").read_text())
    marked = readme.replace(command, 'echo "ran" > ran.txt\nfalse\necho "went on" > ran.txt\n')
    (tmp_path / "README.md").write_text(marked)
    done = subprocess.run(["bash", str(tmp_path / ".ci" / "run")], cwd="/", capture_output=True)
    assert done.returncode == 1 and (tmp_path / "ran.txt").read_text() == "ran\n"


@pytest.mark.parametrize("mark", ["first song", "test command"])
def test_the_readmes_commands_set_up_all_they_need(mark):
    command = re.search(rf"<!-- {mark} -->\n```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    first, second, *others = command.strip().splitlines()
    assert first == "python3.11 -m venv .venv" and second.startswith(".venv/bin/pip install -c tests/constraints.txt ")
    assert others and all(line.startswith(".venv/bin/") for line in others)
