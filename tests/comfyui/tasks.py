"""What of a prompt the embedded models cannot do: data of theirs, so a newer family changes it."""

from acestep_pack.acestep_core.checkpoints.checkpoint import read_checkpoint
from acestep_pack.acestep_core.editing.tasks import TASKS, known_as
from comfyui_tests.install import ROOT

NODES = {"Cover": "cover", "Repaint": "repaint", "Extend": "extend", "Morph": "morph"}
NODES |= {"ExtractStem": "extract", "AddStem": "lego", "Complete": "complete"}
NODES = {f"AceStep{name}": task for name, task in NODES.items()}


def edits(prompt: dict) -> list[dict]:
    """The nodes of a prompt, in ComfyUI's API format, that edit music."""
    return [node for node in prompt.values() if node["class_type"] in NODES]


def unknown_tasks(prompt: dict) -> set[str]:
    """Tasks of a prompt that not every embedded stage model was trained for."""
    asked = {known_as(TASKS[NODES[node["class_type"]]], node["inputs"].get("codes", False)) for node in edits(prompt)}
    stages = (read_checkpoint(ROOT / "acestep_core" / "tiny" / slot).defaults.tasks for slot in "lms")
    return asked - set.intersection(*map(set, stages))


def refusal(prompt: dict) -> str | None:
    """A part of the error of a prompt that what the pack ships cannot run; None of one that runs."""
    loads_planner = any(node["class_type"] == "AceStepLoadPlanner" for node in prompt.values())
    if loads_planner and not (ROOT / "acestep_core" / "tiny" / "planner").is_dir():
        return "is not here, and a workflow alone does not download"
    return "was not trained for it" if unknown_tasks(prompt) else None
