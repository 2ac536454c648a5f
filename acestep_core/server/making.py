"""Makes the orders of jobs on one device, with models that stay loaded until a job needs others."""

import dataclasses
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..audio.formats import FORMATS
from ..errors import UserError
from ..generation.making import SEEDS_DRAWN_BELOW, Machine, check_task, digests_of, load_cascade, prepared, slug
from ..generation.planning import plan_seed, with_plan
from ..generation.settings import GenerationSettings
from ..generation.song_files import MadeSong, SongFile, write_song
from ..planner.planned_song import settled_length
from ..scoring.take_settings import TakeSettings
from ..song import Song
from .jobs import Event, Made, Preview, Progress
from .orders import PLAN, REWRITE, UNDERSTAND, WRITE, AnswerOrder, Order, PlannerStep, SongsOrder
from .requests import RequestReader, bare

if TYPE_CHECKING:
    from ..generation.cascade import Cascade
    from ..generation.song_steps import Prepared
    from ..planner.planner import Planner

logger = logging.getLogger(__name__)

PREVIEW_FORMAT, PREVIEW_TYPE = "mp3", "audio/mpeg"
_PREVIEW_SHARE = 0.5  # of the steps, after which a preview is made
_TAKES_SHARE = 0.5  # of a song's progress
_PLANNER_ROOM = 1.5  # times a planner's files, which it takes in memory with its caches


class SongMaker:
    """Makes orders, one after the other, on one device. One Cascade is loaded at a time."""

    def __init__(self, requests: RequestReader, machine: Machine):
        self.machine = machine
        self._requests, self._library = requests, requests.library
        self._cascade: Cascade | None = None
        self._models: tuple | None = None

    @property
    def models(self) -> dict[str, str]:
        """Slot -> name of the models that are loaded."""
        cascade = self._cascade
        return {} if cascade is None else {slot: bare(name) for slot, name in cascade.models.names.items()}

    def steps(self, order: Order) -> Iterator[Event]:
        """Makes an order, and yields after each step. Raises what the library raises."""
        return self._answer(order) if isinstance(order, AnswerOrder) else self._songs(order)

    # ---- songs -------------------------------------------------------------------------------------------------------

    def _songs(self, order: SongsOrder) -> Iterator[Event]:
        for number, settings in enumerate(order.settings):
            of = len(order.settings)
            yield from _within(self._song(order, settings), number / of, (number + 1) / of)

    def _song(self, order: SongsOrder, settings: GenerationSettings) -> Iterator[Event]:
        began, song = time.monotonic(), order.song
        for step in order.steps:
            plan, planner = yield from self._asked(step, song, plan_seed(settings))
            song, settings = plan.song, with_plan(settings, plan, planner, plan_seed(settings))
        song = settled_length(song)
        cascade = yield from self._loaded(settings)
        digests = digests_of(cascade, settings)
        if settings.source or settings.reference or settings.continue_from:
            yield Progress("encoding clips")
        ready = prepared(cascade, song, settings)
        chosen, why, first = [settings], None, 0.0
        if order.takes.are_wanted:
            first = _TAKES_SHARE
            chosen, why = yield from _within(_chosen(cascade, ready, settings, order.takes), 0, first)
        for number, own in enumerate(chosen):
            ends = (first + (1 - first) * rank / len(chosen) for rank in (number, number + 1))
            made = yield from _within(self._run(cascade, ready, own, digests, order.preview_seconds), *ends)
            made = yield from _listened(cascade, made, why, order.file)
            yield Made(self._saved(order, made, time.monotonic() - began))

    def _loaded(self, settings: GenerationSettings) -> Iterator[Event]:
        """The cascade of a song's models. -> Cascade"""
        models = *settings.model_names.values(), *settings.precision.values()
        if models == self._models:
            check_task(self._cascade, settings)
            return self._cascade
        yield Progress("loading models")
        self._cascade, self._models = None, None  # the memory of the old ones is free before new ones come
        self._cascade = load_cascade(settings, **asdict(self.machine))
        self._models = models
        return self._cascade

    def _run(self, cascade: "Cascade", ready: "Prepared", settings: GenerationSettings, digests, preview: float):
        """A song, with its progress, and a preview of its first `preview` seconds. -> MadeSong"""
        from ..generation.song_steps import made_song, stage_steps

        preview = 0.0 if settings.edit or settings.continue_from else preview
        for made in stage_steps(cascade, ready, settings):
            step = made.step
            yield Progress(made.name, step.step, step.of, 0.05 + 0.9 * made.share)
            if preview > 0 and _PREVIEW_SHARE <= made.share < 1:
                yield from _preview(cascade, step.x0, preview)
                preview = 0.0
        yield Progress("decoding", share=0.95)
        return made_song(cascade, ready, settings, step.latents, digests=digests)

    def _saved(self, order: SongsOrder, made: MadeSong, took: float) -> dict:
        """Writes a song's files, takes it into the library, and returns it as JSON has it."""
        settings, format = made.settings, order.file.format
        path = self._library.folder / f"{slug(made.words.caption)}-{settings.seed}.{format}"
        row = self._library.add(write_song(made, order.file, path, replace=False))
        rate_hz = FORMATS[format].nearest_rate_hz(made.wave.sample_rate_hz)
        shown = {"id": row.id, "file": row.path, "seconds": round(made.wave.seconds, 3), "rate_hz": rate_hz}
        shown |= {"seed": settings.seed, "made_in_seconds": round(took, 2), "models": self.models}
        shown |= {"scores": made.scores, "why": made.why} if made.scores else {}
        shown |= {"lrc": bool(made.timed), "song": asdict(made.words)}
        return {**shown, "settings": self._requests.shown_settings(settings)}

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
        sampling = dataclasses.replace(request.sampling, **step.sampling)
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
        from ..planner.audio_codes import codes_of_audio
        from ..planner.requests import UnderstandAudio
        from ..spec import MAX_SECONDS

        wave = audio.read(step.source, MAX_SECONDS)
        device = pick_device(self.machine.device)
        return UnderstandAudio(codes_of_audio(wave, find_cascade(step.models), device, step.source))

    def _make_room(self, planner: "Planner") -> None:
        """Gives up the cascade where a planner does not fit beside it."""
        from ..memory.free import free_bytes

        if self._cascade is not None and free_bytes(planner.device) < _PLANNER_ROOM * planner.files.size_bytes:
            self._cascade, self._models = None, None


