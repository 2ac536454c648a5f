"""Songs on one device, one after the other, by a cascade that stays loaded until a song needs other models.

The server and the workers of a cluster make songs so. Whoever iterates no further cancels a song.
"""

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..scoring.take_settings import TakeSettings
from ..song import Song
from .making import Machine, check_task, digests_of, load_cascade, prepared
from .settings import GenerationSettings
from .song_files import MadeSong, SongFile

if TYPE_CHECKING:
    from ..audio.live import LiveSound
    from .cascade import Cascade
    from .song_steps import Prepared

logger = logging.getLogger(__name__)

PREVIEW_FORMAT, PREVIEW_TYPE = "mp3", "audio/mpeg"
_PREVIEW_SHARE = 0.5  # of the steps, after which a preview is made
_TAKES_SHARE = 0.5  # of a song's progress


@dataclass(frozen=True)
class Progress:
    """How far a work is: `phase` is a stage's model or a work such as "planning"; `share` 0 to 1 is of the whole work;
    `loss` is that of a training's step.
    """

    phase: str
    step: int = 0
    of: int = 0
    share: float = 0.0
    loss: float | None = None


@dataclass(frozen=True)
class Preview:
    """The first seconds of a song that is not finished, as an encoded file."""

    data: bytes
    media_type: str


@dataclass(frozen=True)
class SongWork:
    """A song to make, the best of its `takes` where there are several. `file` says what is heard in it once it is made,
    `preview_seconds` how much of it is given before.
    """

    song: Song
    settings: GenerationSettings
    file: SongFile = SongFile()
    takes: TakeSettings = TakeSettings()
    preview_seconds: float = 0.0


class KeptCascade:
    """The one cascade of a device. `cascade` is None before the first song, and after `give_up`."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self.cascade: Cascade | None = None
        self._models: tuple | None = None

    def give_up(self) -> None:
        """Drops the cascade, whose memory something else needs."""
        self.cascade, self._models = None, None

    def steps(self, work: SongWork) -> Iterator["Progress | Preview | LiveSound | MadeSong"]:
        """Makes a song, or the best takes of it, the best first. Raises what the library raises."""
        settings = work.settings
        cascade = yield from self.loaded(settings)
        digests = digests_of(cascade.models, settings)
        if settings.source or settings.reference or settings.continue_from:
            yield Progress("encoding clips")
        ready = prepared(cascade, work.song, settings)
        chosen, why, first = [settings], None, 0.0
        if work.takes.are_wanted:
            first = _TAKES_SHARE
            chosen, why = yield from within(_chosen(cascade, ready, settings, work.takes), 0, first)
        for number, own in enumerate(chosen):
            ends = (first + (1 - first) * rank / len(chosen) for rank in (number, number + 1))
            made = yield from within(_played(cascade, ready, own, digests, work.preview_seconds), *ends)
            yield (yield from _listened(cascade, made, why, work.file))

    def loaded(self, settings: GenerationSettings) -> Iterator[Progress]:
        """The cascade of a song's models. -> Cascade"""
        models = *settings.model_names.values(), *settings.precision.values()
        if models == self._models:
            check_task(self.cascade, settings)
            return self.cascade
        yield Progress("loading models")
        self.give_up()  # the memory of the old ones is free before new ones come
        self.cascade = load_cascade(settings, **asdict(self.machine))
        self._models = models
        return self.cascade


def within(events: Iterator, low: float, high: float):
    """Events of a part of a work, which is from `low` to `high` of the whole. -> what `events` returns"""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value
        if isinstance(event, Progress):
            event = dataclasses.replace(event, share=round(low + (high - low) * event.share, 4))
        yield event


def _chosen(cascade: "Cascade", ready: "Prepared", settings: GenerationSettings, takes: TakeSettings):
    """Makes takes. -> (the settings of those that are kept, the best first; why they are)"""
    from ..scoring.ranking import reasons
    from .song_steps import take_steps

    for made in take_steps(cascade, ready, settings, takes):
        if made.step is not None:
            share = (made.number - 1) / made.of
            yield Progress(f"take {made.number} of {made.of}", made.step.step, made.step.of, share)
        if made.take is not None:
            logger.warning("take %d of %d: %s", made.number, made.of, made.take.line())
    if made.every[0].total < (takes.retry_below or 0):
        logger.warning("no take reached %g; the best of %d is kept", takes.retry_below, len(made.every))
    return [dataclasses.replace(settings, seed=take.seed) for take in made.kept], reasons(made.every)


def _played(cascade: "Cascade", ready: "Prepared", settings: GenerationSettings, digests, preview: float):
    """A song, with its progress, a preview of its first `preview` seconds, and its sound while it is decoded.
    -> MadeSong
    """
    from .song_steps import live_sound, made_song, stage_steps

    preview = 0.0 if settings.edit or settings.continue_from else preview
    for made in stage_steps(cascade, ready, settings):
        step = made.step
        yield Progress(made.name, step.step, step.of, 0.05 + 0.9 * made.share)
        if preview > 0 and _PREVIEW_SHARE <= made.share < 1:
            yield from _preview(cascade, step.x0, preview)
            preview = 0.0
    yield Progress("decoding", share=0.95)
    with closing(live_sound(cascade, ready, step.latents)) as live:
        yield live
        return made_song(cascade, ready, settings, step.latents, live, digests=digests)


def _listened(cascade: "Cascade", made: MadeSong, why: str | None, file: SongFile):
    """The song with its scores, where it was chosen among takes, and with the times of its lyrics. -> MadeSong"""
    from .song_steps import judged_take, with_times

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
