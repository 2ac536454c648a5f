"""Tags of sound files, read and written packet by packet: no torch, no decoding."""

import io
import json
import os

from ..errors import UserError
from ..system.files import existing
from .formats import FORMATS

_RIFF_NAMES = ("title", "artist", "album", "genre", "date")


_RIFF_KEY = "acestep_cascade"  # RIFF INFO has few names, so all tags lie as JSON under this key in its comment


def tagged(data: bytes, name: str, tags: dict[str, str]) -> bytes:
    """The same encoded sound, packet by packet, in a container with tags."""
    import av

    kind, target = FORMATS[name], io.BytesIO()
    named = {kind.tag_names.get(key, key): value for key, value in tags.items()}
    if name == "wav":
        named = {key: value for key, value in tags.items() if key in _RIFF_NAMES}
        named["comment"] = json.dumps({_RIFF_KEY: tags}, ensure_ascii=False)
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
    """A file's tags by lower-case name, as `write` was given them. Raises UserError for a file that is no media."""
    path = existing(path)
    import av

    try:
        with av.open(str(path)) as container:
            found = dict(container.metadata)
            for stream in container.streams.audio[:1]:
                found.update(stream.metadata)
    except av.FFmpegError as exc:
        raise UserError(f"{path}: is no audio file ({exc.strerror})") from exc
    ours = {theirs: name for kind in FORMATS.values() for name, theirs in kind.tag_names.items()}
    tags = {ours.get(key, key).lower(): value for key, value in found.items() if key.lower() != "encoder"}
    return _from_riff(tags)


def _from_riff(tags: dict[str, str]) -> dict[str, str]:
    try:
        inner = json.loads(tags.get("comment", ""))
    except ValueError:
        return tags
    if not isinstance(inner, dict) or not isinstance(inner.get(_RIFF_KEY), dict):
        return tags
    return {key: str(value) for key, value in inner[_RIFF_KEY].items()}
