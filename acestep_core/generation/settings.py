"""How a song was made: what its tags keep beside the song, and that read from a file again. No torch."""

import json
from dataclasses import asdict, dataclass

from ..audio.song_tags import MODELS_TAG, SETTINGS_TAG, SONG_TAG
from ..audio.tags import read_tags
from ..errors import UserError
from ..flow import schedule
from ..song import Song

MODEL_OPTIONS = ("models", "l", "m", "s", "text_encoder", "vocoder")


@dataclass(frozen=True)
class GenerationSettings:
    """Everything besides the song that decides how it sounds, as the user asked it: what goes into the tags."""

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
    reference: tuple[str, ...] | None = None
    continue_from: str | None = None
    lora: tuple[str, ...] | None = None
    dtype: str | None = None
    vocoder_dtype: str | None = None
    quantise: str | None = None
    loudness: float | None = None

    def __post_init__(self):
        # From a command line the kinds are right; from the tags of a file they may be any.
        schedule.check_kinds(self.steps, self.boundaries)
        for name in (*MODEL_OPTIONS, "continue_from", "dtype", "vocoder_dtype", "quantise"):
            if not isinstance(getattr(self, name), str | None):
                raise UserError(f"{name}: got {getattr(self, name)!r}, expected a name")
        for name in ("reference", "lora"):
            given = getattr(self, name)
            if given is not None and not (isinstance(given, tuple) and all(isinstance(one, str) for one in given)):
                raise UserError(f"{name}: got {given!r}, expected names")
        if not isinstance(self.loudness, int | float | None):
            raise UserError(f"loudness: got {self.loudness!r}, expected a number")
        if self.loudness is not None and not -70 <= self.loudness <= 0:
            raise UserError(f"--loudness: got {self.loudness:g}, expected LUFS from -70 to 0, such as -14")

    @property
    def settings(self) -> dict:
        """The part of it that `Cascade.plan` takes."""
        asked = {name: getattr(self, name) for name in ("steps", "boundaries", "solver", "guidance")}
        return {name: value for name, value in asked.items() if value is not None}

    @property
    def parts(self) -> dict:
        """The part of it that names models."""
        names = {"models": self.models, "l": self.l, "m": self.m, "s": self.s}
        return {**names, "text": self.text_encoder, "vocoder": self.vocoder}

    def asked(self) -> dict:
        return {name: value for name, value in asdict(self).items() if value not in (None, ())}


def read_song(path: str) -> tuple[Song, GenerationSettings]:
    """The Song of a file that `generate` made, and how it was made. Raises UserError for any other file."""
    tags = read_tags(path)
    if SONG_TAG not in tags:
        raise UserError(f"{path}: has no song in its tags; expected a file made by acestep-cascade generate")
    try:
        given = json.loads(tags.get(SETTINGS_TAG, "{}"))
        asked = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        return Song.from_json(tags[SONG_TAG]), GenerationSettings(**asked)
    except (ValueError, TypeError, AttributeError) as exc:
        raise UserError(f"{path}: its tags cannot be read ({exc}); a newer version may have made it") from exc


def models_of(path: str) -> "dict[str, str] | list[str]":
    """Names of the models that made a file: by slot if `generate` made it."""
    text = read_tags(path).get(MODELS_TAG, "[]")
    try:
        models = json.loads(text)
    except ValueError:
        models = None
    if not isinstance(models, dict | list) or not all(isinstance(name, str) for name in _values(models)):
        raise UserError(f"{path}: its tags cannot be read (models: {text[:80]!r}); a newer version may have made it")
    return models


def _values(of: "dict | list"):
    return of.values() if isinstance(of, dict) else of
