"""The page of a gallery: one HTML file, which needs nothing but the sounds and pictures beside it.

Its script stands inside it: ComfyUI would load a file of scripts below `web` into its own page.
"""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from ..errors import UserError
from ..song import INSTRUMENTAL, Song
from ..system.files import write_whole
from .make import PICTURE, PICTURE_PX
from .pieces import SECTIONS, Piece

PAGE, CAPTIONS = "index.html", "captions.json"
_MARK = b'content="acestep-cascade gallery"'  # in every page
_TEMPLATE = Path(__file__).with_name("page.html")


def check_folder(folder: Path) -> None:
    """Raises UserError where a page of somebody else's would be written over."""
    page = folder / PAGE
    if page.exists() and not (page.is_file() and _MARK in page.read_bytes()[:4096]):
        raise UserError(f"{page}: is there and is no page of a gallery; give another folder")


def write_page(folder: Path, pieces: Sequence[Piece], title: str, about: str, others: Mapping[str, dict[str, str]]):
    """Writes the page, and `captions.json`, from which others can make sounds to compare.

    `others`: name → {piece: file below the folder} of sounds that are shown beside the pieces.
    """
    shown = [section for section in SECTIONS if any(piece.section == section.name for piece in pieces)]
    links = "\n".join(f'<a href="#{section.name}">{_text(section.title)}</a>' for section in shown)
    parts = [_section(section, [p for p in pieces if p.section == section.name], others) for section in shown]
    filled = {"TITLE": _text(title), "ABOUT": _text(about), "LINKS": links, "SECTIONS": "\n".join(parts)}
    page = _TEMPLATE.read_text(encoding="utf-8")
    for name, value in filled.items():
        page = page.replace(f"{{{{{name}}}}}", value)
    write_whole(folder / PAGE, page.encode())
    asked = {piece.name: _asked(piece) for piece in pieces if not piece.same_as and not piece.sketch}
    write_whole(folder / CAPTIONS, json.dumps(asked, indent=1, ensure_ascii=False).encode())


def _asked(piece: Piece) -> dict:
    known = {name: value for name, value in asdict(piece.song).items() if value is not None}
    return {**known, "seed": piece.settings.seed}


def _section(section, pieces: list[Piece], others: Mapping[str, dict[str, str]]) -> str:
    sounds = "\n".join(_figure(piece) + "".join(_beside(piece, others)) for piece in pieces)
    return (
        f'<section id="{section.name}">\n<h2>{_text(section.title)}</h2>\n<p>{_text(section.about)}</p>\n'
        f'<div class="sounds">\n{sounds}\n</div>\n</section>'
    )


def _figure(piece: Piece) -> str:
    return _sound(piece.title, piece.file, _about(piece.song), "" if piece.sketch else f"seed {piece.settings.seed}")


def _beside(piece: Piece, others: Mapping[str, dict[str, str]]):
    for name, files in others.items():
        if piece.name in files:
            yield _sound(f"{piece.title}: {name}", files[piece.name], _about(piece.song), "")


def _about(song: Song) -> str:
    beats = f"{song.bpm} bpm" if song.bpm else ""
    words = "" if song.lyrics.strip() in ("", INSTRUMENTAL) else "with lyrics"
    return " · ".join(part for part in (song.caption, beats, song.key, words) if part)


def _sound(title: str, file: str, about: str, seed: str) -> str:
    picture, (width, height) = Path(file).with_suffix(f".{PICTURE}").as_posix(), PICTURE_PX
    tail = f" <small>{_text(seed)}</small>" if seed else ""
    return (
        f"<figure>\n<figcaption><b>{_text(title)}</b>{tail}</figcaption>\n"
        f'<div class="spectrum"><img src="{_text(picture)}" width="{width}" height="{height}" loading="lazy" '
        f'alt="Spectrogram of {_text(title)}"><i></i></div>\n'
        f'<audio controls preload="none" src="{_text(file)}" aria-label="{_text(title)}"></audio>\n'
        f"<p>{_text(about)}</p>\n</figure>"
    )


def _text(text: str) -> str:
    return html.escape(text, quote=True)
