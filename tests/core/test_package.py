"""What a user installs: the library and nothing else, with bounds that move nobody's torch."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def lines(name):
    return [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]


REQUIREMENTS = lines("requirements.txt")


def test_only_the_library_is_packaged():
    from setuptools import find_packages

    options = PROJECT["tool"]["setuptools"]["packages"]["find"]
    found = find_packages(str(ROOT), include=options["include"])
    assert "acestep_core" in found and "acestep_core.checkpoints" in found
    assert {name.split(".")[0] for name in found} == {"acestep_core"}
    for folder in (path.parent for path in (ROOT / "acestep_core").rglob("*.py")):
        assert ".".join(folder.relative_to(ROOT).parts) in found, f"{folder} has no __init__.py and would be left out"


def test_requirements_are_lower_bounds():
    bounds = dict(re.fullmatch(r"([a-z_]+)(?:>=([\d.]+))?", requirement).groups() for requirement in REQUIREMENTS)
    assert bounds["torch"] == "2.6"
    assert None not in bounds.values()
    assert "tokenizers" not in bounds  # transformers pins it
    assert PROJECT["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}


def test_the_registry_of_comfyui_finds_what_it_wants():
    known = PROJECT["tool"]["comfy"]
    assert known["DisplayName"] and (ROOT / known["Icon"]).is_file() and "web" not in known
    assert f"version {known['requires-comfyui'].removeprefix('>=')} or newer" in README


def test_the_changelog_knows_the_projects_version():
    changelog = (ROOT / "web" / "docs" / "guides" / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    assert versions[0] == "Unreleased" and versions[1] == PROJECT["project"]["version"]


def test_every_requirement_has_a_tested_version():
    pinned = {line.split("==")[0] for line in lines("tests/constraints.txt")}
    needed = REQUIREMENTS + PROJECT["project"]["optional-dependencies"]["test"]
    assert {re.split(">=", requirement)[0] for requirement in needed} <= pinned


QUICK, SLOW = "test command", "slow tests"


def command(mark):
    return re.search(rf"<!-- {mark} -->\n```bash\n(.*?)```", README, re.DOTALL).group(1)


def continuous_integration(folder, quick, slow):
    """.ci/run beside a README with other commands -> its exit code and what it printed."""
    (folder / ".ci").mkdir()
    (folder / ".ci" / "run").write_text((ROOT / ".ci" / "run").read_text())
    (folder / "README.md").write_text(README.replace(command(QUICK), quick).replace(command(SLOW), slow))
    done = subprocess.run(["bash", str(folder / ".ci" / "run")], cwd="/", capture_output=True, text=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    "quick, slow, code, printed",
    [
        ("echo quick\n", "echo slow\n", 0, "quick\nslow\n"),
        ("echo quick\nfalse\necho went on\n", "echo slow\n", 1, "quick\n"),
        ("echo quick\n", "false\necho went on\n", 1, "quick\n"),
        ("", "echo slow\n", 1, ""),
        ("echo quick\n", "", 1, ""),
    ],
)
def test_continuous_integration_runs_the_readmes_commands(tmp_path, quick, slow, code, printed):
    assert continuous_integration(tmp_path, quick, slow) == (code, printed)


def test_continuous_integration_fails_where_no_test_is_found(tmp_path):
    (tmp_path / "test_quick.py").write_text("def test_it(): pass")
    pytest_there = f"{sys.executable} -m pytest -q -p no:cacheprovider"
    code, printed = continuous_integration(tmp_path, f"{pytest_there}\n", f"{pytest_there} -k slow\n")
    assert code == pytest.ExitCode.NO_TESTS_COLLECTED and "1 passed" in printed


@pytest.mark.parametrize(
    "arguments, run", [([], {"quick"}), (["-m", "slow"], {"slow"}), (["-m", ""], {"quick", "slow"})]
)
def test_slow_tests_are_run_where_they_are_asked_for(tmp_path, arguments, run):
    tests = "import pytest\n\n@pytest.mark.slow\ndef test_slow(): pass\n\ndef test_quick(): pass\n"
    (tmp_path / "test_both.py").write_text(tests)
    there = [f"--rootdir={tmp_path}", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", str(tmp_path)]
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *there, *arguments],
        cwd=tmp_path, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert set(re.findall(r"::test_(\w+)$", listed, re.MULTILINE)) == run


@pytest.mark.parametrize("mark", ["first song", QUICK])
def test_the_readmes_commands_set_up_all_they_need(mark):
    first, second, *others = command(mark).strip().splitlines()
    assert first == "python3.11 -m venv .venv" and second.startswith(".venv/bin/pip install -c tests/constraints.txt ")
    assert others and all(line.startswith(".venv/bin/") for line in others)
