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
    from .describe import lines_of, rows_of

    adapter = read_adapter(arguments.file)
    if arguments.json:
        console.result(json.dumps({**rows_of(adapter), "facts": dict(adapter.facts)}, ensure_ascii=False))
        return
    for line in lines_of(adapter):
        console.result(line)


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
