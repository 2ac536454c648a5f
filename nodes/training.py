"""Adapters trained in the graph. Cancel keeps the step at work and stops; Run goes on from there.

What is kept of a training lies in ComfyUI's output folder, so that its previews can be played from there; the finished
adapter goes into the first loras folder.
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
from ..acestep_core.training import common
from ..acestep_core.training.folders import folders
from ..acestep_core.training.loss_plot import MEAN_STEPS, loss_plot_of, picture
from ..acestep_core.training.settings import LoraSettings, Rhythm
from .host import devices, locations, messages, widgets
from .lora import CATEGORY
from .song import TEXT_ACTIVATION_BYTES
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

EVENT = "acestep-cascade.training"  # the pages that are open draw the curve from it,
VIEW = "acestep_training"  # and those that are opened later from the node's result
SHOW_SECONDS = 0.5  # from one curve to the next
PREPARED = ".prepared"  # no adapter can have this name
NAME_BYTES_MOST = 200  # file systems hold 255, endings included

_NAME = re.compile(r"\w[\w .+-]{0,99}(?<![ .])")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # by Windows, for devices

# ---- where a training is kept ----------------------------------------------------------------------------------------


def check_name(name: str) -> str | None:
    """Why an adapter cannot be named so, if it cannot."""
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


def marks(target: Path) -> dict[str, str]:
    """What an adapter's file says of its training; {} where it is not there or cannot be read."""
    try:
        return read_metadata(target)
    except (CheckpointError, OSError):
        return {}


def check_free(target: Path, identity: str | None) -> None:
    """Raises UserError where the file is there and is not of the training with that identity; None is any of ours."""
    if not target.exists():
        return
    told = marks(target).get(TRAINING)
    if told is None or identity not in (None, told):
        raise UserError(
            f"{target}: is there already and comes from another training; choose another name, or move it away"
        )


def learnt_before(target: Path, work: Path, steps: int) -> int:
    """Steps of an adapter of which nothing else is kept; 0 where there is none. Raises UserError where it is to learn
    more.
    """
    learnt = int(marks(target).get("steps", 0))
    if 0 < learnt < steps:
        raise UserError(
            f"{target}: {learnt} steps were learnt, and they cannot become {steps}, for what is kept of the training, "
            f"{work}, is gone; ask for {learnt} steps, choose another name, or move the file away"
        )
    return learnt


def is_lost(name: str, steps: int) -> bool:
    """Whether all was learnt and the adapter is gone: then it is only written anew."""
    if check_name(name):
        return False
    target, work = places(name)
    kept = folders(work, "step")
    return bool(kept) and int(kept[-1].name.removeprefix("step-")) >= steps and not target.exists()


# ---- the training ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wish:
    """One adapter that is asked for."""

    name: str
    settings: LoraSettings
    rhythm: Rhythm
    node_id: str


def train(
    model: ModelHandle, encoder: EncoderHandle, vocoder: VocoderHandle, lesson: LabelledDataset, wish: Wish
) -> tuple[Path, "Board"]:
    """The adapter's file, and its curve. What was done of it before is not done again. Raises UserError."""
    from ..acestep_core.training.lora import Trainer

    if model.worn:
        raise UserError(f"model: {model.model.name} wears an adapter; train on the bare model, before Apply LoRA")
    target, work = places(wish.name)
    if not work.is_dir():
        check_free(target, None)  # what can be told before the clips are prepared
    examples = prepare(model, encoder, vocoder, lesson, wish)
    songs = own_songs(model, encoder, vocoder, wish) if wish.settings.preserve else ()
    load(model, vocoder, examples, wish)
    facts = {TRIGGER_WORDS: lesson.trigger}
    trainer = Trainer(model.model, examples, vocoder.vocoder, work, wish.settings, wish.rhythm, facts, songs=songs)
    check_free(target, trainer.identity)
    board = Board(trainer, wish.node_id)
    if not trainer.step and (learnt := learnt_before(target, work, wish.settings.steps)):
        messages.say(
            f"{learnt} steps were learnt before; the training's folder is gone, its curve with it", wish.node_id
        )
        return target, board
    teach(trainer, board)
    messages.say(f"{target.parent.name}/{target.name}: {trainer.step} steps learnt", wish.node_id)
    return trainer.finish(target), board


def prepare(model, encoder, vocoder, lesson: LabelledDataset, wish: Wish) -> list:
    """The examples of the clips; what is left out is noted on the node."""
    from ..acestep_core.training.prepare import Preparation

    networks = (vocoder.network, encoder.network, model.condition_encoder)
    devices.load_together(networks, max(vocoder.activation_bytes, TEXT_ACTIVATION_BYTES))
    of = len(lesson.dataset.clips)
    progress = messages.Progress(wish.node_id, of)
    cache = locations.training_folder(PREPARED)
    preparation = Preparation(model.model, encoder.encoder, vocoder.vocoder, cache, wish.settings.crop_seconds)
    examples, left_out = common.gather(
        preparation,
        lesson.dataset,
        lesson.trigger,
        lambda number: progress.report(number, f"prepared clip {number} of {of}"),
    )
    messages.note(tuple(map(common.left_out_line, left_out)), wish.node_id)
    return examples


