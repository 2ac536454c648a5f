"""Sounds by their handles, uploads and songs alike: to play, in any format, and as the outline of their waveform."""

import threading
from collections.abc import Callable, Hashable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from ..audio.formats import FORMATS
from ..audio.song_tags import TITLE_LENGTH
from ..audio.tags import read_tags
from ..checkpoints.locate import state_of
from ..editing.beats import beats_of_file
from ..editing.source_song import tagged_song
from ..errors import UserError, shown
from ..generation.making import slug
from ..memory.lru import LruCache
from ..spec import MAX_BPM, MIN_BPM
from .job_routes import MEDIA_TYPES
from .server import Server

if TYPE_CHECKING:
    from ..audio.peaks import Peaks

COLUMNS, COLUMNS_MOST = 800, 4000
_OUTLINES_KEPT, _BEATS_KEPT = 64, 64
_PLAYED = {**MEDIA_TYPES, "m4a": "audio/mp4", "webm": "audio/webm"}  # by every browser, or by all but one
_HEADERS = {"x-content-type-options": "nosniff"}


def sound_routes(server: Server) -> APIRouter:
    """Routes of sounds."""
    router, clip = APIRouter(prefix="/v1/sounds", tags=["library"]), server.requests.clip
    outlines, converting, measured = Remembered(_OUTLINES_KEPT), threading.Lock(), Remembered(_BEATS_KEPT)

    @router.get("/{handle}/audio", summary="A sound; `format` converts it to wav, flac, mp3, ogg or opus, tags and all")
    def audio(handle: str, format: str = "", download: bool = False) -> Response:
        path = Path(clip(handle))
        own = path.suffix[1:].lower()
        wanted = format.lower() or (own if own in _PLAYED else "flac")
        name = f"{_name(path, handle)}.{wanted}"
        how = {"content_disposition_type": "attachment" if download else "inline", "filename": name}
        if wanted == own:
            return FileResponse(path, media_type=_PLAYED[own], headers=_HEADERS, **how)
        with converting:  # each takes the memory of a whole song
            data = converted(path, wanted)
        kind = how["content_disposition_type"]
        headers = {**_HEADERS, "content-disposition": f'{kind}; filename="{name}"'}
        return Response(data, media_type=MEDIA_TYPES[wanted], headers=headers)

    @router.get("/{handle}/peaks", summary="The outline of a sound: the lowest and highest sample of each column")
    def peaks(handle: str, columns: int = COLUMNS) -> dict:
        found = outlines.of(Path(clip(handle)), _outline)
        pairs = found.window(0.0, found.seconds, max(1, min(columns, COLUMNS_MOST)))
        return {"seconds": round(found.seconds, 3), "peaks": pairs.round(3).tolist()}

    @router.get("/{handle}/beats", summary="Where beats lie: by its tags, else by `bpm`, else measured; {} if unknown")
    def beats(handle: str, bpm: float = 0.0) -> dict:
        path = Path(clip(handle))
        song = tagged_song(path)
        known = song.bpm or (bpm if MIN_BPM <= bpm <= MAX_BPM else None), song.time_signature
        found = measured.of(path, lambda file: beats_of_file(file, *known), known)
        return asdict(found) if found else {}

    return router


def converted(path: Path, format: str) -> bytes:
    """A sound file in another format, with its tags. Raises UserError."""
    if format not in FORMATS:
        raise UserError(f"format: got {shown(format)}, expected one of {', '.join(FORMATS)}")
    from .. import audio

    wave = audio.fit(audio.read(path), format)
    return audio.encoded(wave, format, next(iter(FORMATS[format].subtypes)), read_tags(path))


def _name(path: Path, handle: str) -> str:
    """The bare name under which a sound is saved: of letters that every system takes."""
    text = path.stem if handle.startswith("s_") else handle
    return slug(text[:TITLE_LENGTH]).encode("ascii", "ignore").decode() or "song"


def _outline(path: Path) -> "Peaks":
    from ..audio.peaks import peaks_of

    return peaks_of(path)


class Remembered:
    """What was found of the last files. One file is read at a time: each takes the memory of a whole song."""

    def __init__(self, most: int):
        self._lock, self._found = threading.Lock(), LruCache(most)

    def of(self, path: Path, find: Callable, given: Hashable = None):
        """What `find` finds of a file, asked again where the file has changed. Raises UserError."""
        with self._lock:
            return self._found.get((state_of(path), given), lambda: find(path))
