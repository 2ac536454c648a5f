"""`acestep-cascade show`: the song and settings in a file's tags."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from ..console import Console
from ..generation.settings import TaggedSong, read_song
from ..planner.song_plan import codes_digest

_INDENT = 16


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.description = "Show the song in a file's tags: its words, its settings and the models that made it."
    parser.set_defaults(run=show)
    parser.add_argument("file", metavar="FILE", help="an audio file made by generate, or by Save Audio in ComfyUI")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def show(arguments: argparse.Namespace, console: Console):
    made = read_song(arguments.file)
    song, settings = asdict(made.song), made.settings.given()
    if arguments.json:
        shown = {"file": arguments.file, "song": song, "settings": settings, "models": made.models}
        shown |= {"scores": made.scores} if made.scores else {}
        console.result(json.dumps({**shown, "digests": made.digests}, ensure_ascii=False))
        return
    lyrics = song.pop("lyrics")
    if made.settings.codes:
        settings["codes"] = f"{len(made.settings.codes)} ({codes_digest(made.settings.codes)})"
    about = {"score": made.scores.get("total"), "models": _models(made), "lyrics": lyrics}
    for name, value in {**song, **settings, **about}.items():
        if value is not None:
            text = _text(value)
            console.result(f"{name.replace('_', ' '):<{_INDENT}}" + text.replace("\n", "\n" + " " * _INDENT))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_text(one)}" for name, one in value.items())
    return ", ".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)


def _models(made: TaggedSong) -> str:
    """Models and adapters, each with the digest of its files where the tags have it."""
    names = made.models if isinstance(made.models, dict) else dict.fromkeys(made.models, "")
    names |= {key: "" for key in made.digests if key not in names}
    parts = ((key, name, made.digests.get(key)) for key, name in names.items())
    return ", ".join(" ".join(filter(None, (key, name, digest and f"({digest})"))) for key, name, digest in parts)