def own_songs(model: ModelHandle, encoder: EncoderHandle, vocoder: VocoderHandle, wish: Wish) -> list:
    """Songs that the model makes by itself, to which it is held."""
    from ..acestep_core.training.captions import own_songs
    from ..acestep_core.training.generated_clips import generated_examples

    seconds, frames = wish.settings.crop_seconds, vocoder.vocoder.latents.frames(wish.settings.crop_seconds)
    wanted, made = own_songs(None, model.model.defaults.variant, seconds), []
    networks = (encoder.network, model.condition_encoder, model.transformer)
    devices.load_together(networks, max(model.activation_bytes(frames), TEXT_ACTIVATION_BYTES))
    progress, cache = messages.Progress(wish.node_id, len(wanted)), locations.training_folder(PREPARED)
    for example in generated_examples(model.model, encoder.encoder, wanted, frames, wish.settings.seed, cache):
        made.append(example)
        progress.report(len(made), f"made song {len(made)} of {len(wanted)} of the model's own")
    return made


def load(model: ModelHandle, vocoder: VocoderHandle, examples: list, wish: Wish) -> None:
    """The transformer on its device, and the vocoder where there are previews, with room for what training takes; the
    text encoder goes where ComfyUI needs its memory.
    """
    from ..acestep_core.training.memory_needs import training_bytes

    longest = max(example.latents.shape[-1] for example in examples)
    frames = min(longest, vocoder.vocoder.latents.frames(wish.settings.crop_seconds))
    needed = training_bytes(model.model.transformer, wish.settings, frames)
    if wish.rhythm.preview:
        devices.load_together((model.transformer, vocoder.network), max(needed, vocoder.activation_bytes))
    else:
        model.transformer.load(needed)


def teach(trainer, board: "Board") -> None:
    """The steps that are left. Cancel keeps what was learnt, and nothing of it stays on the base."""
    settings, pace = trainer.settings, common.Pace(trainer.step)
    messages.say("\n".join(common.outline(trainer)), board.node_id)
    progress = messages.Progress(board.node_id, settings.steps)
    try:
        for learnt in trainer.run():
            board.show(at_once=learnt.preview is not None or learnt.step == learnt.of)
            progress.report(learnt.step, pace.line(learnt))
    except messages.Cancelled:
        trainer.save()
        messages.say(f"kept at step {trainer.step} of {settings.steps}; Run goes on from there", board.node_id)
        raise
    finally:
        trainer.model.transformer.eval()  # it shares its layers with what was taught
        devices.free_unused()


class Board:
    """What a node shows of its training: the curve, and previews to play."""

    def __init__(self, trainer, node_id: str):
        self._trainer, self.node_id, self._shown = trainer, node_id, float("-inf")

    def show(self, at_once: bool = False) -> None:
        """To the pages that are open, not oftener than they can follow."""
        now = time.monotonic()
        if at_once or now - self._shown >= SHOW_SECONDS:
            self._shown = now
            messages.show(EVENT, self.view())

    def view(self) -> dict:
        """All that is drawn, so that a page that comes later misses nothing."""
        curve = self._curve()
        return {
            "node": self.node_id,
            "step": self._trainer.step,
            "of": self._trainer.settings.steps,
            "mean_steps": MEAN_STEPS,
            "points": curve.points,
            "held_out": curve.held_out,
            "ends": curve.ends,
            "previews": [locations.saved(path) for path in self._previews()],
        }

    def image(self) -> torch.Tensor:
        """The curve, [1, H, W, 3]."""
        drawn = picture(self._curve(), self._trainer.settings.steps)
        return torch.from_numpy(np.array(drawn)).float()[None] / 255

    def _previews(self) -> list[Path]:
        """Oldest first; the one without the adapter comes before the last, to be heard beside it."""
        of_steps = folders(self._trainer.work / "previews", "step")
        others = sorted(set((self._trainer.work / "previews").glob("*.flac")) - set(of_steps))
        return [*of_steps[:-1], *others, *of_steps[-1:]]

    def _curve(self):
        return loss_plot_of(self._trainer.losses.read())


# ---- the node --------------------------------------------------------------------------------------------------------


class TrainLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AceStepTrainLora",
            display_name="Train LoRA",
            category=CATEGORY,
            description="Teaches a stage model a style from clips, as an adapter. Cancel keeps what was learnt, and "
            "Run goes on from there; the model that goes in stays as it is.",
            search_aliases=["finetune", "fine-tune", "training", "lora training", "teach", "dora"],
            inputs=[
                Model.Input("model", tooltip="The stage model to teach, without adapters."),
                Encoder.Input("text_encoder", tooltip="Of the same family; it reads the captions."),
                VocoderSocket.Input("vocoder", tooltip="Of the same family; it hears the clips and plays previews."),
                DatasetSocket.Input("dataset", tooltip="From LoRA Dataset."),
                *how_inputs(),
            ],
            outputs=[
                AdapterSocket.Output("adapter", display_name="adapter", tooltip="For Apply LoRA and LoRA Info."),
                io.String.Output("path", display_name="path", tooltip="The adapter's file."),
                io.Image.Output("curve", display_name="curve", tooltip="The loss, step by step."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, name, *, memory=None, stretch=None):
        for asked, given, options in (("memory", memory, MEMORIES), ("stretch", stretch, STRETCHES)):
            if wrong := widgets.check_choice(asked, given, options):
                return wrong
        return True if name is None else check_name(name) or True  # None comes through a link

    @classmethod
    def fingerprint_inputs(cls, name, steps, **others):
        return is_lost(name or "", steps or 0)

    @classmethod
    def execute(cls, model, text_encoder, vocoder, dataset, name, preview_every, save_every, measure_every, **how):
        with messages.notes_on(cls.hidden.unique_id):
            rhythm = Rhythm(save_every, measure_every, preview_every)
            wish = Wish(name, settings_of(model, how), rhythm, cls.hidden.unique_id)
            path, board = train(model, text_encoder, vocoder, dataset, wish)
            return io.NodeOutput(TrainedAdapter(path), str(path), board.image(), ui={VIEW: [board.view()]})
