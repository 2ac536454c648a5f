"""`acestep-cascade lora show` and `lora convert`: an adapter file described, and written in another layout."""

import argparse
import json
from collections.abc import Sequence

from ..console import Console
from ..lora.find import find_adapter

COMFYUI_DORA = (
    "note: ComfyUI's own loaders rescale a DoRA by the norm of the base's weight, not of the adapted one, so it sounds "
    "different there; this pack's nodes and this command line use the norm that trainers use"
)


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.description = "Describe or convert an adapter (LoRA, DoRA, LoKr, LoHa)."
    actions = parser.add_subparsers(metavar="show|convert", required=True)
    shower = actions.add_parser(
        "show",
        help="describe an adapter",
        description="Show an adapter's kind, base, layers, scale, metadata and layout.",
    )
    shower.set_defaults(run=show)
    shower.add_argument("file", metavar="FILE", help="an adapter: a file, a folder, or a name in a loras folder")
    shower.add_argument("--json", action="store_true", help="print one line of JSON")
    converter = actions.add_parser(
        "convert", help="write an adapter in another layout", description="Write an adapter in another layout."
    )
    converter.set_defaults(run=convert)
    converter.add_argument("file", metavar="FILE", help="an adapter: a file, a folder, or a name in a loras folder")
    converter.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="the file to write, .safetensors; for peft a folder"
    )
    converter.add_argument("--to", required=True, choices=["peft", "comfyui", "diffusers"], help="the layout to write")


def show(arguments: argparse.Namespace, console: Console):
    find_adapter(arguments.file)  # an absent file is an error before torch is loaded
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
