"""`acestep-cascade write`: a song from one line of text."""

import argparse
from collections.abc import Sequence

from ..console import Console
from ..errors import UserError
from ..song import AUTO, Song
from .planning import add_given, add_planner, given_song, run


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.description = "Write a song from one line: caption, lyrics, tempo, key, metre, length and language."
    parser.set_defaults(run=write)
    parser.add_argument("line", metavar="LINE", help='what the song is about, such as "a slow song about the sea"')
    parser.add_argument("--instrumental", action="store_true", help="without words")
    add_given(parser.add_argument_group("song"))
    add_planner(parser)


def write(arguments: argparse.Namespace, console: Console):
    if not arguments.line.strip():
        raise UserError("write: got an empty line, expected a few words about the song")
    if arguments.lyrics is not None:
        raise UserError("write: writes the lyrics itself; to keep yours use `acestep-cascade plan` or rewrite")
    given = given_song(arguments, Song("", "", seconds=AUTO))

    def request():
        from ..planner.requests import WriteSong

        return WriteSong(arguments.line, arguments.instrumental, given)

    run(arguments, console, request)
