"""What jobs make: songs, the answer of a planner, a trained adapter, labels of clips. Each order holds all that its
making needs. No torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..generation.settings import GenerationSettings
from ..generation.song_files import SongFile
from ..scoring.take_settings import TakeSettings
from ..song import Song
from ..training.settings import Intervals, LoraSettings

SONGS, TRAIN_LORA, LABEL = "songs", "train_lora", "label"
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


@dataclass(frozen=True)
class TrainingOrder:
    """An adapter `name` of one stage `model`, trained on the dataset in a folder. Checkpoints lie in `work`, prepared
    clips in `cache`, and the finished adapter becomes the file `target`. `songs`: those that the model makes itself for
    prior preservation. `dtype`: of the model; None suits the device.
    """

    name: str
    model: str
    folder: Path
    settings: LoraSettings
    work: Path
    cache: Path
    target: Path
    intervals: Intervals = Intervals()
    trigger: str | None = None
    songs: tuple[Song, ...] = ()
    text_encoder: str | None = None  # None: the cascade's
    vocoder: str | None = None
    dtype: str | None = None
    kind: str = TRAIN_LORA

    @property
    def title(self) -> str:
        return f"{self.name}, an adapter of {self.model}"


@dataclass(frozen=True)
class LabelOrder:
    """Labels of a dataset's clips, written by a planner; only of those without a caption where `only_new`. `models`:
    those whose tokenizer reads the clips.
    """

    dataset: str
    planner: str | None
    models: str
    seed: int
    only_new: bool = True
    kind: str = LABEL

    @property
    def title(self) -> str:
        return f"labels of {self.dataset}"


Order = SongsOrder | AnswerOrder | TrainingOrder | LabelOrder
