"""`acestep-cascade gallery`: a page of sounds with spectrograms, captions and seeds, of a family of models."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..console import Clock, Console
from ..errors import UserError, shown
from ..generation.making import slug
from ..generation.settings import GenerationSettings
from ..song import check_text
from ..spec import MAX_SECONDS, MIN_SECONDS
from ..system.folders import user_path
from .generate import add_memory, add_model_choice
from .orders import changed

DEFAULT_SECONDS = 12.0


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.description = (
        "Make a page of sounds: genres, stages, reference, edits, an adapter; each with spectrogram, caption and seed. "
        "Sounds that are in the folder already are kept, so a stopped gallery goes on."
    )
    parser.set_defaults(run=gallery)
    parser.add_argument("-o", "--output", metavar="FOLDER", required=True, help="where index.html and its sounds go")
    parser.add_argument(
        "--seconds", type=float, default=DEFAULT_SECONDS, metavar="S", help="of a song (default %(default)g)"
    )
    parser.add_argument("--title", default="Songs of an ACE-Step cascade", metavar="TEXT", help="of the page")
    parser.add_argument(
        "--film", type=int, metavar="N", help="write film.mp4 too: six seconds of each of the first N genres"
    )
    parser.add_argument(
        "--compare",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="lay sounds of others beside: files that are called as those of the gallery, made from its captions.json; "
        "repeatable",
    )
    add_model_choice(parser.add_argument_group("models"))
    add_memory(parser.add_argument_group("memory"))
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress and no notes")


def gallery(arguments: argparse.Namespace, console: Console):
    check_text("--title", arguments.title)
    folder, others = user_path(arguments.output), _others(arguments.compare)
    if not MIN_SECONDS <= arguments.seconds <= MAX_SECONDS:
        raise UserError(f"--seconds: got {arguments.seconds:g}, expected {MIN_SECONDS:g} to {MAX_SECONDS:g}")
    if arguments.film is not None and arguments.film < 1:
        raise UserError(f"--film: got {arguments.film}, expected at least 1")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, expected a folder")
    from ..gallery.compare import compared
    from ..gallery.film import write_film
    from ..gallery.make import Maker, family_of
    from ..gallery.page import PAGE, check_folder, write_page
    from ..gallery.pieces import GENRES, pieces

    check_folder(folder)
    lora, arguments.lora = tuple(arguments.lora or ()), None  # of the gallery's own section, not of every piece
    family = family_of(changed(GenerationSettings(), arguments), lora)
    wanted = pieces(family, arguments.seconds)
    machine = {"device": arguments.device, "memory_gb": arguments.memory, "offload": arguments.offload}
    maker = Maker(folder, **machine, text_cache=not arguments.no_text_cache)
    clock = Clock()
    for done, of in maker.make(wanted):
        console.bar("gallery", done, of, clock.seconds)
    beside = {name: compared(folder, name, place, wanted) for name, place in others}
    write_page(folder, wanted, arguments.title, _about(family, arguments), beside)
    if arguments.film:
        console.busy("encoding the film ...")
        genres = [piece for piece in wanted if piece.section == GENRES]
        write_film(folder, genres[: arguments.film], arguments.title)
    console.result(f"{folder / PAGE}  {len(wanted)} sounds, {_megabytes(folder):.1f} MB")


def _others(texts: Sequence[str]) -> list[tuple[str, Path]]:
    """(name, folder) of each. Raises UserError where two names would share a folder of the gallery."""
    found = [_other(text) for text in texts]
    folders = [slug(name) for name, _ in found]
    if twice := next((name for name, _ in found if folders.count(slug(name)) > 1), None):
        raise UserError(f"--compare: got {shown(twice)} twice, or a name much like it; give each folder another name")
    return found


def _other(text: str) -> tuple[str, Path]:
    check_text("--compare", text)
    name, equals, folder = text.partition("=")
    if not (name.strip() and equals and folder):
        raise UserError(f"--compare: got {text!r}, expected NAME=FOLDER")
    place = user_path(folder)
    if not place.is_dir():
        raise UserError(f"--compare: {place} is not a folder; give the folder of {name}'s sounds")
    return name.strip(), place


def _about(family, arguments: argparse.Namespace) -> str:
    if family.embedded:
        return (
            "Made by tiny, the small family that comes with the pack, on a CPU: a demonstration, hundreds of times "
            "smaller than the published models."
        )
    return f"Made by {', '.join(dict.fromkeys(family.stages)) or arguments.models}."


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
