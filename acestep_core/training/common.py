"""What the command line and the node share of a training: examples of a folder, a model's own stretch, and what is told
beforehand and after each step. No torch.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import Clock, Console
from ..errors import UserError
from .dataset import Dataset, LeftOut
from .interrupt import asked_to_stop
from .loss_log import MEAN_STEPS
from .settings import KINDS, LoraSettings

if TYPE_CHECKING:
    from ..checkpoints.cascade_models import CascadeModels
    from ..checkpoints.locate import LocalModel
    from ..models.defaults import VariantDefaults
    from .loop import Learnt, Loop
    from .lora import Trainer
    from .prepare import Example, Preparation

SLOTS = "LMS"
REASONS_SHOWN = 3  # where no clip is left
TELL_EVERY_STEPS = 20


def check_named(target: Path, given: str, what: str, such_as: str) -> None:
    """Raises UserError where `given`, the place for `what`, ends without a name, as . and .. do."""
    if target.name in ("", ".."):
        raise UserError(f"{given}: has no name of its own, expected one for {what}, such as {such_as}")


def own_stretch(settings: LoraSettings, slot: str, defaults: "VariantDefaults") -> LoraSettings:
    """The stretch that a model plays in the cascade it was made for, if it has one place there; else the whole way."""
    if not defaults.boundaries or slot not in tuple(SLOTS):
        return settings
    edges = (1.0, *defaults.boundaries, 0.0)
    place = SLOTS.index(slot)
    return replace(settings, start=edges[place], end=edges[place + 1])


def gather(
    preparation: "Preparation", dataset: Dataset, trigger: str | None, report: Callable[[int], object]
) -> "tuple[list[Example], list[LeftOut]]":
    """The examples of a folder, and every clip that is left out. `report` hears the number of each clip that is done.

    Raises UserError where none is left.
    """
    examples, left_out = [], list(dataset.left_out)
    for number, made in enumerate(preparation.run(dataset, trigger), start=1):
        (left_out if isinstance(made, LeftOut) else examples).append(made)
        report(number)
    if not examples:
        reasons = "; ".join(map(left_out_line, left_out[:REASONS_SHOWN]))
        raise UserError(f"{dataset.folder}: none of its {len(left_out)} clips can be learnt from; {reasons}")
    return examples, left_out


def left_out_line(left: LeftOut) -> str:
    return f"left out: {left.path}: {left.reason.removeprefix(f'{left.path}: ')}"


# ---- what is told ----------------------------------------------------------------------------------------------------


def lone_stage(found: "CascadeModels", what: str, name: str) -> "LocalModel":
    """The one model that plays all stages. Raises UserError where they are several; `what` was asked for as `name`."""
    if len({stage.path for stage in found.stages}) != 1:
        raise UserError(f"{what}: {name} is a whole cascade, expected one stage model, such as tiny-m")
    return found.stages[0]


def outline(trainer: "Trainer") -> tuple[str, ...]:
    """What is learnt from, what is learnt, and how far it is."""
    settings = trainer.settings
    count = sum(parameter.numel() for parameter in trainer.parameters.values())
    kept = f"; {settings.preserve:.0%} of the crops from {len(trainer.songs)} songs of its own" * bool(
        settings.preserve
    )
    return (
        material(trainer) + kept,
        f"adapter: {KINDS[settings.kind]} of rank {settings.rank} on {', '.join(settings.targets)} of "
        f"{trainer.model.name}, {count / 1e6:.2f} M parameters, flow times {settings.start:g} to {settings.end:g}",
        f"memory: {_memory(trainer)}",
        f"training: {begun(trainer)}",
    )


def material(trainer: "Loop") -> str:
    """What is learnt from."""
    seconds = sum(trainer.latents.seconds(example.latents.shape[-1]) for example in trainer.learnt_from)
    held_out = len(trainer.held_out)
    return f"clips: {len(trainer.learnt_from)} to learn from, {seconds / 60:.1f} minutes; {held_out} held out"


def _memory(trainer: "Trainer") -> str:
    """What it will take, as computed from sizes."""
    from .memory_needs import crop_bytes, state_bytes, weights_bytes

    base, settings = trainer.model.transformer, trainer.settings
    frames = min(trainer.crop_frames, max(example.latents.shape[-1] for example in trainer.learnt_from))
    parts = {
        "the base": weights_bytes(base),
        "the adapter with its optimiser": state_bytes(base, settings),
        "a crop": crop_bytes(base, settings, frames),
    }
    listed = ", ".join(f"{size / 1e9:.2f} {name}" for name, size in parts.items())
    return f"about {sum(parts.values()) / 1e9:.2f} GB beside the program itself ({listed})"


def begun(trainer: "Loop") -> str:
    """How far a training is, and what is left of it."""
    steps = trainer.settings.steps
    if trainer.step > steps:
        return f"{trainer.step} steps were learnt before, more than the {steps} asked for; for fewer begin a new one"
    if trainer.step == steps:
        return f"all {steps} steps are done"
    begun = f"goes on at step {trainer.step} of" if trainer.step else "of"
    return f"{begun} {steps} steps, {trainer.settings.accumulate} crops each"


class Pace:
    """How a training that begins after `first` steps goes, told after each."""

    def __init__(self, first: int):
        self._first, self._clock, self._losses = first, Clock(), deque(maxlen=MEAN_STEPS)

    def line(self, learnt: "Learnt", *more: object) -> str:
        """ "step 20/1000  loss 1.2345  12 min left"."""
        self._losses.append(learnt.loss)
        left = self._clock.seconds / (learnt.step - self._first) * (learnt.of - learnt.step)
        parts = [f"step {learnt.step}/{learnt.of}", f"loss {sum(self._losses) / len(self._losses):.4f}"]
        parts += [] if learnt.held_out is None else [f"held out {learnt.held_out:.4f}"]
        return "  ".join((*parts, *map(str, more), f"{told(left)} left"))


def follow(trainer: "Loop", console: Console) -> None:
    """Learns the steps that are left and tells of them. Ctrl-C keeps the step at work and raises KeyboardInterrupt."""
    pace = Pace(trainer.step)
    with asked_to_stop() as asked:
        for step in trainer.run():
            files = [file for file in (step.preview, step.without, step.saved) if file]
            is_more = step.held_out is not None or files
            say = console.note if is_more or step.step % TELL_EVERY_STEPS == 0 else console.busy
            say(pace.line(step, *files))
            if trainer.group.any(bool(asked)):
                trainer.save()
                console.note(f"kept at step {step.step} in {trainer.work}; the same command goes on")
                raise KeyboardInterrupt


def told(seconds: float) -> str:
    """ "40 s", "12 min", "2 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
