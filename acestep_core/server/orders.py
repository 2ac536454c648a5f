"""What jobs make: songs, or the answer of a planner. Each order holds all that its making needs. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..generation.settings import GenerationSettings
from ..generation.song_files import SongFile
from ..scoring.take_settings import TakeSettings
from ..song import Song

SONGS, ANSWER = "songs", "answer"
PLAN, WRITE, REWRITE, UNDERSTAND = "plan", "write", "rewrite", "understand"
_TITLE_LENGTH = 80


@dataclass(frozen=True)
class PlannerStep:
    """Something that a planner is asked. `line` is that of `write`; `source` is the sound that `understand` describes,
    and `models` those whose tokenizer reads it. `sampling`: fields of planner.sampling.Sampling, as far as given.
    """

    kind: str
    planner: str | None = None  # None: one that is here
    line: str = ""
    instrumental: bool = False
    codes: bool = True
    source: str | None = None
    models: str | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SongsOrder:
    """Songs of one request, which differ by their seeds. `steps` are asked of a planner for each, before it is made.

    Each is the best of its `takes`, where there are several.
    """

    song: Song
    settings: tuple[GenerationSettings, ...]
    file: SongFile = SongFile()
    steps: tuple[PlannerStep, ...] = ()
    preview_seconds: float = 0.0
    takes: TakeSettings = TakeSettings()
    kind: str = SONGS

    @property
    def title(self) -> str:
        line = next((step.line for step in self.steps if step.line), "")
        return (self.file.title or self.song.caption or line or self.kind)[:_TITLE_LENGTH]


@dataclass(frozen=True)
class AnswerOrder:
    """One question to a planner about a song."""

    step: PlannerStep
    song: Song
    seed: int

    @property
    def kind(self) -> str:
        return self.step.kind

    @property
    def title(self) -> str:
        return (self.step.line or self.song.caption or self.kind)[:_TITLE_LENGTH]


Order = SongsOrder | AnswerOrder
