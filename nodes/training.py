"""Adapters trained in the graph. Cancel saves the present step and stops; Run resumes from there.

Checkpoints, logs and previews of a training lie in ComfyUI's output folder, which previews can be played from; the
finished adapter goes into the first loras folder.
"""

import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from comfy_api.latest import io

from ..acestep_core.checkpoints.weights import read_metadata
from ..acestep_core.errors import CheckpointError, UserError
from ..acestep_core.lora.facts import TRAINING, TRIGGER_WORDS
from ..acestep_core.training.folders import folders
from ..acestep_core.training.lock import locked
from ..acestep_core.training.loss_plot import MEAN_STEPS, loss_plot_of, picture
from ..acestep_core.training.progress import ProgressLine, check_steps, outline
from ..acestep_core.training.settings import Intervals, LoraSettings
from .host import devices, locations, messages, widgets
from .lora import CATEGORY
from .training_settings import MEMORIES, STRETCHES, how_inputs, settings_of
from .types import (
    AdapterSocket,
    DatasetSocket,
    Encoder,
    EncoderHandle,
    LabelledDataset,
    Model,
    ModelHandle,
    TrainedAdapter,
    VocoderHandle,
    VocoderSocket,
)

EVENT = "acestep-cascade.training"  # open pages draw the plot from it,
VIEW = "acestep_training"  # and pages that are opened later from the node's result
SHOW_SECONDS = 0.5  # from one plot to the next
PREPARED = ".prepared"  # no adapter can have this name
NAME_BYTES_MOST = 200  # file systems hold 255, endings included

_NAME = re.compile(r"\w[\w .+-]{0,99}(?<![ .])")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # by Windows, for devices

# ---- files of a training ---------------------------------------------------------------------------------------------


def check_name(name: str) -> str | None:
    """The error for a name that an adapter's file cannot have; None where it can."""
    if not _NAME.fullmatch(name.strip()) or _RESERVED.fullmatch(name.strip()):
        return f"name: got {name!r}, expected letters, digits, spaces and . + - _ such as my-style"
    if len(name.strip().encode()) > NAME_BYTES_MOST:
        return f"name: got {name!r}, which is too long for a file's name; expected at most {NAME_BYTES_MOST} bytes"
    return None


def places(name: str) -> tuple[Path, Path]:
    """The adapter's file, and the folder of its training. Raises UserError."""
    if wrong := check_name(name):
        raise UserError(wrong)
    name = name.strip().removesuffix(".safetensors")
    return locations.new_adapter(name), locations.training_folder(name)


def facts_of(target: Path) -> dict[str, str]:
    """The metadata of an adapter's file; {} where it is missing or cannot be read."""
    try:
        return read_metadata(target)
    except (CheckpointError, OSError):
        return {}


def check_free(target: Path, identity: str | None) -> None:
    """Raises UserError where the file exists and is not of the training with that identity; None: of any of ours."""
    if not target.exists():
        return
    known = facts_of(target).get(TRAINING)
    if known is None or identity not in (None, known):
        raise UserError(
            f"{target}: is there already and comes from another training; choose another name, or move it away"
        )


def finished_steps(target: Path, work: Path, steps: int) -> int:
    """Steps of an adapter whose training folder is gone; 0 where there is no adapter. Raises UserError where it has
    another number of steps than is asked for.
    """
    done = _steps_of(target)
    if done and done != steps:
        raise UserError(
            f"{target}: {done} steps are trained, and they cannot become {steps}, because the training's folder {work} "
            f"is gone; ask for {done} steps, choose another name, or move the file away"
        )
    return done


def _steps_of(target: Path) -> int:
    steps = str(facts_of(target).get("steps", ""))
    return int(steps) if steps.isdecimal() and len(steps) < 10 else 0


def saved_steps(work: Path) -> int:
    """The step of the last checkpoint; 0 where there is none."""
    saved = folders(work, "step")
    return int(saved[-1].name.removeprefix("step-")) if saved else 0


def is_lost(name: str, steps: int) -> bool:
    """Whether all steps are trained and the adapter's file is missing: then it is only written again."""
    if check_name(name):
        return False
    target, work = places(name)
    return 0 < steps <= saved_steps(work) and not target.exists()


# ---- the training ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingRequest:
    """One adapter to train."""

    name: str
    settings: LoraSettings
    intervals: Intervals
    node_id: str


