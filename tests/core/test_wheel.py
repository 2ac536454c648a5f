"""What is published: a source distribution, and the wheel that is made of it, installed and played."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGE = ROOT / "acestep_core"
BESIDE_IT = ("pyproject.toml", "requirements.txt", "README.md", "LICENSE")
OFFLINE = ["--no-index", "--no-deps", "--disable-pip-version-check", "--quiet"]

pytestmark = pytest.mark.slow


def run(*command, folder, **environment):
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """What the sdist holds, laid out; made in a copy, for setuptools writes beside what it reads."""
    folder = tmp_path_factory.mktemp("source")
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in BESIDE_IT:
        shutil.copy(ROOT / name, folder)
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", build, folder / "dist", folder=folder)
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        packed.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return unpacked


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", *OFFLINE, "--no-build-isolation", "-w", folder, source, folder=folder)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", *OFFLINE, "--target", folder, wheel, folder=folder)
    return folder


def files(root):
    found = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(root.parent).as_posix() for path in found}


def test_the_wheel_holds_the_library_whole_and_nothing_else(wheel):
    assert wheel.name == f"acestep_cascade-{PROJECT['version']}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as packed:
        held = {name for name in packed.namelist() if ".dist-info/" not in name}
    assert held == files(PACKAGE)


def test_the_sdist_holds_what_the_project_is_built_from(source):
    assert files(PACKAGE) <= {name.split("/", 1)[1] for name in files(source)}
    for name in BESIDE_IT:
        assert (source / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_wheel_makes_a_song(installed, tmp_path):
    alone = {"PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    where = run(sys.executable, "-c", "import acestep_core; print(acestep_core.__file__)", folder=tmp_path, **alone)
    assert Path(where.strip()).parent == installed / PACKAGE.name
    asked = ["generate", "lo-fi beat", "--seconds", "10", "--seed", "3", "-o", "song.flac"]
    run(sys.executable, "-m", "acestep_core", *asked, folder=tmp_path, **alone)
    samples, rate_hz = soundfile.read(tmp_path / "song.flac")
    assert len(samples) == pytest.approx(10 * rate_hz, rel=0.01) and samples.std() > 0.01


def test_the_command_tells_the_projects_version(installed, tmp_path):
    command = installed / "bin" / "acestep-cascade"
    told = run(command, "--version", folder=tmp_path, PYTHONPATH=str(installed))
    assert told == f"acestep-cascade {PROJECT['version']}\n"
