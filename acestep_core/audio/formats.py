"""The formats of sound files: containers, bit depths, rates. No torch, so that a command line answers at once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ..errors import UserError


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
