"""Nodes run as ComfyUI runs them, in this process and without its server.

Where ComfyUI cannot be imported, the tests of this folder are skipped, and with ACESTEP_REQUIRE_COMFYUI=1 they fail.
"""

import importlib
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.training import captions
from comfyui_tests.install import find_comfyui


def _import_comfyui() -> str | None:
    """Why ComfyUI cannot be imported, if it cannot."""
    folder = find_comfyui()
    if folder is None:
        return "no ComfyUI: neither COMFYUI_PATH, nor around this folder, nor ~/ComfyUI"
    sys.path.insert(0, str(folder))
    try:
        from comfy.cli_args import args

        args.cpu = True  # before anything else of ComfyUI passes for a device
        importlib.import_module("comfy_api.latest")
        importlib.import_module("server")
    except (ImportError, OSError, RuntimeError) as exc:  # torchaudio and torchvision fail in their own ways
        sys.path.remove(str(folder))
        return f"ComfyUI at {folder} cannot be imported: {exc}; python tests/comfyui/install.py installs what it needs"
    return None


ABSENCE = _import_comfyui()


class _Skipped(pytest.Module):
    def collect(self):
        if os.environ.get("ACESTEP_REQUIRE_COMFYUI") == "1":
            pytest.fail(ABSENCE, pytrace=False)
        pytest.skip(ABSENCE, allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    # A module that imports nodes could not even be collected.
    return _Skipped.from_parent(parent, path=module_path) if ABSENCE else None


@pytest.fixture(autouse=True, scope="session")
def offered():
    """As the pack's entry point does, whichever test comes first."""
    from acestep_pack.nodes.host import locations

    locations.offer_models_folder()


@pytest.fixture
def run_node():
    """run_node(Node, hidden={"PROMPT": ...}, **inputs): what the node returns; a DynamicCombo's input is a dict."""

    def run(node, hidden: dict | None = None, **inputs):
        ready = node.PREPARE_CLASS_CLONE({"hidden_inputs": {"UNIQUE_ID": "1", **(hidden or {})}})
        with torch.inference_mode():
            return ready.EXECUTE_NORMALIZED(**inputs)

    return run


@pytest.fixture
def few_own_songs(monkeypatch) -> int:
    """A model that is held to its own songs makes only so many of them."""
    few = captions.STYLES[:4]
    monkeypatch.setattr(captions, "STYLES", few)
    return len(few)


@pytest.fixture
def comfy_folders(tmp_path, monkeypatch) -> Path:
    """ComfyUI's output, input and temp folders, below a folder of the test's own."""
    import folder_paths

    for name in ("output", "input", "temp", "user"):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setattr(folder_paths, f"{name}_directory", str(tmp_path / name))
    return tmp_path


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What nodes say to their user while they run."""
    import server
    from acestep_pack.nodes.host import messages

    lines: list[str] = []

    class Told:
        client_id = "the client that queued"

        def send_progress_text(self, text, node_id, sid):
            assert sid == self.client_id
            lines.append(text)

        def send_sync(self, event, data, sid):
            assert sid == self.client_id
            json.dumps(data, allow_nan=False)  # else no page could read it
            if event == messages.TEXT_EVENT:
                lines.append("\n".join(data["lines"]))

    monkeypatch.setattr(server.PromptServer, "instance", Told(), raising=False)
    return lines


@pytest.fixture
def comfy_models(tmp_path, monkeypatch) -> Path:
    """ComfyUI's models folder, below a folder of the test's own, with the pack's folder in it."""
    import folder_paths
    from acestep_pack.nodes.host import locations

    models = tmp_path / "models"
    own = {name: ([], extensions) for name, (_, extensions) in folder_paths.folder_names_and_paths.items()}
    for name in ("diffusion_models", "checkpoints", "text_encoders", "vae", "loras"):
        (models / name).mkdir(parents=True)
        own[name][0].append(str(models / name))
    own.pop(locations.MODELS_FOLDER, None)
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", own)
    monkeypatch.setattr(folder_paths, "models_dir", str(models))
    monkeypatch.setattr(folder_paths, "user_directory", str(tmp_path / "user"))
    monkeypatch.delenv("ACESTEP_MODELS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    locations.offer_models_folder()
    (models / locations.MODELS_FOLDER).mkdir()
    return models