def train(
    model: ModelHandle,
    encoder: EncoderHandle,
    vocoder: VocoderHandle,
    labelled: LabelledDataset,
    request: TrainingRequest,
) -> tuple[Path, "TrainingView"]:
    """The adapter's file, and the view of its training, which is resumed where one was begun. Raises UserError."""
    if model.adapters:
        raise UserError(f"model: {model.model.name} has an adapter; train on the bare model, before Apply LoRA")
    target, work = places(request.name)
    check_steps(request.settings.steps, saved_steps(work), request.name)
    if not work.is_dir():
        check_free(target, None)  # before the clips are prepared
    with locked(work):
        return _train(model, encoder, vocoder, labelled, request, target, work)


def _train(model, encoder, vocoder, labelled, request: TrainingRequest, target: Path, work: Path):
    from ..acestep_core.training.lora import Trainer

    settings, node_id = request.settings, request.node_id
    examples = prepare(model, encoder, vocoder, labelled, request)
    songs = own_songs(model, encoder, vocoder, request) if settings.preserve else ()
    load(model, vocoder, examples, request)
    facts = {TRIGGER_WORDS: labelled.trigger}
    trainer = Trainer(model.model, examples, vocoder.vocoder, work, settings, request.intervals, facts, songs=songs)
    check_free(target, trainer.identity)
    view = TrainingView(trainer, node_id)
    if not trainer.step and (done := finished_steps(target, work, settings.steps)):
        messages.keep(
            [f"{done} steps were trained before; the training's folder is gone, and its plot with it"], node_id
        )
        return target, view
    run(trainer, view)
    messages.keep([f"{target.parent.name}/{target.name}: {trainer.step} steps trained"], node_id)
    return trainer.finish(target), view


def prepare(model, encoder, vocoder, labelled: LabelledDataset, request: TrainingRequest) -> list:
    """The examples of the clips; those left out are noted on the node."""
    from ..acestep_core.training.prepare import Preparation, prepare_examples

    networks = (vocoder.network, encoder.network, model.condition_encoder)
    devices.load_together(networks, max(vocoder.activation_bytes, encoder.activation_bytes, model.encoding_bytes))
    of = len(labelled.dataset.clips)
    progress = messages.Progress(request.node_id, of)
    cache = locations.training_folder(PREPARED)
    preparation = Preparation(model.model, encoder.encoder, vocoder.vocoder, cache, request.settings.crop_seconds)
    examples, left_out = prepare_examples(
        preparation,
        labelled.dataset,
        labelled.trigger,
        lambda number: progress.report(number, f"prepared clip {number} of {of}"),
    )
    messages.note(map(str, left_out), request.node_id)
    return examples


def own_songs(model: ModelHandle, encoder: EncoderHandle, vocoder: VocoderHandle, request: TrainingRequest) -> list:
    """Examples that the model makes itself, for prior preservation."""
    from ..acestep_core.training.captions import own_songs
    from ..acestep_core.training.generated_clips import generated_examples

    settings = request.settings
    seconds, frames = settings.crop_seconds, vocoder.vocoder.latents.frames(settings.crop_seconds)
    songs, made = own_songs(None, model.model.defaults.variant, seconds), []
    networks = (encoder.network, model.condition_encoder, model.transformer)
    devices.load_together(networks, max(model.activation_bytes(frames), model.encoding_bytes, encoder.activation_bytes))
    progress, cache = messages.Progress(request.node_id, len(songs)), locations.training_folder(PREPARED)
    for example in generated_examples(model.model, encoder.encoder, songs, frames, settings.seed, cache):
        made.append(example)
        progress.report(len(made), f"made song {len(made)} of {len(songs)} of the model's own")
    return made


def load(model: ModelHandle, vocoder: VocoderHandle, examples: list, request: TrainingRequest) -> None:
    """Loads the transformer onto its device, and the vocoder where there are previews, beside the memory that training
    needs; ComfyUI may move the text encoder away.
    """
    from ..acestep_core.memory.free import total_bytes
    from ..acestep_core.training.memory_needs import crops_together, training_bytes

    longest = max(example.latents.shape[-1] for example in examples)
    whole = vocoder.vocoder.latents.frames(request.settings.crop_seconds)
    about = model.model.transformer, request.settings
    crops = crops_together(*about, whole, total_bytes(model.transformer.patcher.load_device))
    needed = training_bytes(*about, min(longest, whole), crops=crops)
    if request.intervals.preview:
        devices.load_together((model.transformer, vocoder.network), max(needed, vocoder.activation_bytes))
    else:
        model.transformer.load(needed)


