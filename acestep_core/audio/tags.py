"""Tags of sound files, read and written packet by packet: no torch, no decoding."""

import io
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import UserError
from ..json_text import parse_json
from ..system.files import existing
from .formats import FORMATS
from .id3 import with_lyrics
from .song_tags import TIMED_TAG, timed_lines

logger = logging.getLogger(__name__)

_RIFF_NAMES = ("title", "artist", "album", "genre", "date")
_RIFF_KEY = "acestep_cascade"  # RIFF INFO has few names, so all tags lie as JSON under this key in its comment
_UNKNOWN_BYTES = 0xFFFFFFFF  # the length in a WAV file whose writer did not know it
_WAV_CHUNKS = ("fmt", "fact", "data", "ds64", "PEAK", "LIST INFO", "id3", "ID3", "JUNK", "junk", "PAD", "FLLR")


def tagged(data: bytes, name: str, tags: Mapping[str, str]) -> bytes:
    """The same encoded sound in a container with tags.

    A format may limit the size of tags, as FLAC does to 16 MB: beyond it the largest tags are left out, and a warning
    is logged.
    """
    import av

    left = dict(tags)
    while True:
        try:
            return _with_frames(_remuxed(data, name, left), name, left)
        except (av.FFmpegError, ValueError):
            if not left:
                raise
        largest = max(left, key=lambda key: len(left[key]))
        size = len(left.pop(largest)) / 1e6
        logger.warning("%s: the tag %s is left out, its %.1f MB do not fit into the file", name, largest, size)


def _with_frames(data: bytes, name: str, tags: Mapping[str, str]) -> bytes:
    if name != "mp3" or TIMED_TAG not in tags:
        return data
    return with_lyrics(data, tags.get("lyrics", ""), timed_lines(tags[TIMED_TAG]))


def _remuxed(data: bytes, name: str, tags: Mapping[str, str]) -> bytes:
    import av

    kind, target = FORMATS[name], io.BytesIO()
    named = {kind.tag_names.get(key, key): value for key, value in tags.items()}
    if name == "wav":
        named = {key: value for key, value in tags.items() if key in _RIFF_NAMES}
        named["comment"] = json.dumps({_RIFF_KEY: dict(tags)}, ensure_ascii=False)
    with av.open(io.BytesIO(data)) as source, av.open(target, "w", format=kind.muxer) as made:
        stream = made.add_stream_from_template(source.streams.audio[0])
        # Some containers keep tags of the file, Ogg keeps tags of the stream.
        made.metadata.update(named)
        stream.metadata.update(named)
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:  # the last one is empty and only flushes decoders
                packet.stream = stream
                made.mux(packet)
    return target.getvalue()


def read_tags(path: "str | os.PathLike") -> dict[str, str]:
    """A file's tags by lower-case name, as `write` was given them. Raises UserError for a file that is no media.

    Bytes that are no UTF-8, as other programs write them into tags, become U+FFFD.
    """
    path = existing(path)
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            found = dict(container.metadata)
            for stream in container.streams.audio[:1]:
                found.update(stream.metadata)
    except av.FFmpegError as exc:
        raise UserError(f"{path}: is no audio file ({exc.strerror})") from exc
    ours = {theirs: name for kind in FORMATS.values() for name, theirs in kind.tag_names.items()}
    tags = {ours.get(key, key).lower(): value for key, value in found.items() if key.lower() != "encoder"}
    return _from_riff(tags)


def with_tags(path: "str | os.PathLike", changed: Mapping[str, str]) -> bytes:
    """The bytes of a sound file with some tags changed; its sound stays as it is.

    Raises UserError, also for a file that `check_rewritable` refuses.
    """
    import av

    path = existing(path)
    name = path.suffix.lower().removeprefix(".")
    if name not in FORMATS:
        raise UserError(f"{path}: tags can be written into {', '.join(FORMATS)} files; write a file beside it instead")
    tags = {**read_tags(path), **changed}
    check_rewritable(path)
    try:
        return tagged(path.read_bytes(), name, tags)
    except (av.FFmpegError, ValueError) as exc:
        raise UserError(f"{path}: cannot be written again with other tags ({exc}); write a file beside it") from exc


def check_rewritable(path: Path) -> None:
    """Raises UserError for a sound file that holds what would be lost: a picture, or chunks of a WAV such as cues."""
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            has_picture = bool(container.streams.video)
    except av.FFmpegError as exc:
        raise UserError(f"{path}: is no audio file ({exc.strerror})") from exc
    if has_picture:
        raise UserError(f"{path}: holds a picture, which would be lost; write a file beside it instead")
    if others := [name for name in dict.fromkeys(_wav_chunks(path)) if name not in _WAV_CHUNKS]:
        raise UserError(f"{path}: holds {', '.join(others)}, which would be lost; write a file beside it instead")


def _wav_chunks(path: Path) -> Iterator[str]:
    """Names of the chunks of a WAV file, a list's with its kind; none of any other file."""
    with path.open("rb") as file:
        start = file.read(12)
        if start[:4] not in (b"RIFF", b"RF64") or start[8:] != b"WAVE":
            return
        end = int.from_bytes(start[4:8], "little") or _UNKNOWN_BYTES
        while file.tell() < end and len(head := file.read(8)) == 8:
            name, size = head[:4].decode("latin-1").strip(), int.from_bytes(head[4:], "little")
            if name == "data" and size in (0, _UNKNOWN_BYTES):  # of a stream: sound up to the end
                return
            body = file.tell()
            yield f"{name} {file.read(4).decode('latin-1').strip()}" if name == "LIST" else name
            file.seek(body + size + size % 2)


def _from_riff(tags: dict[str, str]) -> dict[str, str]:
    try:
        inner = parse_json(tags.get("comment", ""), "comment")
    except UserError:  # a comment of another program
        return tags
    if not isinstance(inner, dict) or not isinstance(inner.get(_RIFF_KEY), dict):
        return tags
    return {key: str(value) for key, value in inner[_RIFF_KEY].items()}
