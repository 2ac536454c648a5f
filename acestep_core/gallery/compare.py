"""Sounds of others, made from the captions of a gallery, as files of the gallery."""

from pathlib import Path

from ..audio.formats import FORMATS
from ..errors import UserError
from ..generation.making import slug
from .make import draw
from .pieces import FORMAT, Piece

OTHERS = "others"
_ENDINGS = tuple(f".{name}" for name in sorted(FORMATS))


def compared(folder: Path, name: str, other: Path, pieces: list[Piece]) -> dict[str, str]:
    """{piece: file below `folder`} of the sounds in `other` that are called as pieces are, copied with a picture each.

    Raises UserError where there are none.
    """
    target = folder / OTHERS / slug(name)
    found = {piece.name: place for piece in pieces if not piece.same_as and (place := _of_piece(other, piece.name))}
    if not found:
        wanted = f"{pieces[0].name}.wav"
        raise UserError(f"{other}: got no sound that is called as one of the gallery, expected files such as {wanted}")
    copies = {name: _copied(place, target / f"{name}.{FORMAT}") for name, place in found.items()}
    return {name: copy.relative_to(folder).as_posix() for name, copy in copies.items()}


def _of_piece(folder: Path, name: str) -> Path | None:
    return next((place for end in _ENDINGS if (place := folder / f"{name}{end}").is_file()), None)


def _copied(place: Path, target: Path) -> Path:
    from .. import audio

    if not target.exists() or target.stat().st_mtime < place.stat().st_mtime:
        target.parent.mkdir(parents=True, exist_ok=True)
        audio.write(target, audio.fit(audio.read(place), FORMAT), FORMAT)
    draw(target)
    return target
