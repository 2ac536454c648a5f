"""Makes workflows/*.json and their pictures with ComfyUI's own front end, from the definitions beside this file.

    python tests/workflows/author.py [NAME...]

The front end turns prompts into its own format, so saved values are what it would save itself; widths and heights are
its own too. Needs what tests/comfyui needs. The clip and the adapter that workflows use are made by assets.py.
"""

import argparse
import contextlib
import json
import runpy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
runpy.run_path(str(ROOT / "tests" / "conftest.py"))  # the names under which tests import

from comfyui_tests import browser as browsers  # noqa: E402
from comfyui_tests import install, material  # noqa: E402
from comfyui_tests import server as servers  # noqa: E402
from comfyui_tests.tasks import refusal  # noqa: E402
from workflows_tests.catalogue import WORKFLOWS  # noqa: E402
from workflows_tests.layout import laid_out, numbered, numbers  # noqa: E402


def make(names: list[str], pictures: bool) -> None:
    with _server() as url, tempfile.TemporaryDirectory() as folder:
        _write(names, url, Path(folder))
        pages = [name for name in names if WORKFLOWS[name]().app]
        for name in names if pictures else ():
            if name not in pages:
                _take_picture(name, url)
    if pictures and pages:
        with _server(install.newest_frontend()) as url:  # the one that ComfyUI pins shows the graph
            for name in pages:
                _take_picture(name, url)


@contextlib.contextmanager
def _server(frontend: Path | None = None) -> Iterator[str]:
    """The address of a ComfyUI of its own."""
    with tempfile.TemporaryDirectory() as folder:
        material.lay_out(Path(folder))
        server = servers.Server(install.find_comfyui(), Path(folder), frontend)
        try:
            server.wait()
            yield server.client.url
        finally:
            server.stop()


def _file(name: str) -> Path:
    return ROOT / "workflows" / f"{name}.json"


def _write(names: list[str], url: str, base: Path) -> None:
    """Draws all prompts in one page of the front end, and lays them out."""
    made = {name: WORKFLOWS[name]() for name in names}
    for name, one in made.items():
        (base / f"{name}.json").write_text(json.dumps(numbered(one.prompt)))
    reports = browsers.find_browser().open(url, *(base / f"{name}.json" for name in names), timeout=600)
    if missing := {node for report in reports.values() for node in report["missing"]}:
        sys.exit(f"ComfyUI has no {', '.join(sorted(missing))}: the pack did not load; its log says why")
    for name, one in made.items():
        workflow = laid_out(one, reports[f"{name}.json"]["ui"])
        _file(name).write_text(json.dumps(workflow, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _take_picture(name: str, url: str) -> None:
    """Runs a workflow, and frames the nodes that show what is special about it. One that what the pack ships cannot
    run is only opened.
    """
    made, file = WORKFLOWS[name](), _file(name)
    runs = refusal(made.prompt) is None
    number = numbers(made.prompt)
    options = ["--shot", str(file.with_suffix(".jpg")), "--frame", ",".join(number[one] for one in made.shown)]
    report = browsers.find_browser().open(url, file, run=runs, options=options, timeout=600)[file.name]
    ran = report["run"] if runs else {"status": "not run"}
    told = [ran["status"], *report["missing"], *report["consoleErrors"], *ran.get("overlaps", ())]
    sys.stdout.write(f"{name}: {'; '.join(told)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*WORKFLOWS, []], help="which (default: all)")
    parser.add_argument(
        "--no-pictures", dest="pictures", action="store_false", help="only the files, without running them"
    )
    given = parser.parse_args()
    make(given.names or list(WORKFLOWS), given.pictures)
