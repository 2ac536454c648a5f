"""Imports of `acestep_core` go down one list of floors, which stands in the guide that tells how it is built."""

import ast
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "acestep_core"
GUIDE = ROOT / "web" / "docs" / "guides" / "how_it_is_built.md"
ROOT_MODULES_MOST = 8
FILE_LINES_MOST, FUNCTION_MEDIAN_MOST, FUNCTION_P90_MOST = 400, 6, 17
OWN_CODE = sorted([*CORE.rglob("*.py"), *(ROOT / "nodes").rglob("*.py")])


def floors() -> list[str]:
    """Rooms from the top down, as the guide lists them; the modules at the root are the last floor."""
    return re.findall(r"^- `(\w+)` —", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)


def room_of(module: tuple[str, ...]) -> str | None:
    """The folder of a module below `acestep_core`; None at the root, and of the two files that open the package."""
    return module[0] if (CORE / module[0]).is_dir() else None


def imports() -> list[tuple[Path, tuple[str, ...]]]:
    """(file, imported module below acestep_core) of every relative import, those for type checkers too."""
    found = []
    for path in CORE.rglob("*.py"):
        package = path.relative_to(CORE).parent.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = package[: len(package) - node.level + 1]
                target = (*base, *(node.module or "").split(".")) if node.module else base
                found += [(path, target)] if target else [(path, (name.name,)) for name in node.names]
    return found


def test_every_folder_is_a_floor():
    folders = {path.parent.relative_to(CORE).parts[0] for path in CORE.rglob("*.py") if path.parent != CORE}
    assert sorted(floors()) == sorted(folders)


def test_no_import_goes_up():
    order = {room: number for number, room in enumerate(floors())}
    lowest = len(order)  # errors, spec, song, prompt and console
    upwards = [
        f"{path.relative_to(CORE)} imports {'.'.join(target)}"
        for path, target in imports()
        if path.parent != CORE or path.name not in ("__init__.py", "__main__.py")  # the two doors
        for here in [lowest if path.parent == CORE else order[path.relative_to(CORE).parts[0]]]
        if order.get(room_of(target), lowest) < here
    ]
    assert upwards == []


def test_few_modules_stand_at_the_root():
    assert len(list(CORE.glob("*.py"))) <= ROOT_MODULES_MOST


def lengths() -> list[int]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    nodes = (node for path in OWN_CODE for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return sorted(node.end_lineno - node.lineno for node in nodes if isinstance(node, kinds))


def test_functions_stay_small():
    sizes = lengths()
    assert statistics.median(sizes) <= FUNCTION_MEDIAN_MOST
    assert sizes[int(0.9 * len(sizes))] <= FUNCTION_P90_MOST


@pytest.mark.parametrize("path", OWN_CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES_MOST


def test_the_library_knows_nothing_of_comfyui():
    hosts = {"comfy", "comfy_api", "comfy_execution", "folder_paths", "nodes", "server"}
    named = [
        path.relative_to(CORE)
        for path in CORE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import)
        and hosts & {name.name.split(".")[0] for name in node.names}
        or isinstance(node, ast.ImportFrom)
        and not node.level
        and node.module.split(".")[0] in hosts
    ]
    assert named == []
