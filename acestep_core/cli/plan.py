"""`acestep-cascade plan`: fills in what a song leaves open, and writes its audio codes."""

import argparse
import dataclasses
from collections.abc import Sequence

from ..console import Console
from ..errors import UserError
from ..planner.metadata import is_instrumental
from ..song import AUTO, Song
from .orders import read_text
from .planning import add_given, add_planner, given_song, run


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.description = "Fill in what a song leaves open, and write its audio codes. What the song has is kept."
    parser.set_defaults(run=plan)
    add_song(parser)
    codes = parser.add_argument_group("codes")
    codes.add_argument("--no-codes", action="store_true", help="only fill the song in")
    codes.add_argument("--guidance", type=float, metavar="X", help="how closely codes follow the song; 1 is off")
    codes.add_argument("--negative", default="", metavar="TEXT", help="what the codes shall be unlike")
    add_planner(parser)


def add_song(parser: argparse.ArgumentParser) -> None:
    """Options for a song, most of which may be open."""
    parser.add_argument("caption", nargs="?", metavar="CAPTION", help="what the song sounds like")
    song = parser.add_argument_group("song")
    song.add_argument("--song", metavar="FILE.json", help="a song as JSON; other options override its fields")
    add_given(song)


def plan(arguments: argparse.Namespace, console: Console):
    song = song_of(arguments)

    def request():
        from ..planner.requests import PlanSong

        return PlanSong(song, not arguments.no_codes, arguments.negative)

    run(arguments, console, request)


def song_of(arguments: argparse.Namespace) -> Song:
    """The song that the options of `add_song` describe. Raises UserError where they describe none."""
    base = Song("", seconds=AUTO)  # instrumental, unless there are lyrics
    if arguments.song:
        base = Song.from_json(read_text(arguments.song))
    if arguments.caption is not None:
        base = dataclasses.replace(base, caption=arguments.caption)
    song = given_song(arguments, base)
    if not song.caption.strip() and is_instrumental(song.lyrics):
        raise UserError('got neither a caption nor lyrics; say what the song is, such as "lo-fi beat"')
    return song
