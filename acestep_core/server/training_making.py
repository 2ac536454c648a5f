"""Makes the orders about trainings: an adapter, trained step by step, and labels of clips by a planner."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import UserError
from ..generation.making import SEEDS_DRAWN_BELOW, Machine
from ..training.dataset import read_dataset
from ..training.lock import locked
from ..training.lora_course import LoraCourse
from .datasets import ClipRow, Datasets
from .jobs import Event, Made, Preview, Progress
from .orders import LabelOrder, TrainingOrder

if TYPE_CHECKING:
    from ..planner.planner import Planner
    from ..training.lora import Trainer

logger = logging.getLogger(__name__)

_LABELS = ("caption", "lyrics", "bpm", "key", "time_signature", "language")


def training_steps(order: TrainingOrder, machine: Machine) -> Iterator[Event]:
    """Trains an adapter, from the last checkpoint where there is one. Whoever iterates no further cancels it: the step
    that was made is kept, and an equal order goes on from there.
    """
    from ..checkpoints.cascade_models import find_cascade
    from ..training.distributed import ProcessGroup

    dataset = read_dataset(order.folder, order.trigger)
    found = find_cascade(order.model, text=order.text_encoder, vocoder=order.vocoder)
    course = LoraCourse(
        found, dataset, order.settings, order.intervals, order.work, order.cache, order.trigger, order.songs,
        machine.device, order.dtype,
    )  # fmt: skip
    course.check()
    order.target.parent.mkdir(parents=True, exist_ok=True)
    with locked(order.work):
        trainer = yield from _begun(course.begin(ProcessGroup()), order)
        yield from _trained(trainer)
        trainer.finish(order.target)
    yield Made({"lora": order.name, "steps": trainer.step, **_losses(trainer)})


def _begun(start, order: TrainingOrder):
    """-> Trainer"""
    while True:
        try:
            said = next(start)
        except StopIteration as end:
            return end.value
        if said.stays:
            logger.warning("%s", said.line.replace(f"{order.folder}/", ""))
        yield Progress(said.line)


def _trained(trainer: "Trainer") -> Iterator[Event]:
    first = trainer.step
    try:
        for step in trainer.run():
            yield Progress("training", step.step, step.of, step.step / step.of, round(step.loss, 6))
            if step.preview is not None:
                yield Preview(step.preview.read_bytes(), "audio/flac")
    except GeneratorExit:
        if trainer.step > first:
            trainer.save()
        raise


def _losses(trainer: "Trainer") -> dict:
    rows = trainer.losses.read()
    held_out = [row[3] for row in rows if row[3] is not None]
    return {"loss": rows[-1][1] if rows else None, "held_out": held_out[-1] if held_out else None}


def label_steps(order: LabelOrder, datasets: Datasets, machine: Machine) -> Iterator[Event]:
    """Writes labels of clips by a planner: of each, what it hears. What is done stays where the job is cancelled."""
    from ..planner.planner import Planner

    rows = [row for row in datasets.rows(order.dataset) if not (order.only_new and row.is_labelled)]
    yield Progress("loading the planner")
    planner, done = Planner.load(order.planner, device=machine.device) if rows else None, 0
    try:
        for number, row in enumerate(rows):
            yield Progress("labelling", number, len(rows), number / len(rows))
            done += _label(row, order, datasets, planner, machine)
    finally:
        if planner is not None:
            planner.release()
    yield Made({"dataset": order.dataset, "labelled": done, "of": len(rows)})


def _label(row: ClipRow, order: LabelOrder, datasets: Datasets, planner: "Planner", machine: Machine) -> bool:
    """Whether a clip could be labelled; a note says why not. Labels stay, unless all shall be written anew."""
    try:
        found = _heard(row, order, planner, machine)
        given = {name: value for name in _LABELS if (value := getattr(found, name)) not in (None, "")}
        datasets.label(order.dataset, row.id, given, only_new=order.only_new)
    except UserError as exc:
        logger.warning("%s: %s", row.id, exc)
        return False
    return True


def _heard(row: ClipRow, order: LabelOrder, planner: "Planner", machine: Machine):
    """What a planner says of a clip: a Song."""
    from .. import audio
    from ..checkpoints.cascade_models import find_cascade
    from ..nn.dtypes import pick_device
    from ..planner.audio_codes import question_of_audio
    from ..spec import MAX_SECONDS

    wave = audio.read(row.path, MAX_SECONDS)
    question = question_of_audio(wave, find_cascade(order.models), pick_device(machine.device), row.id)
    for progress in planner.iterate(question, seed=order.seed % SEEDS_DRAWN_BELOW):
        answer = progress.result
    return answer.song
