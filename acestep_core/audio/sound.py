"""The names of `from acestep_core import audio`, from the files of this folder."""

from ..system.files import check_destination
from .files import check_item, encoded, fit, read, write
from .formats import FORMATS, choose_format
from .loudness import limit, loudness_lufs, normalise_loudness, normalise_peak
from .tags import read_tags
from .waveform import Waveform, convert

__all__ = [
    "FORMATS",
    "Waveform",
    "check_destination",
    "check_item",
    "choose_format",
    "convert",
    "encoded",
    "fit",
    "limit",
    "loudness_lufs",
    "normalise_loudness",
    "normalise_peak",
    "read",
    "read_tags",
    "write",
]
