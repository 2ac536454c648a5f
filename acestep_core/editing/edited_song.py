"""EditedSong: a song with the edit that makes it, as the text encoder reads it. No torch."""

from dataclasses import dataclass
from typing import Protocol

from ..errors import UserError
from ..prompt import TEXT_TO_MUSIC, lyrics_prompt, text_prompt
from ..song import Song
from .edit import Edit

Prompts = tuple[str, str]  # of the caption, and of the lyrics


class HasPrompts(Protocol):
    """A song that is read with instructions of its own."""

    def prompts(self) -> tuple[Prompts, ...]: ...


@dataclass(frozen=True)
class EditedSong:
    """What is made: `song` describes the whole result, `source` the source, where the edit is a morph. `seconds` is the
    length of the result, which may be shorter than any song's.
    """

    song: Song
    edit: Edit
    seconds: float
    source: Song | None = None

    def __post_init__(self):
        if self.edit.task == "morph" and self.source is None:
            raise UserError(
                "morph: the source's own words are missing; its tags have none, so give its caption, such as "
                '--from-caption "lo-fi beat"'
            )

    def prompts(self) -> tuple[Prompts, ...]:
        """The prompts of the song, and, where the edit has a second text, the prompts of that."""
        own = self._prompts(self.song, self.edit.instruction)
        if self.edit.task == "morph":
            return own, self._prompts(self.source, TEXT_TO_MUSIC)
        return (own, self._prompts(self.song, TEXT_TO_MUSIC)) if self.edit.needs_regular_text else (own,)

    def _prompts(self, song: Song, instruction: str) -> Prompts:
        return text_prompt(song, instruction, self.seconds), lyrics_prompt(song)


def prompts_of(song: "Song | HasPrompts") -> tuple[Prompts, ...]:
    """The prompts of a song, or of one with an edit or with codes: one pair, or two."""
    return ((text_prompt(song), lyrics_prompt(song)),) if isinstance(song, Song) else song.prompts()
