"""What audio files can be: formats, bit depths, places, tags and whole writes.

No torch, so that a command line can check a user's wish, or show a file's tags, at once.
"""

import io
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from .errors import AceStepError, UserError


@dataclass(frozen=True)
class AudioFormat:
    """One row of FORMATS: how soundfile writes it and how its tags are called."""

    container: str  # libsndfile's name
    muxer: str  # FFmpeg's name
    subtypes: Mapping[str, str]  # bit depth -> libsndfile's subtype, the default first
    rates_hz: tuple[int, ...] = ()  # empty: any
    quality: Mapping[str, object] = field(default_factory=dict)
    tag_names: Mapping[str, str] = field(default_factory=dict)


_MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
LOSSY = "lossy"
FORMATS = MappingProxyType(
    {
        "wav": AudioFormat("WAV", "wav", {"24": "PCM_24", "16": "PCM_16", "32f": "FLOAT"}),
        "flac": AudioFormat("FLAC", "flac", {"24": "PCM_24", "16": "PCM_16"}),
        "mp3": AudioFormat(
            "MP3",
            "mp3",
            {LOSSY: "MPEG_LAYER_III"},
            _MP3_RATES_HZ,
            {"bitrate_mode": "VARIABLE", "compression_level": 0.1},
            {"bpm": "TBPM", "key": "TKEY"},
        ),
        "ogg": AudioFormat("OGG", "ogg", {LOSSY: "VORBIS"}, (), {"compression_level": 0.3}),
        "opus": AudioFormat("OGG", "opus", {LOSSY: "OPUS"}, (8000, 12000, 16000, 24000, 48000)),
    }
)
_RIFF_NAMES = ("title", "artist", "album", "genre", "date")
_RIFF_KEY = "acestep_cascade"  # RIFF INFO has few names, so all tags lie as JSON under this key in its comment


def choose_format(path: "str | os.PathLike", format: str | None = None, bit_depth: "str | int | None" = None):
    """(name, bit depth) of the file to be written at `path`. Raises UserError where they contradict."""
    suffix = Path(path).suffix.lower().removeprefix(".")
    name = (format or suffix).lower()
    if name not in FORMATS:
        raise UserError(f"{path}: got the format {name!r}, expected one of {', '.join(FORMATS)}")
    if suffix in FORMATS and suffix != name:
        raise UserError(f"{path}: the file's name says {suffix}, the format asked for is {name}; make them agree")
    depths = tuple(FORMATS[name].subtypes)
    depth = depths[0] if bit_depth is None else str(bit_depth)
    if depth not in depths:
        allowed = "none, it is lossy" if depths == (LOSSY,) else ", ".join(sorted(depths))
        raise UserError(f"bit depth: got {bit_depth} for {name}, expected {allowed}")
    return name, depth


def check_destination(path: "str | os.PathLike") -> Path:
    """The path, if a file can be made there. Raises UserError, so that nobody waits for a song that cannot be saved."""
    path = Path(path)
    folder = path.parent
    if path.is_dir():
        raise UserError(f"{path}: is a folder, expected the name of a file")
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; create it first or give another place")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder}: is not writable; give another place")
    return path


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


def write_whole(path: Path, data: bytes):
    # Beside the target, so that the last step is a rename within one file system; short, as the target's may be long.
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as exc:
        raise AceStepError(
            f"{path}: could not be written ({exc.strerror or exc}); free space or give another place"
        ) from exc
    finally:
        part.unlink(missing_ok=True)


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


def existing(path: "str | os.PathLike") -> Path:
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"{path}: {'is a folder' if path.is_dir() else 'does not exist'}, expected an audio file")
    return path
