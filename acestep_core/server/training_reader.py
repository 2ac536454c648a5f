"""Requests about trainings -> orders, and the adapters that were trained here. Names stand for folders, never paths.

A training resumes where one of its name, dataset and settings was cancelled. No torch.
"""

import dataclasses
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..checkpoints.cascade_models import find_cascade, lone_stage
from ..checkpoints.locate import models_folders
from ..errors import UserError, did_you_mean, shown
from ..generation.making import SEEDS_DRAWN_BELOW
from ..generation.planning import cascade_for
from ..generation.settings import GenerationSettings
from ..lora.find import FOLDER as ADAPTERS
from ..lora.find import list_adapters
from ..song import Song
from ..spec import TRAINING_DTYPE_NAMES
from ..training.captions import of_length, own_songs
from ..training.dataset import read_dataset
from ..training.folders import WITHOUT, folders
from ..training.lock import locked
from ..training.lora_course import own_times
from ..training.loss_log import read_losses
from ..training.progress import check_steps
from ..training.settings import GRADIENT_CHECKPOINTING, TINY, Intervals, LoraSettings, preset
from .datasets import Datasets
from .fields import check_fields, name_of, object_of, text_of, whole_of
from .orders import LabelOrder, TrainingOrder

FOLDER, CACHE, LOSSES = "trainings", ".cache", "losses.csv"
TRAIN_FIELDS = (
    *("kind", "dataset", "name", "model", "trigger", "vram", "settings", "preserve_captions"),
    *("save_every", "measure_every", "preview_every", "keep", "text_encoder", "vocoder", "dtype"),
)
LABEL_FIELDS = ("kind", "dataset", "planner", "models", "seed", "all")
STEPS_MOST, RANK_MOST, ACCUMULATE_MOST, CROP_MOST = 200_000, 512, 256, 600.0
KEEP_MOST, CAPTIONS_MOST = 100, 1000
LOSSES_SHOWN = 1000
PREVIEWS = "previews"