def run(trainer, view: "TrainingView") -> None:
    """The remaining steps. Cancel saves the present step; either way the base is as it was before."""
    steps, line = trainer.settings.steps, ProgressLine(trainer.step)
    messages.keep(outline(trainer), view.node_id)
    progress = messages.Progress(view.node_id, steps)
    try:
        for step in trainer.run():
            view.show(at_once=step.preview is not None or step.step == step.of)
            progress.report(step.step, line.of(step))
    except messages.Cancelled:
        trainer.save()
        messages.keep([f"saved at step {trainer.step} of {steps}; Run resumes from there"], view.node_id)
        raise
    finally:
        trainer.model.transformer.eval()  # it shares its layers with the network that was trained
        devices.free_unused()


class TrainingView:
    """The view of a training on its node: the loss plot, and previews to play."""

    def __init__(self, trainer, node_id: str):
        self._trainer, self.node_id, self._shown = trainer, node_id, float("-inf")

    def show(self, at_once: bool = False) -> None:
        """Sends the view to open pages, not oftener than they can draw it."""
        now = time.monotonic()
        if at_once or now - self._shown >= SHOW_SECONDS:
            self._shown = now
            messages.show(EVENT, self.view())

    def view(self) -> dict:
        """All that is drawn, so that a page opened later misses nothing."""
        plot = self._plot()
        return {
            "node": self.node_id,
            "step": self._trainer.step,
            "of": self._trainer.settings.steps,
            "mean_steps": MEAN_STEPS,
            "points": plot.points,
            "held_out": plot.held_out,
            "ends": plot.ends,
            "previews": [locations.saved(path) for path in self._previews()],
        }

    def image(self) -> torch.Tensor:
        """The loss plot, [1, H, W, 3]."""
        drawn = picture(self._plot(), self._trainer.settings.steps)
        return torch.from_numpy(np.array(drawn)).float()[None] / 255

    def _previews(self) -> list[Path]:
        """Oldest first; the one without the adapter stands before the last, to compare the two."""
        of_steps = folders(self._trainer.work / "previews", "step")
        others = sorted(set((self._trainer.work / "previews").glob("*.flac")) - set(of_steps))
        return [*of_steps[:-1], *others, *of_steps[-1:]]

    def _plot(self):
        return loss_plot_of(self._trainer.losses.read())


# ---- the node --------------------------------------------------------------------------------------------------------


class TrainLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepTrainLora",
            display_name="Train LoRA",
            category=CATEGORY,
            description="Trains an adapter of a stage model on clips. Cancel saves the present step, and Run resumes "
            "from there; the model that goes in is not changed.",
            search_aliases=["finetune", "fine-tune", "training", "lora training", "teach", "dora"],
            inputs=[
                Model.Input("model", tooltip="The stage model to train on, without adapters."),
                Encoder.Input("text_encoder", tooltip="Of the same family; it encodes the captions."),
                VocoderSocket.Input(
                    "vocoder", tooltip="Of the same family; it encodes the clips and decodes previews."
                ),
                DatasetSocket.Input("dataset", tooltip="From LoRA Dataset."),
                *how_inputs(),
            ],
            outputs=[
                AdapterSocket.Output("adapter", display_name="adapter", tooltip="For Apply LoRA and LoRA Info."),
                io.String.Output("path", display_name="path", tooltip="The adapter's file."),
                io.Image.Output("curve", display_name="curve", tooltip="The loss plot."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, name, *, memory=None, stretch=None):
        for name_of, given, options in (("memory", memory, MEMORIES), ("stretch", stretch, STRETCHES)):
            if wrong := widgets.check_choice(name_of, given, options):
                return wrong
        return True if name is None else check_name(name) or True  # None comes through a link

    @classmethod
    def fingerprint_inputs(cls, name, steps, **others):
        return is_lost(name or "", steps or 0)

    @classmethod
    def execute(cls, model, text_encoder, vocoder, dataset, name, preview_every, save_every, measure_every, **how):
        with messages.notes_on(cls.hidden.unique_id) as notes:
            intervals = Intervals(save_every, measure_every, preview_every)
            request = TrainingRequest(name, settings_of(model, how), intervals, cls.hidden.unique_id)
            path, view = train(model, text_encoder, vocoder, dataset, request)
            ui = {VIEW: [view.view()]} | notes.ui
            return io.NodeOutput(TrainedAdapter(path), str(path), view.image(), ui=ui)
