"""Makes the orders of jobs on one device, with models that stay loaded until a job needs others."""

import json
import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from ..errors import UserError
from ..generation.kept_cascade import KeptCascade, SongWork, within
from ..generation.making import SEEDS_DRAWN_BELOW, Machine
from ..generation.planning import plan_seed, with_plan
from ..generation.settings import GenerationSettings
from ..generation.song_files import MadeSong, SongFile
from ..planner.planned_song import settled_length
from ..song import Song
from .jobs import Event, Made, Progress
from .listening import ListenOrder, steps_of
from .orders import PLAN, REWRITE, UNDERSTAND, WRITE, AnswerOrder, Order, PlannerStep, SongsOrder, TrainingOrder
from .requests import bare
from .training_making import label_steps, training_steps

if TYPE_CHECKING:
    from ..planner.planner import Planner
    from .datasets import Datasets

logger = logging.getLogger(__name__)

_PLANNER_ROOM = 1.5  # times a planner's files, which it takes in memory with its caches


class Shelf(Protocol):
    """Where finished songs go."""

    datasets: "Datasets"

    def put(self, made: MadeSong, file: SongFile, facts: dict) -> object:
        """Takes a song in. -> the event that tells of it. `facts`: more that clients are told of it."""


class SongMaker:
    """Makes orders, one after the other, on one device. One Cascade is loaded at a time."""

    def __init__(self, shelf: Shelf, machine: Machine):
        self.machine = machine
        self._shelf, self._kept = shelf, KeptCascade(machine)

    @property
    def models(self) -> dict[str, str]:
        """Slot -> name of the models that are loaded."""
        cascade = self._kept.cascade
        return {} if cascade is None else {slot: bare(name) for slot, name in cascade.models.names.items()}

    def steps(self, order: Order) -> Iterator[Event]:
        """Makes an order, and yields after each step. Raises what the library raises."""
        if isinstance(order, SongsOrder):
            return self._songs(order)
        if isinstance(order, AnswerOrder):
            return self._answer(order)
        if isinstance(order, ListenOrder):
            return steps_of(order, self._kept, self.machine.device)
        self._kept.give_up()  # a training, or a planner that reads many clips, needs the memory
        if isinstance(order, TrainingOrder):
            return training_steps(order, self.machine)
        return label_steps(order, self._shelf.datasets, self.machine)

    # ---- songs -------------------------------------------------------------------------------------------------------

    def _songs(self, order: SongsOrder) -> Iterator[Event]:
        for number, settings in enumerate(order.settings):
            of = len(order.settings)
            yield from within(self._song(order, settings), number / of, (number + 1) / of)

    def _song(self, order: SongsOrder, settings: GenerationSettings) -> Iterator[Event]:
        began, song = time.monotonic(), order.song
        for step in order.steps:
            plan, planner = yield from self._asked(step, song, plan_seed(settings))
            song, settings = plan.song, with_plan(settings, plan, planner, plan_seed(settings))
        work = SongWork(settled_length(song), settings, order.file, order.takes, order.preview_seconds)
        for event in self._kept.steps(work):
            if isinstance(event, MadeSong):
                facts = {"made_in_seconds": round(time.monotonic() - began, 2), "models": self.models}
                event = self._shelf.put(event, order.file, facts)
            yield event

    # ---- planners ----------------------------------------------------------------------------------------------------

    def _answer(self, order: AnswerOrder) -> Iterator[Event]:
        plan, planner = yield from self._asked(order.step, order.song, order.seed)
        yield Made({**json.loads(plan.to_json()), "planner": planner, "seed": order.seed})

    def _asked(self, step: PlannerStep, song: Song, seed: int) -> "Iterator[Event]":
        """What a planner answers, which is gone when the music's models come. -> (SongPlan, the planner's name)"""
        from ..planner.planner import Planner

        yield Progress("loading the planner")
        planner = Planner.load(step.planner, device=self.machine.device)
        request = self._request(step, song)
        self._make_room(planner)
        sampling = planner.usual_sampling(request).with_given(step.sampling)
        try:
            for progress in planner.iterate(request, seed=seed % SEEDS_DRAWN_BELOW, sampling=sampling):
                yield Progress(f"planner: {progress.phase}", progress.tokens, progress.of or 0)
        finally:
            planner.release()
        return progress.result, planner.name

    def _request(self, step: PlannerStep, song: Song):
        from ..planner.requests import PlanSong, RewriteSong, WriteSong

        if step.kind == WRITE:
            return WriteSong(step.line, step.instrumental, song)
        if step.kind in (PLAN, REWRITE):
            return PlanSong(song, step.codes) if step.kind == PLAN else RewriteSong(song)
        if step.kind != UNDERSTAND:
            raise UserError(f"planner: got {step.kind!r}, expected plan, write, rewrite or understand")
        return self._understood(step)

    def _understood(self, step: PlannerStep):
        from .. import audio
        from ..checkpoints.cascade_models import find_cascade
        from ..nn.dtypes import pick_device
        from ..planner.audio_codes import question_of_audio
        from ..spec import MAX_SECONDS

        wave = audio.read(step.source, MAX_SECONDS)
        device = pick_device(self.machine.device)
        return question_of_audio(wave, find_cascade(step.models), device, step.source)

    def _make_room(self, planner: "Planner") -> None:
        """Gives up the cascade where a planner does not fit beside it."""
        from ..memory.free import free_bytes

        room = _PLANNER_ROOM * planner.files.size_bytes
        if self._kept.cascade is not None and free_bytes(planner.device) < room:
            self._kept.give_up()
