"""`acestep-cascade library`: the songs of a folder, listed and searched by an index of their tags."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from ..console import Clock, Console
from ..errors import UserError
from ..system.folders import user_path

FOLDER = "songs"
_CAPTION_LENGTH = 60


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.description = "List and search the songs of a folder by an index of their tags."
    actions = parser.add_subparsers(metavar="list|search|rebuild", required=True)
    listed = actions.add_parser("list", help="list the songs", description="List the songs, the newest first.")
    listed.set_defaults(run=songs, words=())
    searched = actions.add_parser(
        "search", help="search the songs", description="List the songs that have all these words."
    )
    searched.set_defaults(run=songs)
    searched.add_argument(
        "words", nargs="+", metavar="WORD", help="in caption, lyrics, title, key, models, file's name"
    )
    for action in (listed, searched):
        action.add_argument("--most", type=int, default=50, metavar="N", help="list so many at most (default 50)")
        action.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the first N (default 0)")
        action.add_argument("--order", choices=["newest", "oldest", "title"], default="newest", help="default: newest")
        action.add_argument("--json", action="store_true", help="print one line of JSON for each song")
    anew = actions.add_parser(
        "rebuild", help="make the index anew", description="Make the index anew from the tags of all files."
    )
    anew.set_defaults(run=rebuild)
    for action in (listed, searched, anew):
        action.add_argument("--folder", default=FOLDER, metavar="FOLDER", help=f"the songs' folder (default {FOLDER})")
        action.add_argument("-q", "--quiet", action="store_true", help="no notes")


def songs(arguments: argparse.Namespace, console: Console):
    if arguments.most < 1 or arguments.skip < 0:
        raise UserError("library: expected --most of at least 1 and --skip of at least 0")
    from ..server.library import Library

    library = Library(user_path(arguments.folder))
    library.refresh()
    page = library.songs(" ".join(arguments.words), most=arguments.most, skip=arguments.skip, order=arguments.order)
    for row in page.songs:
        shown = asdict(row)
        console.result(json.dumps(shown, ensure_ascii=False) if arguments.json else _line(shown))
    console.note(f"{len(page.songs)} of {page.total} songs")


def rebuild(arguments: argparse.Namespace, console: Console):
    from ..server.library import Library

    clock = Clock()
    found = Library(user_path(arguments.folder)).rebuild()
    console.result(f"{found} songs of {arguments.folder} in {clock.seconds:.1f} s")


def _line(row: dict) -> str:
    caption = " ".join(row["caption"].split())[:_CAPTION_LENGTH]
    facts = [f"{row['seconds']:.0f} s" if row["seconds"] else "", f"{row['bpm']} bpm" if row["bpm"] else ""]
    return f"{row['path']}  {', '.join(filter(None, (*facts, row['key'], row['task'])))}  {caption}"
