"""`acestep-cascade lint`: checks lyrics before a song is made."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import asdict

from ..audio.formats import FORMATS
from ..console import Console
from ..generation.settings import read_song
from ..json_text import parse_json_object
from ..scoring.lint import Lyrics, lint, tokens_of
from ..song import AUTO, Song
from .arguments import length
from .orders import read_text

_TITLE = "song"  # stands for a caption, which lyrics alone do not have


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.description = "Check lyrics: tags, words against length and tempo, language, long lines, tokens."
    parser.set_defaults(run=check)
    parser.add_argument("file", metavar="FILE", help="lyrics as text, a song as .json, or an audio file with a song")
    parser.add_argument("--language", metavar="CODE", help="language of the lyrics, such as en")
    parser.add_argument("--bpm", metavar="N", help="tempo")
    parser.add_argument("--time-signature", metavar="N", help="2, 3, 4 or 6 beats in a bar")
    parser.add_argument("--seconds", type=length, metavar="N", help="length of the song (default for a text: auto)")
    parser.add_argument(
        "--text-encoder", metavar="NAME", help="whose tokens are counted (default: the published one, if it is here)"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def check(arguments: argparse.Namespace, console: Console):
    song = _song(arguments)
    tokens = tokens_of(song, arguments.text_encoder)
    findings, facts = lint(song, tokens), Lyrics(song, tokens).facts()
    if arguments.json:
        rows = [asdict(finding) for finding in findings]
        console.result(json.dumps({"file": arguments.file, **facts, "findings": rows}, ensure_ascii=False))
        return
    for finding in findings:
        console.result(str(finding))
    counted = "" if tokens is None else f", {facts['tokens']:,} of {facts['tokens_most']:,} tokens"
    console.result(
        f"{facts['lines']} lines, {facts['syllables']} syllables, {facts['seconds']:g} s: "
        f"{facts['syllables_per_second']:g} syllables a second{counted}"
    )


def _song(arguments: argparse.Namespace) -> Song:
    """The song of a file of any kind, with the options in its place. Raises UserError."""
    ending = arguments.file.rpartition(".")[2].lower()
    if ending in FORMATS:
        song = read_song(arguments.file).song
    elif ending == "json":
        given = parse_json_object(read_text(arguments.file), arguments.file, remedy='write {"caption": "lo-fi"}')
        song = Song.from_json(given["song"] if isinstance(given.get("song"), dict) else given)  # a plan holds a song
    else:
        song = Song(_TITLE, read_text(arguments.file), seconds=AUTO)
    given = {name: getattr(arguments, name) for name in ("language", "bpm", "time_signature", "seconds")}
    return dataclasses.replace(song, **{name: value for name, value in given.items() if value is not None})
