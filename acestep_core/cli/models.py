"""`acestep-cascade models`: lists the known models, whether they are here, and their memory; downloads one."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from ..console import Clock, Console
from ..errors import command_line


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.description = "List the known models, whether they are on this machine, and the memory they need."
    parser.set_defaults(run=models)
    parser.add_argument("--json", action="store_true", help="print one line of JSON for each model")
    actions = parser.add_subparsers(metavar="download")
    summary = "Download a known model into the models folder; a broken-off download is resumed."
    fetch = actions.add_parser("download", help="download a known model", description=summary)
    fetch.set_defaults(run=download)
    fetch.add_argument("name", metavar="NAME", help="a name that `acestep-cascade models` lists")
    fetch.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def models(arguments: argparse.Namespace, console: Console):
    from ..checkpoints.locate import list_models

    rows = list_models()
    if arguments.json:
        _models_as_json(rows, console)
        return
    width = max(len(row.name) for row in rows)
    console.result(f"{'name':<{width}}  {'slot':<8} {'parameters':>10} {'size':>9}  {'here':<5} licence")
    for row in rows:
        here = "yes" if row.complete else "part" if row.here else "no"
        count = f"{row.parameters / 1e9:.2f} B" if row.parameters >= 1e8 else f"{row.parameters / 1e6:.1f} M"
        size = f"{row.size_bytes / 1e9:.1f} GB" if row.size_bytes >= 1e9 else f"{row.size_bytes / 1e6:.1f} MB"
        console.result(f"{row.name:<{width}}  {row.slot:<8} {count:>10} {size:>9}  {here:<5} {row.licence}")
    console.note(f"get one with {command_line('models download NAME')}")
    _show_memory(console)


def _show_memory(console: Console):
    from ..memory.needs import CARDS_GB, LONG_SECONDS, PUBLISHED_FAMILIES, lone_name, overview
    from ..memory.plan import DESCRIPTIONS

    examples = {lone_name(family): f"{lone_name(family)} ({model})" for family, model in PUBLISHED_FAMILIES.items()}
    needs = {examples.get(name, name): each for name, each in overview().items()}
    width = max(map(len, needs))
    console.result(f"\nwhat a GPU holds at a time while a song of {LONG_SECONDS:g} s is made in bf16")
    console.result((f"{'':<{width}}  " + "  ".join(f"{f'{card} GB':<8}" for card in CARDS_GB)).rstrip())
    for name, needed in needs.items():
        held = "  ".join(f"{holds or 'too small':<8}" for holds in needed.on_cards().values())
        console.result(f"{name:<{width}}  {held}".rstrip())
    for holds, description in DESCRIPTIONS.items():
        console.result(f"  {holds}: {description}")


def _models_as_json(rows, console: Console):
    from ..checkpoints.registry import STAGE
    from ..memory.needs import PUBLISHED_FAMILIES, overview, published_needs

    for row in rows:
        shown = {**asdict(row), "here": row.here and str(row.here)}
        if STAGE in row.kinds and row.family in PUBLISHED_FAMILIES:
            shown |= _memory_as_json(published_needs((row.family,)))
        console.result(json.dumps(shown))
    for name, needs in overview().items():
        console.result(json.dumps({"name": name, "kinds": ["cascade"], **_memory_as_json(needs)}))


def _memory_as_json(needs) -> dict:
    """In bf16: peak GB for each way to hold the models, and the way chosen on cards of several sizes."""
    sizes = {holds: round(size / 1e9, 2) for holds, size in needs.sizes().items()}
    return {"memory_gb": sizes, "on_cards": needs.on_cards()}


def download(arguments: argparse.Namespace, console: Console):
    from ..checkpoints.hub import download as fetch

    clock = Clock()

    def progress(state):
        megabytes = state.done_bytes // 10**6, max(1, state.total_bytes // 10**6)
        console.bar(f"{arguments.name} (MB)", *megabytes, clock.seconds)

    console.result(f"{arguments.name} is in {fetch(arguments.name, progress).path}")
