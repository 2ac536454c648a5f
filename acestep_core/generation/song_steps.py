"""The making of one song with a loaded cascade, step by step, as the command line, the server and workers run it."""

import dataclasses
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..audio.live import LiveSound
from ..models.reference import Reference
from ..planner.metadata import is_instrumental
from ..planner.planned_song import PlannedSong
from ..scoring.lyric_times import lrc
from ..scoring.ranking import Take
from ..scoring.take_settings import TakeSettings
from .settings import GenerationSettings
from .song_files import MadeSong, SongFile
from .take_verbs import TakeStep

if TYPE_CHECKING:
    import torch

    from ..editing.edited_song import EditedSong
    from ..flow.stages import Step
    from ..song import Song
    from .cascade import Cascade

    Prepared = tuple[Song | EditedSong | PlannedSong, Reference | None]  # of `making.prepared`

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class StageStep:
    """A step of a stage: the name of its model, and the share 0..1 of the song's steps that are done."""

    name: str
    step: "Step"
    share: float


def stage_steps(cascade: "Cascade", ready: "Prepared", settings: GenerationSettings) -> Iterator[StageStep]:
    """The steps of a song; those of its last one, `step.latents` [1, C, T], are what `made_song` takes.

    Stop iterating to cancel. Raises UserError, CheckpointError.
    """
    song, reference = ready
    names = [model.name for model in cascade.models.stages]
    total = sum(len(plan.times) - 1 for _, plan in cascade.plan(**settings.sampling))
    sampling = {"lora": settings.lora or (), **settings.sampling}
    steps = cascade.iterate(song, seed=settings.seed, reference=reference, **sampling)
    for done, step in enumerate(steps, start=1):
        yield StageStep(names[min(step.stage, len(names) - 1)], step, min(done / total, 1.0))


def take_steps(
    cascade: "Cascade", ready: "Prepared", settings: GenerationSettings, takes: TakeSettings
) -> Iterator[TakeStep]:
    """The steps of a song's takes; the last one has those that are kept. Raises UserError."""
    song, reference = ready
    lora = settings.lora or ()
    return cascade.iterate_takes(
        song, takes, seed=settings.seed, reference=reference or (), lora=lora, **settings.sampling
    )


def live_sound(cascade: "Cascade", ready: "Prepared", latents: "torch.Tensor") -> LiveSound:
    """The sound that the vocoder makes of latents [1, C, T], cut to the song's length, to be heard as it is decoded."""
    vocoder = cascade.pool.with_fallback(lambda: cascade.pool.vocoder)
    rate, samples, seconds = vocoder.latents.sample_rate_hz, vocoder.samples(latents.shape[-1]), ready[0].seconds
    return LiveSound(rate, vocoder.channels, min(samples, round(seconds * rate)) if seconds else samples)


def made_song(
    cascade: "Cascade",
    ready: "Prepared",
    settings: GenerationSettings,
    latents: "torch.Tensor",
    live: LiveSound | None = None,
    **known,
) -> MadeSong:
    """The finished song of latents [1, C, T]. `live` gets its sound while it is decoded; `known`: further fields of
    MadeSong.
    """
    song, reference = ready
    hear = {"hear": lambda piece, start: live.add(piece[0], start)} if live else {}
    wave = cascade.decode(latents, song, reference, **hear)
    kept = cascade.result_latents(latents, wave, reference)
    return MadeSong(wave, song, settings, cascade.models.names, kept, reference, **known)


def judged_take(cascade: "Cascade", made: MadeSong) -> Take:
    """What the judges find of a finished song."""
    return Take(made.settings.seed, cascade.judge(made.wave, made.song, made.latents, made.reference))


def with_times(cascade: "Cascade", made: MadeSong, file: SongFile) -> MadeSong:
    """The song with the times of its lyrics, where there is something to time; else a note says why not."""
    if not file.lrc:
        return made
    if is_instrumental(made.words.lyrics):
        logger.warning("lrc: the song has no words")
        return made
    if made.latents is None:
        logger.warning("lrc: no times, as the sound does not begin with a whole frame of its latents")
        return made
    words = file.lrc_words and cascade.follows_lyrics
    if file.lrc_words and not words:
        logger.warning("lrc: lines only, as it is not known which heads of these models follow words")
    return dataclasses.replace(made, timed=lrc(_alignment(cascade, made).lines, words))


def _alignment(cascade: "Cascade", made: MadeSong):
    """The alignment of a song that was just made. A clip that it continues, or edits, is in its latents already."""
    words = made.song if isinstance(made.song, PlannedSong) else made.words
    timbre = made.reference.timbre if made.reference else ()
    return cascade.align_lyrics(made.latents, words, reference=Reference(timbre=timbre) if timbre else ())