@dataclass(frozen=True)
class TrainingReader:
    """Reads requests about trainings in a server's own folder. `check_models` refuses names that are not known."""

    own_folder: Path
    check_models: Callable[[GenerationSettings], None]

    @property
    def datasets(self) -> Datasets:
        return Datasets(self.own_folder)

    # ---- orders ------------------------------------------------------------------------------------------------------

    def train_lora(self, given: Mapping) -> TrainingOrder:
        """The order of a training. Raises UserError, CheckpointError before anything is loaded."""
        check_fields(given, TRAIN_FIELDS)
        name, folder = name_of(given, "name"), self.datasets.path(name_of(given, "dataset"))
        trigger, model, parts = text_of(given, "trigger"), self._model(given), self._parts(given)
        found = find_cascade(model, text=parts["text_encoder"], vocoder=parts["vocoder"])
        lone_stage(found, "model", model)
        variant = found.defaults[0].variant
        settings, has_times = self._settings(given, variant)
        settings = settings if has_times else own_times(settings, found)
        songs = _own_songs(given.get("preserve_captions"), settings, variant)
        read_dataset(folder, trigger)
        self._check_free(name, settings.steps)
        cache, target = self.own_folder / FOLDER / CACHE, self.target(name)
        places = self.work(name), cache, target
        return TrainingOrder(name, model, folder, settings, *places, _intervals(given), trigger, songs, **parts)

    def _model(self, given: Mapping) -> str:
        model = given.get("model")
        if not isinstance(model, str):
            raise UserError(f"model: got {shown(model)}, expected the stage model to adapt, such as tiny-l")
        self.check_models(GenerationSettings(models=model))
        return model

    def _parts(self, given: Mapping) -> dict[str, str | None]:
        """The other models that a training may name, and its number format."""
        parts = {name: text_of(given, name) for name in ("text_encoder", "vocoder", "dtype")}
        self.check_models(GenerationSettings(text_encoder=parts["text_encoder"], vocoder=parts["vocoder"]))
        if parts["dtype"] not in (None, *TRAINING_DTYPE_NAMES):
            raise UserError(f"dtype: got {shown(parts['dtype'])}, expected one of {', '.join(TRAINING_DTYPE_NAMES)}")
        return parts

    def _settings(self, given: Mapping, variant: str) -> tuple[LoraSettings, bool]:
        """(settings, whether they name the flow times to train at)"""
        named = object_of(given, "settings")
        settings = {name: _setting(name, value) for name, value in named.items() if value is not None}
        usual = TINY if variant == "tiny" else {}
        if (vram := whole_of(given, "vram", 1, 10_000, 0)) > 0:
            return preset(vram, **settings), "start" in settings or "end" in settings
        return LoraSettings(**{**usual, **settings}), "start" in settings or "end" in settings

    def _check_free(self, name: str, steps: int) -> None:
        """Raises UserError where an adapter of this name is not from here, or has more steps than are asked for."""
        if saved := folders(self.work(name), "step"):
            check_steps(steps, int(saved[-1].name.removeprefix("step-")), name)
        elif self.target(name).exists():
            raise UserError(f"name: there is an adapter {name} that was not trained here; choose another name")

    def label(self, given: Mapping) -> LabelOrder:
        """The order of labels by a planner. Raises UserError, CheckpointError."""
        from .requests import check_planner

        check_fields(given, LABEL_FIELDS)
        dataset = name_of(given, "dataset")
        if not self.datasets.rows(dataset):
            raise UserError(f"dataset: {dataset} has no clips yet; send some to /v1/datasets/{dataset}/clips")
        planner = check_planner(given.get("planner"))
        models = str(given.get("models") or cascade_for(planner))
        self.check_models(GenerationSettings(models=models))
        find_cascade(models)
        seed = whole_of(given, "seed", 0, SEEDS_DRAWN_BELOW, secrets.randbelow(SEEDS_DRAWN_BELOW))
        return LabelOrder(dataset, planner, models, seed, given.get("all") is not True)

    # ---- adapters ----------------------------------------------------------------------------------------------------

    def work(self, name: str) -> Path:
        """The folder of a training's checkpoints and losses."""
        return self.own_folder / FOLDER / name

    def target(self, name: str) -> Path:
        """The file of a finished adapter: in the first folder where songs look for adapters."""
        places = models_folders()
        if not places:
            raise UserError("name: this machine has no folder of models; set ACESTEP_MODELS to one")
        return places[0] / ADAPTERS / f"{name}.safetensors"

    def trained(self) -> list[str]:
        """The names of all trainings, finished or not."""
        places = (self.own_folder / FOLDER).glob("*")
        return sorted(path.name for path in places if path.is_dir() and not path.name.startswith("."))

    def loras(self) -> list[dict]:
        """All adapters that songs may name, and trainings that are not finished."""
        trained = self.trained()
        names = {name.removesuffix(".safetensors") for name in list_adapters()} | set(trained)
        return [{"name": name, "trained_here": name in trained, **self._state(name)} for name in sorted(names)]

    def _state(self, name: str) -> dict:
        saved = folders(self.work(name), "step")
        steps = int(saved[-1].name.removeprefix("step-")) if saved else None
        return {"steps": steps, "finished": not self.work(name).is_dir() or self.target(name).is_file()}

    def lora(self, name: str) -> dict:
        """An adapter with the losses of its training, at most the last thousand. Raises UserError."""
        found = next((row for row in self.loras() if row["name"] == name), None)
        if found is None:
            near = did_you_mean(name, [row["name"] for row in self.loras()])
            raise NoSuchLora(f"lora: there is none of the name {shown(name)}{near}")
        previews = [int(step) for step in self.previews(name)]
        return {**found, "losses": [list(row) for row in self.losses(name)], PREVIEWS: previews}

    def previews(self, name: str) -> dict[str, Path]:
        """Step -> the song with the adapter of that step; step 0 is without it."""
        folder = self.work(name) / PREVIEWS
        made = {str(int(path.stem.removeprefix("step-"))): path for path in folders(folder, "step")}
        return {"0": folder / WITHOUT, **made} if made else {}

    def preview(self, name: str, step: str) -> Path:
        """The file of a preview. Raises NoSuchLora."""
        found = self.previews(name).get(step) if name in self.trained() else None
        if found is None:
            raise NoSuchLora(f"lora: {shown(name)} has no preview of step {shown(step)}; /v1/loras/{{name}} lists them")
        return found

    def losses(self, name: str) -> list:
        """(step, loss, learning rate, loss on clips held out or None) of the last steps of a training."""
        file = self.work(name) / LOSSES
        return read_losses(file)[-LOSSES_SHOWN:]

    def remove(self, name: str) -> None:
        """Removes an adapter that was trained here. Raises NoSuchLora, and UserError while it is trained."""
        if name not in self.trained():
            raise NoSuchLora(f"lora: there is none of the name {shown(name)} that was trained here")
        with locked(self.work(name)):
            self.target(name).unlink(missing_ok=True)
            shutil.rmtree(self.work(name))

    def file(self, name: str) -> Path:
        """The file of an adapter that was trained here. Raises NoSuchLora."""
        if name not in self.trained() or not self.target(name).is_file():
            raise NoSuchLora(f"lora: there is no finished one of the name {shown(name)} that was trained here")
        return self.target(name)


