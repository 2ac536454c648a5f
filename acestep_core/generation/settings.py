"""How a song was made: the settings that its tags keep beside the song, and both read from a file again. No torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from ..audio.song_tags import DIGESTS_TAG, MODELS_TAG, SCORES_TAG, SETTINGS_TAG, SONG_TAG
from ..audio.tags import read_tags
from ..checkpoints.cascade_models import embedded_name
from ..editing.edit import Edit
from ..errors import UserError, shown
from ..flow import schedule
from ..json_text import parse_json, parse_json_object
from ..planner.planned_song import check_strength
from ..planner.song_plan import checked_codes
from ..song import Song
from ..spec import MAX_SEED

MODEL_OPTIONS = ("models", "l", "m", "s", "text_encoder", "vocoder")
_NAMES = (*MODEL_OPTIONS, "continue_from", "source", "planner", "dtype", "vocoder_dtype", "quantise", "solver")
_NEWER, _DAMAGED = "a newer version may have made it", "the tag is damaged"


@dataclass(frozen=True)
class GenerationSettings:
    """Everything besides the song that decides how it sounds, as the user gave it: the settings tag of a file."""

    seed: int | None = None
    models: str | None = None
    l: str | None = None  # noqa: E741  the slot's name
    m: str | None = None
    s: str | None = None
    text_encoder: str | None = None
    vocoder: str | None = None
    steps: int | tuple[int, ...] | None = None
    boundaries: tuple[float, ...] | None = None
    solver: str | None = None
    guidance: str | tuple[str, ...] | None = None
    dcw: bool | None = None
    reference: tuple[str, ...] | None = None
    continue_from: str | None = None
    lora: tuple[str, ...] | None = None
    dtype: str | None = None
    vocoder_dtype: str | None = None
    quantise: str | None = None
    loudness: float | None = None
    planner: str | None = None  # what filled the song in; "" is one that is here
    planner_seed: int | None = None
    codes: tuple[int, ...] | None = None
    codebook: int | None = None  # how many codes their planner knows; None: not known
    codes_strength: float | None = None
    source: str | None = None  # the music of an edit
    edit: Mapping | None = None  # what is made of it, as Edit.given() has it

    def __post_init__(self):
        # A command line gives the right types; the tags of a file may hold any.
        schedule.check_kinds(self.steps, self.boundaries)
        for name in ("seed", "planner_seed", "codebook"):
            self._check(name, _is_seed(getattr(self, name)), f"a whole number from 0 to {MAX_SEED - 1}")
        for name in _NAMES:
            self._check(name, isinstance(getattr(self, name), str), "a name")
        if self.codes is not None:
            object.__setattr__(self, "codes", checked_codes(self.codes))
        if self.codes_strength is not None:
            check_strength(self.codes_strength)
        self._check("dcw", isinstance(self.dcw, bool), "true or false")
        for name in ("reference", "lora"):
            self._check(name, _is_tuple(getattr(self, name), str), "names")
        guided = isinstance(self.guidance, str | int | float) or _is_tuple(self.guidance, str | int | float)
        self._check("guidance", guided, "a scale such as 7, or one for each stage")
        self._check("loudness", isinstance(self.loudness, int | float), "a number")
        if self.loudness is not None and not -70 <= self.loudness <= 0:
            raise UserError(f"--loudness: got {self.loudness:g}, expected LUFS from -70 to 0, such as -14")
        if self.edit is not None:
            object.__setattr__(self, "edit", Edit.from_given(self.edit).given())
        if self.edit is None and self.source is not None:
            raise UserError("edit: got a source, and the edit is missing; give both, or neither")
        if self.continue_from and self.edit and self.edit_request.task != "retake":
            raise UserError(f"{self.edit['task']}: got a clip to continue too; extend makes music behind a source")

    def _check(self, name: str, fits: bool, expected: str) -> None:
        value = getattr(self, name)
        if value is not None and not fits:
            raise UserError(f"{name}: got {shown(value)}, expected {expected}")

    @property
    def sampling(self) -> dict:
        """The settings that `Cascade.plan` takes."""
        given = {name: getattr(self, name) for name in ("steps", "boundaries", "solver", "guidance", "dcw")}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def precision(self) -> dict:
        """The number formats that `Cascade.load` takes."""
        return {"dtype": self.dtype, "vocoder_dtype": self.vocoder_dtype, "quantise": self.quantise}

    @property
    def model_names(self) -> dict:
        """The models as `find_cascade` takes them."""
        names = {"models": self.models, "l": self.l, "m": self.m, "s": self.s}
        return {**names, "text": self.text_encoder, "vocoder": self.vocoder}

    @property
    def edit_request(self) -> Edit | None:
        """The edit that made a song; None of one that was made from text."""
        return None if self.edit is None else Edit.from_given(self.edit)

    def check_source(self) -> None:
        """Raises UserError for an edit whose source is not known: ComfyUI knows the sound, not its file."""
        if self.source is None and self.edit is not None:
            raise UserError(
                "edit: its source is not known, for it was made in ComfyUI; drop it there to get its graph again"
            )

    def given(self) -> dict:
        """The settings that the user gave, for tags and for JSON."""
        return {name: value for name, value in asdict(self).items() if value not in (None, ())}

    @classmethod
    def from_given(cls, given: object) -> "GenerationSettings":
        """The settings of what `given` made, as tags and requests hold it. Raises UserError."""
        if not isinstance(given, Mapping):
            raise UserError(f"settings: got {shown(given)}, expected an object")
        return cls(**{name: _setting(name, value) for name, value in given.items()})


@dataclass(frozen=True)
class TaggedSong:
    """A song file's tags. `models` are the names of the models that made it: by slot if `generate` made it, else in
    order. `digests` identify their files, by the same names; empty in files of version 0.1.0. `scores`: of a song that
    was chosen among takes, its total and what each judge found.
    """

    song: Song
    settings: GenerationSettings
    models: dict[str, str] | list[str]
    digests: dict[str, str]
    scores: Mapping[str, object] = field(default_factory=dict)


def read_song(path: str) -> TaggedSong:
    """The song in a file's tags, and how it was made. Raises UserError for a file that holds none."""
    tags = read_tags(path)
    if SONG_TAG not in tags:
        raise UserError(f"{path}: has no song in its tags; expected a file made by acestep-cascade generate")
    try:
        settings = parse_json(tags.get(SETTINGS_TAG, "{}"), "settings", remedy=_DAMAGED)
        settings = GenerationSettings.from_given(settings)
        song = Song.from_json(tags[SONG_TAG])
        models, digests = _models(tags.get(MODELS_TAG, "[]")), _digests(tags.get(DIGESTS_TAG, "{}"))
        scores = parse_json_object(tags.get(SCORES_TAG, "{}"), "scores", remedy=_DAMAGED)
        return TaggedSong(song, settings, models, digests, scores)
    except UserError as exc:
        raise UserError(f"{path}: its tags cannot be read ({exc}); {_NEWER}") from exc


def _setting(name: str, value):
    if name not in GenerationSettings.__dataclass_fields__:
        raise UserError(f"settings: unknown setting {shown(name)}")
    if isinstance(value, str) and name in MODEL_OPTIONS:
        return embedded_name(value) or value
    return tuple(value) if isinstance(value, list) else value


def _models(text: str) -> dict[str, str] | list[str]:
    models = parse_json(text, "models", remedy=_DAMAGED)
    if not isinstance(models, dict | list) or not _is_tuple(tuple(_values(models)), str):
        raise UserError(f"models: {shown(text)}")
    if isinstance(models, list):
        return models
    return {slot: embedded_name(name) or name for slot, name in models.items()}


def _digests(text: str) -> dict[str, str]:
    digests = parse_json(text, "digests", remedy=_DAMAGED)
    if not isinstance(digests, dict) or not _is_tuple(tuple(digests.values()), str):
        raise UserError(f"digests: {shown(text)}")
    return digests


def _values(of: "dict | list"):
    return of.values() if isinstance(of, dict) else of


def _is_seed(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_SEED


def _is_tuple(value, kind) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, kind) for one in value)
