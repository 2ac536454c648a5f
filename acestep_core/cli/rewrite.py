"""`acestep-cascade rewrite`: a song's caption and lyrics in better words."""

import argparse
from collections.abc import Sequence

from ..console import Console
from .plan import add_song, song_of
from .planning import add_planner, run


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.description = "Write a song's caption and lyrics in better words. Tempo, key and the like are kept."
    parser.set_defaults(run=rewrite)
    add_song(parser)
    add_planner(parser)


def rewrite(arguments: argparse.Namespace, console: Console):
    song = song_of(arguments)

    def request():
        from ..planner.requests import RewriteSong

        return RewriteSong(song)

    run(arguments, console, request)