def _chosen(cascade: "Cascade", ready: "Prepared", settings: GenerationSettings, takes: TakeSettings):
    """Makes takes. -> (the settings of those that are kept, the best first; why they are)"""
    from ..generation.song_steps import take_steps
    from ..scoring.ranking import reasons

    for made in take_steps(cascade, ready, settings, takes):
        if made.step is not None:
            share = (made.number - 1) / made.of
            yield Progress(f"take {made.number} of {made.of}", made.step.step, made.step.of, share)
        if made.take is not None:
            logger.warning("take %d of %d: %s", made.number, made.of, made.take.line())
    if made.every[0].total < (takes.retry_below or 0):
        logger.warning("no take reached %g; the best of %d is kept", takes.retry_below, len(made.every))
    return [dataclasses.replace(settings, seed=take.seed) for take in made.kept], reasons(made.every)


def _within(events: Iterator[Event], low: float, high: float):
    """Events of a part of a job, which is from `low` to `high` of the whole. -> what `events` returns"""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value
        if isinstance(event, Progress):
            event = dataclasses.replace(event, share=round(low + (high - low) * event.share, 4))
        yield event


def _listened(cascade: "Cascade", made: MadeSong, why: str | None, file: SongFile):
    """The song with its scores, where it was chosen among takes, and with the times of its lyrics. -> MadeSong"""
    from ..generation.song_steps import judged_take, with_times

    if why is not None or file.lrc:
        yield Progress("listening", share=0.98)
    if why is not None:
        made = dataclasses.replace(made, scores=judged_take(cascade, made).scores(), why=why)
    return with_times(cascade, made, file)


def _preview(cascade: "Cascade", x0, seconds: float) -> Iterator[Preview]:
    """The first seconds of an estimate [1, C, T], where the vocoder is in memory already."""
    from .. import audio
    from ..memory.plan import ALL

    if cascade.pool.plan.holds != ALL:
        return
    wave = cascade.decode(x0[..., : cascade.latents.frames(seconds)])
    yield Preview(audio.encoded(audio.fit(wave, PREVIEW_FORMAT), PREVIEW_FORMAT, "lossy"), PREVIEW_TYPE)
