"""Edit: the request for an edit of music. It checks its values, and is read from and written into tags. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields

from ..errors import UserError, shown
from ..song import LYRICS_MOST, TEXT_MOST, check_seed, check_text
from ..spec import MAX_SECONDS
from .regions import Region, check_regions, check_within
from .tasks import TASKS, TRACKS, Task, instruction, known_as

DEFAULT_STRENGTH = {"repaint": 0.5, "extend": 0.0}
DEFAULT_AMOUNT = 0.2
_SHARES = ("strength", "structure", "closeness", "amount", "morph_begin", "morph_end")
_NUMBERS = (*_SHARES, "before", "after", "averages")
AVERAGES_MOST = 16
_OF_A_RETAKE = ("amount", "retake_seed")  # which may be one of any edit


@dataclass(frozen=True)
class Edit:
    """What is made of a source. A setting that is None takes the task's default; one that the task has no use for is an
    error, as are values out of range.

    `regions`: seconds of the source, (start, end) each. `strength` 0 to 1: how far a repaint may leave the source.
    `before`, `after`: seconds of new music. `tracks`: names of TRACKS. `structure` 0 to 1: the share of the steps that
    follow the source. `closeness` 0 to 1: how much of the source's sound the run begins with. `codes`: a cover through
    the model's own codes, which leave timbre free. `mix`: a stem with its source. `amount` 0 to 1: of other noise, of
    `retake_seed`. `from_caption`, `from_lyrics`: of the source of a morph, which acts between two shares of the steps.
    """

    task: str
    regions: tuple[Region, ...] = ()
    strength: float | None = None
    before: float | None = None
    after: float | None = None
    tracks: tuple[str, ...] = ()
    structure: float | None = None
    closeness: float | None = None
    codes: bool | None = None
    mix: bool | None = None
    amount: float | None = None
    retake_seed: int | None = None
    from_caption: str | None = None
    from_lyrics: str | None = None
    morph_begin: float | None = None
    morph_end: float | None = None
    averages: int | None = None

    def __post_init__(self):
        if self.task not in TASKS:
            raise UserError(f"edit: got the task {shown(self.task)}, expected one of {', '.join(TASKS)}")
        self._check_kinds()
        self._check_used()
        object.__setattr__(self, "regions", check_regions(self.regions))
        self._check_task()

    def _check_kinds(self) -> None:
        for name in _NUMBERS:
            self._check(name, lambda value: type(value) in (int, float), "a number")
        for name in ("codes", "mix"):
            self._check(name, lambda value: isinstance(value, bool), "true or false")
        for name in ("from_caption", "from_lyrics"):
            self._check(name, lambda value: isinstance(value, str), "text")
            check_text(name, getattr(self, name) or "", LYRICS_MOST if name == "from_lyrics" else TEXT_MOST)
        for name in _SHARES:
            self._check(name, lambda value: 0 <= value <= 1, "a number from 0 to 1")
        for name in ("before", "after"):
            self._check(name, lambda value: 0 <= value <= MAX_SECONDS, f"seconds from 0 to {MAX_SECONDS:g}")
        whole = f"a whole number from 1 to {AVERAGES_MOST}"
        self._check("averages", lambda value: isinstance(value, int) and 1 <= value <= AVERAGES_MOST, whole)
        if self.retake_seed is not None:
            check_seed(self.retake_seed)

    def _check(self, name: str, fits: Callable[[object], bool], expected: str) -> None:
        value = getattr(self, name)
        if value is not None and not fits(value):
            raise UserError(f"{name.replace('_', '-')}: got {shown(value)}, expected {expected}")

    def _check_used(self) -> None:
        takes = ("task", *self.row.takes, *(() if self.retake_seed is None else _OF_A_RETAKE))
        unused = [name for name in self.given() if name not in takes]
        if unused:
            name, takes = unused[0].replace("_", "-"), ", ".join(self.row.takes).replace("_", "-")
            raise UserError(f"{self.task}: got {name}, which it has no use for; it takes {takes}")

    def _check_task(self) -> None:
        if not isinstance(self.tracks, tuple) or not all(track in TRACKS for track in self.tracks):
            raise UserError(f"tracks: got {shown(self.tracks)}, expected names of {', '.join(TRACKS)}")
        if self.row.is_stem and len(self.tracks) != 1:
            raise UserError(f"{self.task}: got {len(self.tracks)} tracks, expected one, such as drums")
        if self.task == "repaint" and not self.regions:
            raise UserError("repaint: got no region, expected seconds such as 10-20, or bars such as bars 8-12")
        if self.task == "extend" and not (self.before or self.after):
            raise UserError("extend: got no length, expected seconds before or after the source, such as after 20")
        begin, end = self.morph_begin or 0.0, 1.0 if self.morph_end is None else self.morph_end
        if begin >= end:
            raise UserError(
                f"morph: got the shares of the steps from {begin:g} to {end:g}, expected a begin below the end"
            )

    @property
    def row(self) -> Task:
        return TASKS[self.task]

    @property
    def instruction(self) -> str:
        """The instruction that the text encoder reads."""
        return instruction(self.row, self.tracks)

    @property
    def knows(self) -> str:
        """The task that a checkpoint must have been trained for."""
        return known_as(self.row, self.by_codes)

    @property
    def by_codes(self) -> bool:
        """Whether models see the source through their own codes."""
        return self.task == "cover" and self.codes is not False

    @property
    def strength_or_default(self) -> float:
        return DEFAULT_STRENGTH.get(self.task, 1.0) if self.strength is None else self.strength

    @property
    def needs_regular_text(self) -> bool:
        """Whether the steps after a switch read the instruction of text to music."""
        return self.structure is not None and self.structure < 1

    def seconds(self, source_seconds: float) -> float:
        """The length of the result of a source. Raises UserError for one that is too long."""
        seconds = source_seconds + (self.before or 0.0) + (self.after or 0.0)
        if seconds > MAX_SECONDS:
            raise UserError(
                f"{self.task}: the result would be {seconds:.1f} s long, expected at most {MAX_SECONDS:g} s; "
                "take less of the source, or ask for less"
            )
        return seconds

    def check_source(self, seconds: float) -> None:
        """Raises UserError for a source that is too long for this edit, or does not have what the regions name."""
        self.seconds(seconds)
        check_within(self.regions, seconds)

    def given(self) -> dict:
        """The settings that were given, for tags and for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None and value != ()}

    @classmethod
    def from_given(cls, given: object) -> "Edit":
        """An Edit of what `given` made, as tags hold it. Raises UserError."""
        names = [field.name for field in fields(cls)]
        if not isinstance(given, Mapping) or not isinstance(given.get("task"), str):
            raise UserError(f"edit: got {shown(given)}, expected an object with a task")
        if unknown := sorted(set(given) - set(names)):
            raise UserError(f"edit: unknown setting {shown(unknown[0])}")
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        return cls(**values)
