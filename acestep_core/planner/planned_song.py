"""PlannedSong: a song with the audio codes that its models follow, as the text encoder and the stages take it."""

import dataclasses
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from ..checkpoints.layouts import AUDIO_TOKEN_PARTS
from ..errors import CheckpointError, UserError, shown
from ..prompt import INSTRUCTIONS, TEXT_TO_MUSIC, lyrics_prompt, text_prompt
from ..song import Song
from ..spec import LatentSpec
from .song_plan import SongPlan, checked_codes, with_length

if TYPE_CHECKING:
    from ..checkpoints.checkpoint import Checkpoint
    from ..models.source import EditSource

logger = logging.getLogger(__name__)

Prompts = tuple[str, str]


@dataclass(frozen=True)
class PlannedSong:
    """A song and its codes. `strength` 0 to 1: the share of the steps that follow the codes. `codebook`: how many codes
    their planner knows, 0: not known. Raises UserError.
    """

    song: Song
    codes: tuple[int, ...]
    strength: float = 1.0
    codebook: int = 0

    def __post_init__(self):
        object.__setattr__(self, "codes", checked_codes(self.codes))
        if not self.codes:
            raise UserError("codes: got none, expected 5 for each second of the song")
        check_strength(self.strength)

    @property
    def seconds(self) -> float:
        return self.song.seconds

    def prompts(self) -> tuple[Prompts, ...]:
        """The prompts of the steps that follow the codes, and, where there are others, of those."""
        instructions = (INSTRUCTIONS["cover"], TEXT_TO_MUSIC)[: 1 if self.strength == 1 else 2]
        return tuple((text_prompt(self.song, one), lyrics_prompt(self.song)) for one in instructions)

    def source(self, spec: LatentSpec) -> "EditSource":
        """What the stages take. The same object each time, so that conditions are made once."""
        return _source(self, spec)


@lru_cache(4)
def _source(planned: PlannedSong, spec: LatentSpec) -> "EditSource":
    import torch

    from ..models.source import CODES, EditSource

    nothing = torch.zeros(1, spec.channels, 1)
    codes = torch.tensor(planned.codes)[None, :, None]
    return EditSource(nothing, spec.frames(planned.seconds), shows=CODES, structure=planned.strength, codes=codes)


def check_strength(value: object) -> None:
    """Raises UserError unless the strength of codes is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"codes strength: got {shown(value)}, expected a number from 0 to 1")


def check_codes(codes: tuple[int, ...], name: str, checkpoint: "Checkpoint", codebook: int = 0) -> None:
    """Raises CheckpointError where a model has no networks for codes, or has other codes than these."""
    if not reads_codes(checkpoint):
        raise CheckpointError(
            f"codes: {name} has no audio tokenizer in its files; make the song without codes, or with a model that "
            "has one, such as acestep-v15-turbo"
        )
    check_range(codes, name, checkpoint.part("audio_tokenizer").arguments, codebook)


def check_range(codes: tuple[int, ...], name: str, arguments: Mapping, codebook: int = 0) -> None:
    """Raises CheckpointError where codes are not those of an audio tokenizer, of these arguments: its number of codes
    tells it from others.
    """
    count = codebook_size(arguments)
    if max(codes) >= count or codebook not in (0, count):
        got = f"codes of {codebook:,} kinds" if codebook else f"the code {max(codes):,}"
        raise CheckpointError(f"codes: got {got}, {name} has {count:,}; take a planner of the model's own family")


def codebook_of(checkpoint: "Checkpoint") -> int:
    """How many codes a stage model's audio tokenizer has; 0 where it cannot follow codes."""
    return codebook_size(checkpoint.part("audio_tokenizer").arguments) if reads_codes(checkpoint) else 0


def codebook_size(arguments: Mapping) -> int:
    """How many codes an audio tokenizer of these arguments has."""
    return math.prod(arguments["fsq_input_levels"])


def reads_codes(checkpoint: "Checkpoint") -> bool:
    """Whether a stage model brings the networks that make hints of codes."""
    return all(part in checkpoint.parts for part in AUDIO_TOKEN_PARTS)


def settled(song):
    """The song to make: a SongPlan as its PlannedSong, or its song where it has no codes; each with a length."""
    if isinstance(song, SongPlan):
        song = PlannedSong(song.song, song.codes, codebook=song.codebook) if song.codes else song.song
    if isinstance(song, PlannedSong):
        return dataclasses.replace(song, song=settled_length(song.song))
    return settled_length(song) if isinstance(song, Song) else song


def settled_length(song: Song) -> Song:
    """The song with a length; a note in the log says where a rule chose it."""
    made = with_length(song)
    if made is not song:
        logger.warning("length: auto, which is %g s here, by a rule over the lyrics", made.seconds)
    return made
