"""`acestep-cascade lora show` and `lora convert`: what an adapter file is, and the same adapter in another layout."""

import argparse
import json
from collections.abc import Sequence

from ..console import Console
from ..lora.find import find_adapter

COMFYUI_DORA = (
    "note: ComfyUI's own loaders rescale a DoRA by the norm of the base's weight, not of the adapted one, and so make "
    "another sound of it; our nodes and this command line do as the trainers do"
)


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.description = "Adapters."
    actions = parser.add_subparsers(metavar="show|convert", required=True)
    shower = actions.add_parser("show", help="what an adapter is", description="Show what an adapter is.")
    shower.set_defaults(run=show)
    shower.add_argument("file", metavar="FILE", help="a file, a folder, or a name in a folder loras")
    shower.add_argument("--json", action="store_true", help="as one line of JSON")
    converter = actions.add_parser("convert", help="into another layout", description="Convert to another layout.")
    converter.set_defaults(run=convert)
    converter.add_argument("file", metavar="FILE", help="a file, a folder, or a name in a folder loras")
    converter.add_argument("-o", "--output", required=True, metavar="OUT", help="a folder for peft, else .safetensors")
    converter.add_argument("--to", required=True, choices=["peft", "comfyui", "diffusers"], help="the layout")


def show(arguments: argparse.Namespace, console: Console):
    find_adapter(arguments.file)  # a file that is not there is told before torch is loaded
    from ..lora.adapter import read_adapter
    from ..lora.describe import lines_of, rows_of

    adapter = read_adapter(arguments.file)
    if arguments.json:
        console.result(json.dumps({**rows_of(adapter), "facts": dict(adapter.facts)}, ensure_ascii=False))
        return
    for line in lines_of(adapter):
        console.result(line)


def convert(arguments: argparse.Namespace, console: Console):
    find_adapter(arguments.file)
    from ..lora.adapter import read_adapter
    from ..lora.apply import scale_text
    from ..lora.save import save_adapter

    adapter = read_adapter(arguments.file)
    target = save_adapter(adapter, arguments.output, arguments.to)
    if arguments.to == "comfyui" and "DoRA" in adapter.kind:
        console.note(COMFYUI_DORA)
    console.result(f"{target}  {adapter.kind} as {arguments.to}, {len(adapter.modules)} layers, {scale_text(adapter)}")
