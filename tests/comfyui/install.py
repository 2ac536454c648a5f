"""Finds ComfyUI, and installs what these tests need of it, on a machine whose torch may be a CPU build.

    python tests/comfyui/install.py

installs into the interpreter that runs it, or into the one that COMFYUI_PYTHON names, the requirements of the ComfyUI
that is found, and into a cache folder npm's playwright-core and the newest release of ComfyUI's front end. ComfyUI is
looked for at COMFYUI_PATH, around this folder where it lies in a custom_nodes, and at ~/ComfyUI. No installed torch,
transformers or numpy is moved. node and a Chromium (CHROMIUM names it where it is not on PATH) are the system's.
Standard library only; the fixtures use this too.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = ROOT / "tests" / "constraints.txt"
PLAYWRIGHT = "playwright-core@1.65.1"
FRONTEND = "comfyui-frontend-package"

# torch and torchaudio are this project's own; torchvision comes through spandrel, in the version that fits torch.
TORCH = {"torch", "torchvision", "torchaudio"}

# torchvision's compiled part is linked against CUDA. Without it two stand-ins for its operators are registered for
# operators that nobody defined, which ends the import; with the definitions, its Python part works.
TORCHVISION_GUARD = "    def _has_ops():  # noqa: F811\n        return True\n"
TORCHVISION_MARK = "# operators defined for a CPU build of torch"
TORCHVISION_PATCH = f"""
else:  {TORCHVISION_MARK}
    for _name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{{_name}}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def find_comfyui() -> Path | None:
    """COMFYUI_PATH, or the ComfyUI whose custom_nodes this folder lies in, or ~/ComfyUI; None if there is none."""
    named = os.environ.get("COMFYUI_PATH")
    places = [Path(named).expanduser()] if named else [ROOT.parents[1], Path.home() / "ComfyUI"]
    return next((place for place in places if (place / "main.py").is_file() and (place / "comfy").is_dir()), None)


def find_distributed(comfyui: Path) -> Path | None:
    """The pack ComfyUI-Distributed: COMFYUI_DISTRIBUTED, or in ComfyUI's custom_nodes; None if it is not there."""
    named = os.environ.get("COMFYUI_DISTRIBUTED")
    place = Path(named).expanduser() if named else comfyui / "custom_nodes" / "ComfyUI-Distributed"
    return place if (place / "distributed.py").is_file() else None


def interpreter() -> str:
    return os.environ.get("COMFYUI_PYTHON") or sys.executable


def requirements(comfyui: Path) -> list[str]:
    """The lines of its requirements.txt that are to be installed."""
    lines = [line.split("#")[0].strip() for line in (comfyui / "requirements.txt").read_text().splitlines()]
    return [line for line in lines if line and name_of(line) not in TORCH]


