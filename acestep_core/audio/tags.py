"""Tags of sound files, read and written packet by packet: no torch, no decoding."""

import io
import json
import logging
import os
from collections.abc import Mapping

from ..errors import UserError
from ..json_text import parse_json
from ..system.files import existing
from .formats import FORMATS
from .id3 import with_lyrics
from .song_tags import TIMED_TAG, timed_lines

logger = logging.getLogger(__name__)

_RIFF_NAMES = ("title", "artist", "album", "genre", "date")
_RIFF_KEY = "acestep_cascade"  # RIFF INFO has few names, so all tags lie as JSON under this key in its comment


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
    """The bytes of a sound file with some tags changed; its sound stays as it is. Raises UserError.

    A file with a picture is refused, as the picture would be lost.
    """
    import av

    path = existing(path)
    name = path.suffix.lower().removeprefix(".")
    if name not in FORMATS:
        raise UserError(f"{path}: tags can be written into {', '.join(FORMATS)} files; write a file beside it instead")
    tags = {**read_tags(path), **changed}
    with av.open(str(path), metadata_errors="replace") as container:
        if container.streams.video:
            raise UserError(f"{path}: holds a picture, which would be lost; write a file beside it instead")
    try:
        return tagged(path.read_bytes(), name, tags)
    except (av.FFmpegError, ValueError) as exc:
        raise UserError(f"{path}: cannot be written again with other tags ({exc}); write a file beside it") from exc


def _from_riff(tags: dict[str, str]) -> dict[str, str]:
    try:
        inner = parse_json(tags.get("comment", ""), "comment")
    except UserError:  # a comment of another program
        return tags
    if not isinstance(inner, dict) or not isinstance(inner.get(_RIFF_KEY), dict):
        return tags
    return {key: str(value) for key, value in inner[_RIFF_KEY].items()}
