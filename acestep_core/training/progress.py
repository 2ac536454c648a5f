"""The progress of a training in words, for the command line and the nodes."""

from collections import deque
from typing import TYPE_CHECKING

from ..console import Clock, Console
from ..errors import UserError
from .interrupt import deferred_interrupt
from .loss_log import MEAN_STEPS
from .settings import KINDS

if TYPE_CHECKING:
    from .items import TrainingStep
    from .loop import TrainingLoop
    from .lora import Trainer

NOTE_EVERY_STEPS = 20


def outline(trainer: "Trainer") -> tuple[str, ...]:
    """Lines on the clips, the adapter, the memory it needs, and the steps."""
    settings = trainer.settings
    count = sum(parameter.numel() for parameter in trainer.parameters.values())
    own = f"; {settings.preserve:.0%} of the crops from {len(trainer.songs)} songs of its own" * bool(settings.preserve)
    return (
        clips_line(trainer) + own,
        f"adapter: {KINDS[settings.kind]} of rank {settings.rank} on {', '.join(settings.targets)} of "
        f"{trainer.model.name}, {count / 1e6:.2f} M parameters, flow times {settings.start:g} to {settings.end:g}",
        f"memory: {_memory(trainer)}",
        f"training: {steps_line(trainer)}",
    )


def clips_line(trainer: "TrainingLoop") -> str:
    """The number and length of the clips."""
    seconds = sum(trainer.latents.seconds(example.latents.shape[-1]) for example in trainer.train_set)
    held_out = len(trainer.held_out)
    return f"clips: {len(trainer.train_set)} to train on, {seconds / 60:.1f} minutes; {held_out} held out"


def _memory(trainer: "Trainer") -> str:
    from .memory_needs import crop_bytes, state_bytes, weights_bytes

    base, settings = trainer.model.transformer, trainer.settings
    frames = min(trainer.crop_frames, max(example.latents.shape[-1] for example in trainer.train_set))
    crops = f"{trainer.together} crops at once" if trainer.together > 1 else "a crop"
    parts = {
        "the base": weights_bytes(base),
        "the adapter with its optimiser": state_bytes(base, settings),
        crops: trainer.together * crop_bytes(base, settings, frames),
    }
    listed = ", ".join(f"{size / 1e9:.2f} {name}" for name, size in parts.items())
    return f"about {sum(parts.values()) / 1e9:.2f} GB beside the program itself ({listed})"


def check_steps(steps: int, done: int, name: str) -> None:
    """Raises UserError where a training has made more steps than are asked for: they cannot be taken back."""
    if steps < done:
        raise UserError(
            f"steps: got {steps}, but {done} steps of {name} are trained already, and none can be taken back; expected "
            f"at least {done}, or another name for a new training"
        )


def steps_line(trainer: "TrainingLoop") -> str:
    """How many steps there are, and how many of them are done."""
    steps = trainer.settings.steps
    if trainer.step == steps:
        return f"all {steps} steps are done"
    begun = f"resumed at step {trainer.step} of" if trainer.step else "of"
    return f"{begun} {steps} steps, {trainer.settings.accumulate} crops each"


class ProgressLine:
    """A line after each step of a training that is begun, or resumed, after `first` steps."""

    def __init__(self, first: int):
        self._first, self._clock, self._losses = first, Clock(), deque(maxlen=MEAN_STEPS)

    def of(self, step: "TrainingStep", *more: object) -> str:
        """ "step 20/1000  loss 1.2345  12 min left", with the mean of the last losses."""
        self._losses.append(step.loss)
        left = self._clock.seconds / (step.step - self._first) * (step.of - step.step)
        parts = [f"step {step.step}/{step.of}", f"loss {sum(self._losses) / len(self._losses):.4f}"]
        parts += [] if step.held_out is None else [f"held out {step.held_out:.4f}"]
        return "  ".join((*parts, *map(str, more), f"{duration(left)} left"))


def run_with_notes(trainer: "TrainingLoop", console: Console) -> None:
    """Runs the remaining steps, with notes on them. Ctrl-C saves the present step and raises KeyboardInterrupt."""
    line = ProgressLine(trainer.step)
    with deferred_interrupt() as received:
        for step in trainer.run():
            files = [file for file in (step.preview, step.without, step.saved) if file]
            is_more = step.held_out is not None or files
            write = console.note if is_more or step.step % NOTE_EVERY_STEPS == 0 else console.busy
            write(line.of(step, *files))
            if trainer.group.any(bool(received)):
                trainer.save()
                console.note(f"saved at step {step.step} in {trainer.work}; the same command resumes it")
                raise KeyboardInterrupt


def duration(seconds: float) -> str:
    """ "40 s", "12 min", "2 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
