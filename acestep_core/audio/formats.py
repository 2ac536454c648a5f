"""The formats of sound files: containers, bit depths, rates. No torch, so that a command line starts fast."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ..errors import UserError

FLAC_FINE_HZ, FLAC_STEP_HZ = 65_535, 10  # above it FLAC counts rates in tens of hertz


@dataclass(frozen=True)
class AudioFormat:
    """One row of FORMATS: how soundfile writes a format, which sample rates it holds, and its names of tags."""

    container: str  # libsndfile's name
    muxer: str  # FFmpeg's name
    subtypes: Mapping[str, str]  # bit depth -> libsndfile's subtype, the default first
    highest_rate_hz: int
    rates_hz: tuple[int, ...] = ()  # empty: any up to the highest
    quality: Mapping[str, object] = field(default_factory=dict)
    tag_names: Mapping[str, str] = field(default_factory=dict)

    def nearest_rate_hz(self, rate_hz: int) -> int:
        """The rate itself where the format holds it, else the next higher one that it holds, else its highest."""
        if self.rates_hz:
            return min((rate for rate in self.rates_hz if rate >= rate_hz), default=self.highest_rate_hz)
        step = FLAC_STEP_HZ if self.container == "FLAC" and rate_hz > FLAC_FINE_HZ else 1
        return min(-(-rate_hz // step) * step, self.highest_rate_hz)

    def check_rate(self, rate_hz: int) -> None:
        """Raises UserError for a rate that the format cannot hold."""
        if self.nearest_rate_hz(rate_hz) == rate_hz:
            return
        named = ", ".join(map(str, self.rates_hz))
        expected = f"one of {named}" if named else f"at most {self.highest_rate_hz}"
        if not named and rate_hz < self.highest_rate_hz:
            expected = f"whole tens above {FLAC_FINE_HZ}"
        raise UserError(f"{self.muxer}: got {rate_hz} Hz, expected {expected}; resample it, as audio.fit does")


_MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
LOSSY = "lossy"
FORMATS = MappingProxyType(
    {
        "wav": AudioFormat("WAV", "wav", {"24": "PCM_24", "16": "PCM_16", "32f": "FLOAT"}, 768_000),
        "flac": AudioFormat("FLAC", "flac", {"24": "PCM_24", "16": "PCM_16"}, 655_350),
        "mp3": AudioFormat(
            "MP3",
            "mp3",
            {LOSSY: "MPEG_LAYER_III"},
            48_000,
            _MP3_RATES_HZ,
            {"bitrate_mode": "VARIABLE", "compression_level": 0.1},
            {"bpm": "TBPM", "key": "TKEY"},
        ),
        # libvorbis crashes the process above this rate instead of refusing it.
        "ogg": AudioFormat("OGG", "ogg", {LOSSY: "VORBIS"}, 200_000, quality={"compression_level": 0.3}),
        "opus": AudioFormat("OGG", "opus", {LOSSY: "OPUS"}, 48_000, (8000, 12000, 16000, 24000, 48000)),
    }
)


def choose_format(path: "str | os.PathLike", format: str | None = None, bit_depth: "str | int | None" = None):
    """(format, bit depth) of the file to be written at `path`. Raises UserError where name and options contradict."""
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
