"""`acestep-cascade show`: the song and settings in a file's tags."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from ..console import Console
from ..generation.settings import models_of, read_song


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.description = "Show the song in a file's tags."
    parser.set_defaults(run=show)
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="as one line of JSON")


def show(arguments: argparse.Namespace, console: Console):
    song, making = read_song(arguments.file)
    models = models_of(arguments.file)
    if arguments.json:
        shown = {"file": arguments.file, "song": asdict(song), "settings": making.asked(), "models": models}
        console.result(json.dumps(shown, ensure_ascii=False))
        return
    named = [f"{slot} {name}" for slot, name in models.items()] if isinstance(models, dict) else models
    rows = {**asdict(song), **making.asked(), "models": ", ".join(named)}
    lyrics = rows.pop("lyrics")
    for name, value in rows.items():
        if value is not None:
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
            console.result(f"{name.replace('_', ' '):<15} {shown}")
    console.result(f"{'lyrics':<15} " + lyrics.replace("\n", "\n" + " " * 16))
