"""What the commands `lora show` and `lora convert` do."""

import argparse
import json

from ..console import Console
from .find import find_adapter

COMFYUI_DORA = (
    "note: ComfyUI's own loaders rescale a DoRA by the norm of the base's weight, not of the adapted one, and so make "
    "another sound of it; our nodes and this command line do as the trainers do"
)


def show(arguments: argparse.Namespace, console: Console):
    find_adapter(arguments.file)  # a file that is not there is told before torch is loaded
    from .adapter import read_adapter
    from .layouts import is_known

    adapter = read_adapter(arguments.file)
    foreign = [path for path in adapter.modules if not is_known(path)]
    rows = {
        "file": str(adapter.path),
        "kind": adapter.kind,
        "layout": adapter.layout,
        "base": " or ".join(adapter.bases) or "no known one, by its shapes",
        "rank": adapter.ranks,
        "alpha": adapter.alphas,
        "scale": adapter.scales,
        "scale from": adapter.scale_source,
        "layers": len(adapter.modules) - len(foreign),
        "not of ACE-Step": foreign,
    }
    if arguments.json:
        console.result(json.dumps({**rows, "facts": dict(adapter.facts)}, ensure_ascii=False))
        return
    told = {f"{name} (told)" if name in rows else name: value for name, value in adapter.facts.items()}
    for name, value in {**rows, **told}.items():
        shown = _shown(value)
        if shown:
            console.result(f"{name:<15} {shown}")


def _shown(value: object) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    return str(value)


def convert(arguments: argparse.Namespace, console: Console):
    find_adapter(arguments.file)
    from .adapter import read_adapter
    from .save import save_adapter
    from .wear import scale_text

    adapter = read_adapter(arguments.file)
    target = save_adapter(adapter, arguments.output, arguments.to)
    if arguments.to == "comfyui" and "DoRA" in adapter.kind:
        console.note(COMFYUI_DORA)
    console.result(f"{target}  {adapter.kind} as {arguments.to}, {len(adapter.modules)} layers, {scale_text(adapter)}")