def name_of(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


def missing(comfyui: Path) -> str | None:
    """What keeps this ComfyUI from starting in the interpreter, in a few words; None if nothing does."""
    installed = installed_versions()
    absent = [line for line in requirements(comfyui) if not _satisfied(line, installed)]
    if absent:
        return f"{interpreter()} lacks {', '.join(absent)}"
    for name in ("torchvision", "torchaudio"):
        if error := import_error(name):
            return f"{interpreter()} cannot import {name} ({error})"
    return None


def _satisfied(requirement: str, installed: dict[str, str]) -> bool:
    # Only exact pins are compared: a newer ComfyUI moves those of its front end, which the tests drive.
    name, _, pin = requirement.partition("==")
    version = installed.get(name_of(name))
    return version is not None and pin in ("", version)


def installed_versions() -> dict[str, str]:
    code = (
        "import importlib.metadata as m, json; "
        "print(json.dumps({d.name.lower().replace('_', '-'): d.version for d in m.distributions()}))"
    )
    return json.loads(subprocess.run([interpreter(), "-c", code], check=True, capture_output=True, text=True).stdout)


def import_error(module: str) -> str | None:
    """The last line of what importing it says, or None if it can be imported."""
    done = subprocess.run([interpreter(), "-c", f"import {module}"], capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1] if done.returncode else None


def folder_of(module: str) -> Path:
    code = f"import importlib.util as u; print(u.find_spec({module!r}).submodule_search_locations[0])"
    return Path(subprocess.run([interpreter(), "-c", code], check=True, capture_output=True, text=True).stdout.strip())


def cache_folder() -> Path:
    """Where npm puts playwright-core, and where newest front ends lie."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "acestep-cascade-tests"


def node_modules() -> Path | None:
    """The folder that holds playwright-core, one of NODE_PATH or the cache; None if there is none."""
    named = [Path(folder) for folder in os.environ.get("NODE_PATH", "").split(os.pathsep) if folder]
    places = [*named, cache_folder() / "node_modules"]
    return next((place for place in places if (place / "playwright-core").is_dir()), None)


def install_playwright() -> None:
    npm = shutil.which("npm")
    if node_modules() is None and npm:
        cache_folder().mkdir(parents=True, exist_ok=True)
        options = ["--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run([npm, "install", *options, "--prefix", str(cache_folder()), PLAYWRIGHT], check=True)


def newest_frontend() -> Path | None:
    """The static files of the newest front end that was fetched; None if none was."""
    fetched = [page.parent for page in cache_folder().glob("frontend-*/index.html")]
    return max(fetched, key=lambda folder: [int(n) for n in re.findall(r"\d+", folder.name)], default=None)


def fetch_newest_frontend() -> None:
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        pip = [interpreter(), "-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "-d", folder]
        if subprocess.run([*pip, FRONTEND]).returncode:
            sys.stdout.write(f"the newest {FRONTEND} could not be fetched; tests go without it\n")
            return
        (wheel,) = Path(folder).glob("*.whl")
        target = cache_folder() / f"frontend-{wheel.name.split('-')[1]}"
        if not target.exists():
            _lay_out_static_files(wheel, Path(folder, "static"))
            Path(folder, "static").rename(target)


def _lay_out_static_files(wheel: Path, target: Path) -> None:
    """Without its source maps, which are two thirds of it."""
    with zipfile.ZipFile(wheel) as packed:
        for name in packed.namelist():
            parts = PurePosixPath(name).parts
            if parts[1:2] == ("static",) and not name.endswith((".map", "/")):
                file = target.joinpath(*parts[2:])
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(packed.read(name))


def install(comfyui: Path) -> None:
    installed = installed_versions()
    # What is there stays as it is, also where it is not the version that the tests are written with.
    wanted = {name_of(line): line for line in CONSTRAINTS.read_text().splitlines() if line[:1].isalpha()}
    pins = [f"{name}=={installed[name]}" if name in installed else line for name, line in wanted.items()]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("\n".join(pins))
        pip = [interpreter(), "-m", "pip", "install", "--disable-pip-version-check", "-c", str(constraints)]
        subprocess.run([*pip, "torch", "torchaudio", *requirements(comfyui)], check=True)
    mend_torchvision()
    mend_torchaudio()


def mend_torchvision() -> None:
    if not import_error("torchvision"):
        return
    file = folder_of("torchvision") / "extension.py"
    source = file.read_text()
    if TORCHVISION_MARK not in source and source.count(TORCHVISION_GUARD) == 1:
        file.write_text(source.replace(TORCHVISION_GUARD, TORCHVISION_GUARD + TORCHVISION_PATCH))
    if error := import_error("torchvision"):
        sys.exit(f"torchvision cannot be imported and could not be mended: {error}")


def mend_torchaudio() -> None:
    if not import_error("torchaudio"):
        return
    # Its compiled part is built for another torch; without it, torchaudio runs in Python.
    for compiled in (folder_of("torchaudio") / "lib").glob("_torchaudio*.so"):
        shutil.move(compiled, f"{compiled}.aside")
    if error := import_error("torchaudio"):
        sys.exit(f"torchaudio cannot be imported and could not be mended: {error}")


def main() -> None:
    comfyui = find_comfyui()
    if comfyui is None:
        sys.stdout.write("no ComfyUI found, nothing to install; name one in COMFYUI_PATH or clone it to ~/ComfyUI\n")
        return
    install(comfyui)
    install_playwright()
    fetch_newest_frontend()
    if lacking := missing(comfyui):
        sys.exit(f"installed, but {lacking}")
    sys.stdout.write(f"{interpreter()} can run {comfyui}\n")


if __name__ == "__main__":
    main()