def _intervals(given: Mapping) -> Intervals:
    """Raises UserError."""
    usual = Intervals()
    return Intervals(
        whole_of(given, "save_every", 1, STEPS_MOST, usual.save),
        whole_of(given, "measure_every", 0, STEPS_MOST, usual.measure),
        whole_of(given, "preview_every", 0, STEPS_MOST, usual.preview),
        whole_of(given, "keep", 1, KEEP_MOST, usual.keep),
    )


def _own_songs(captions: object, settings: LoraSettings, variant: str) -> tuple[Song, ...]:
    """The songs that a model makes itself for prior preservation: of captions, or of many styles. Raises UserError."""
    if captions is None:
        return tuple(own_songs(None, variant, settings.crop_seconds)) if settings.preserve else ()
    if not settings.preserve:
        raise UserError("preserve_captions: got some and no settings.preserve; give that too, such as 0.25")
    if not isinstance(captions, list) or not 1 <= len(captions) <= CAPTIONS_MOST:
        raise UserError(f"preserve_captions: expected a list of 1 to {CAPTIONS_MOST} captions, or songs in JSON")
    songs = [Song.from_json(one if isinstance(one, dict) else {"caption": one}) for one in captions]
    return tuple(of_length(songs, settings.crop_seconds))


class NoSuchLora(UserError):
    """There is no adapter of this name."""


_KINDS = {column.name: column.default for column in dataclasses.fields(LoraSettings)}
_KINDS |= {"alpha": 1.0, GRADIENT_CHECKPOINTING: False}  # of which None is the default
SETTINGS_MOST = {"steps": STEPS_MOST, "rank": RANK_MOST, "accumulate": ACCUMULATE_MOST, "crop_seconds": CROP_MOST}


def _setting(name: str, value: object) -> object:
    """A setting of the kind that it has by default. Raises UserError."""
    if name not in _KINDS:
        raise UserError(f"settings: unknown setting {shown(name)}{did_you_mean(name, _KINDS)}")
    usual = _KINDS[name]
    if isinstance(usual, tuple) and isinstance(value, list):
        value = tuple(map(str, value))
    kinds = (int, float) if isinstance(usual, float) else (type(usual),)
    if type(value) not in kinds or (name in SETTINGS_MOST and value > SETTINGS_MOST[name]):
        most = f", at most {SETTINGS_MOST[name]:g}" if name in SETTINGS_MOST else ""
        raise UserError(f"{name}: got {shown(value)}, expected something like {usual!r}{most}")
    return float(value) if isinstance(usual, float) else value
