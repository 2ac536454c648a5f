"""One ComfyUI server with this pack for the whole session; tests are skipped where it cannot be had.

With ACESTEP_REQUIRE_COMFYUI=1 they fail instead. See install.py for what is needed and where it is looked for.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from comfyui_tests import browser as browsers
from comfyui_tests import install, material
from comfyui_tests import server as servers

HINT = "python tests/comfyui/install.py installs it"


def unavailable(reason: str):
    if os.environ.get("ACESTEP_REQUIRE_COMFYUI") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if "comfyui_folder" in item.fixturenames:
            item.add_marker("slow")


@pytest.fixture(scope="session")
def comfyui_folder() -> Path:
    folder = install.find_comfyui()
    if folder is None:
        unavailable("no ComfyUI: neither COMFYUI_PATH, nor around this folder, nor ~/ComfyUI")
    if lacking := install.missing(folder):
        unavailable(f"ComfyUI at {folder}: {lacking}; {HINT}")
    return folder


@pytest.fixture(scope="session")
def server(comfyui_folder, tmp_path_factory):
    with running(comfyui_folder, tmp_path_factory.mktemp("comfyui")) as started:
        yield started


@pytest.fixture(scope="session")
def newest_server(comfyui_folder, tmp_path_factory):
    """The same ComfyUI with the newest front end in it."""
    frontend = install.newest_frontend()
    if frontend is None:
        unavailable(f"the newest front end is not here; {HINT}")
    with running(comfyui_folder, tmp_path_factory.mktemp("newest"), frontend) as started:
        yield started


@contextlib.contextmanager
def running(
    comfyui: Path, base: Path, frontend: Path | None = None, packs: Sequence[Path] = ()
) -> Iterator[servers.Server]:
    material.lay_out(base)
    started = servers.Server(comfyui, base, frontend, packs)
    try:
        started.wait()
        started.state_at_start, started.log_at_start = started.state(), started.log_text()
        yield started
    except servers.StartFailed as exc:
        pytest.fail(str(exc), pytrace=False)
    finally:
        started.stop()


@pytest.fixture(scope="session")
def comfy(server):
    """The client of the running server."""
    return server.client


@pytest.fixture(scope="session")
def second_comfy(comfyui_folder, tmp_path_factory):
    """The client of another server."""
    with running(comfyui_folder, tmp_path_factory.mktemp("second")) as started:
        yield started.client


@pytest.fixture(scope="session")
def node_info(comfy):
    """What the server tells the front end about each node."""
    return comfy.node_info()


@pytest.fixture(scope="session")
def browser(comfyui_folder):
    found = browsers.find_browser()
    if isinstance(found, str):
        unavailable(f"no browser for ComfyUI's front end: {found}; {HINT}")
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    for name in ("server", "newest_server") if report.failed else ():
        if started := getattr(item, "funcargs", {}).get(name):
            report.sections.append(("ComfyUI's log", started.log_tail()))
    return report
