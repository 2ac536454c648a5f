"""The part of Cascade that makes several takes of a song, judges them, and makes the best again with all its steps.

A take is a draft: fewer steps from the same noise. It has the tempo, the key and the form of the whole run.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..audio.waveform import Waveform
from ..checkpoints.checkpoint import read_checkpoint
from ..errors import UserError
from ..flow.stages import Step
from ..models.reference import Reference
from ..models.semantic_codes import semantic_tokens
from ..planner.metadata import is_instrumental
from ..planner.planned_song import PlannedSong, codebook_size, settled
from ..scoring.judges import FinishedSong, Measured, judged
from ..scoring.planner_score import PlannerScore, score_of_song
from ..scoring.ranking import Take, ranked
from ..scoring.take_settings import TakeSettings
from ..song import Song, check_seed

if TYPE_CHECKING:
    from ..planner.planner import Planner
    from .cascade import AnySong, Clips, Loras


@dataclass(frozen=True)
class TakeStep:
    """A step of a take, numbered from 1. After its last step comes one with the judged `take`; the last of all has the
    takes that are `kept`, the best first, and `every` take, ranked.
    """

    number: int
    of: int
    step: Step | None = None
    take: Take | None = None
    kept: tuple[Take, ...] = ()
    every: tuple[Take, ...] = ()


class TakeVerbs:
    """Takes of a song: made, judged and ranked."""

    def best_of(
        self, song: "AnySong", count: int, *, keep: int = 1, seed: int = 0, reference: "Clips" = (), **given
    ) -> list[tuple[Waveform, Take]]:
        """The best of `count` takes, with what the judges found of each: `keep` of them, the best first.

        `given`: `retry_below`, `draft` and `planner` of TakeSettings, and the settings of `generate`.
        """
        names = {field.name for field in dataclasses.fields(TakeSettings)} & set(given)
        settings = TakeSettings(count, keep, **{name: given.pop(name) for name in names})
        for step in self.iterate_takes(song, settings, seed=seed, reference=reference, **given):
            kept = step.kept
        made = []
        for take in kept:
            wave = self.generate(song, seed=take.seed, reference=reference, **given)
            made.append((wave, Take(take.seed, self.judge(wave, song))))
        return made

    def iterate_takes(
        self,
        song: "AnySong",
        settings: TakeSettings,
        *,
        seed: int = 0,
        reference: "Clips" = (),
        lora: "Loras" = (),
        **sampling,
    ) -> Iterator[TakeStep]:
        """Takes from seeds `seed`, `seed` + 1, ..., step by step. Stop iterating to cancel. Raises UserError."""
        song, takes = settled(song), []
        check_seed(seed, settings.seeds)
        encoded = self.encode_reference(reference)
        given = {"reference": encoded or (), "lora": lora, **sampling, "every": settings.draft}
        for number in range(settings.seeds):
            if number % settings.count == 0 and takes and ranked(takes)[0].total >= settings.retry_below:
                break
            of = number // settings.count * settings.count + settings.count
            for step in self.iterate(song, seed=seed + number, **given):
                yield TakeStep(number + 1, of, step)
            wave = self.decode(step.latents, song, encoded)
            found = self.judge(wave, song, step.latents, encoded, settings.planner)
            takes.append(Take(seed + number, found))
            yield TakeStep(number + 1, of, take=takes[-1])
        every = tuple(ranked(takes))
        yield TakeStep(number + 1, of, kept=every[: settings.keep], every=every)

    @torch.no_grad()
    def judge(
        self,
        wave: Waveform,
        song: "AnySong",
        latents: torch.Tensor | None = None,
        reference: Reference | None = None,
        planner: "Planner | None" = None,
    ) -> dict[str, Measured]:
        """What the judges find of a song that was made. With its latents [1, C, T] they listen for the words too, where
        it is known which heads of the models follow them; with a planner, for what the codes say.
        """
        words = song if isinstance(song, Song) else song.song
        aligned = None
        if latents is not None and not is_instrumental(words.lyrics) and self.follows_lyrics:
            timbre = Reference(timbre=reference.timbre) if reference and reference.timbre else ()
            sung = song if isinstance(song, PlannedSong) else words
            aligned = self.align_lyrics(latents, sung, reference=timbre).score
        codes = None if planner is None or latents is None else self._codes_score(planner, latents, words)
        return judged(FinishedSong(wave, words, aligned, codes))

    def _codes_score(self, planner: "Planner", latents: torch.Tensor, words: Song) -> PlannerScore:
        tokenizer = self.pool.audio_tokens(self._coding_stage()).audio_tokenizer
        return score_of_song(planner, self.codes_of(latents), words, codebook_size(tokenizer.config))

    @torch.no_grad()
    def codes_of(self, latents: torch.Tensor) -> tuple[int, ...]:
        """The audio codes of finished latents [1, C, T], by the first model that has an audio tokenizer. UserError."""
        model = self.pool.audio_tokens(self._coding_stage())
        weight = next(model.audio_tokenizer.parameters())
        _, codes = semantic_tokens(model.audio_tokenizer, latents.to(weight), model.silence.to(weight))
        return tuple(codes.flatten().tolist())

    def _coding_stage(self):
        for key in self.stages:
            parts = read_checkpoint(key).parts if isinstance(key, str) else ()
            if "audio_tokenizer" in parts or (not isinstance(key, str) and self.pool[key].audio_tokenizer is not None):
                return key
        raise UserError("codes: none of the models has an audio tokenizer; score without a planner, or take others")
