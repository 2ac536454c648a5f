"""The exact strings that the models read for a Song. Every byte counts: the models were trained on this form."""

from types import MappingProxyType

from .errors import UserError
from .song import AUTO, Song

TEXT_TO_MUSIC = "Fill the audio semantic mask based on the given conditions:"

# Per task; {TRACK} is one instrument in capitals, {TRACK_CLASSES} several.
INSTRUCTIONS = MappingProxyType(
    {
        "text2music": TEXT_TO_MUSIC,
        "cover": "Generate audio semantic tokens based on the given conditions:",
        "repaint": "Repaint the mask area based on the given conditions:",
        "extract": "Extract the {TRACK} track from the audio:",
        "lego": "Generate the {TRACK} track based on the audio context:",
        "complete": "Complete the input track with {TRACK_CLASSES}:",
    }
)

TRACKS_JOIN = " | "  # between names of TRACK_CLASSES

_MISSING = "N/A"


def text_prompt(song: Song, instruction: str = TEXT_TO_MUSIC, seconds: float | None = None) -> str:
    """The prompt that the text encoder encodes: instruction, caption, tempo, key, time signature and length.

    `seconds` replaces the song's own: an edit may be shorter than any song.
    """
    metas = (
        f"- bpm: {song.bpm or _MISSING}\n"
        f"- timesignature: {song.time_signature or _MISSING}\n"
        f"- keyscale: {song.key or _MISSING}\n"
        f"- duration: {int(_length(song) if seconds is None else seconds)} seconds\n"
    )
    return f"# Instruction\n{instruction}\n\n# Caption\n{song.caption}\n\n# Metas\n{metas}<|endoftext|>\n"


def _length(song: Song) -> int:
    if song.seconds == AUTO:
        raise UserError('seconds: is "auto" still; plan the song first, or give its length in seconds')
    return int(song.seconds)


def lyrics_prompt(song: Song) -> str:
    """The lyrics prompt, of which only the token embeddings are used."""
    return f"# Languages\n{song.language}\n\n# Lyric\n{song.lyrics}<|endoftext|>"
