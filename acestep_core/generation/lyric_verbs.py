"""The part of Cascade that times lyrics: by the attention of a stage's model to their tokens."""

import dataclasses
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from .. import audio
from ..audio.waveform import Waveform
from ..checkpoints.checkpoint import read_checkpoint
from ..checkpoints.tokens import tokenizer_of_encoder
from ..editing.kept_latents import find_latents
from ..editing.music import check_length, encode_source
from ..memory.model_pool import TEXT
from ..memory.plan import STAGE_MEANS
from ..models.velocity import prepare
from ..planner.planned_song import PlannedSong, settled
from ..scoring.lyric_alignment import LyricAlignment, align, check_sung
from ..scoring.lyric_heads import Heads, alignment_time, all_heads, known_heads
from ..song import Song
from ..spec import LYRIC_TOKENS_MAX, MAX_SECONDS, MIN_SECONDS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from .cascade import Clips

logger = logging.getLogger(__name__)

READ_SECONDS = MAX_SECONDS + 1  # of a file: enough to see that it is too long


class LyricVerbs:
    """When the lines of a song are sung, of music that this cascade made or of any other."""

    def lyric_times(
        self, music: "Waveform | str | Path", song: "Song | PlannedSong", *, reference: "Clips" = ()
    ) -> LyricAlignment:
        """The alignment of music, a Waveform or a file, with the lyrics of a song. Its length counts, not the song's.

        Latents that were kept beside a file are taken. Raises UserError for a song without words.
        """
        check_sung(_words(song))
        wave = music if isinstance(music, Waveform) else audio.read(music, READ_SECONDS)
        check_length(wave.seconds, "the music")
        kept = None if isinstance(music, Waveform) else find_latents(music, wave, self.latents)
        encode = partial(encode_source, wave=wave, latents=kept, name="the music")
        with self._lock, torch.no_grad():
            latents = self.pool.with_fallback(lambda: encode(self.pool.vocoder)).latents
        return self.align_lyrics(latents, song, reference=reference)

    @torch.no_grad()
    def align_lyrics(
        self, latents: torch.Tensor, song: "Song | PlannedSong", *, reference: "Clips" = ()
    ) -> LyricAlignment:
        """The same of finished latents [1, C, T], such as those of the last Step."""
        check_sung(_words(song))
        seconds = self.latents.seconds(latents.shape[-1])
        song = _lasting(song, seconds)
        if isinstance(song, PlannedSong):  # its codes are of a whole number of frames
            latents = _fitted(latents, self.latents.frames(song.seconds))
        with self._lock:
            made = self.pool.with_fallback(partial(self._aligned, latents, song, reference), STAGE_MEANS)
        if made.cut:
            logger.warning(
                "lyrics: the models read %d tokens of them; lines after these have no times", LYRIC_TOKENS_MAX
            )
        return made

    def _aligned(self, latents: torch.Tensor, song, reference: "Clips") -> LyricAlignment:
        key, heads = self._lyric_stage()
        encoded = self._with_codes(song, self.encode_reference(reference), [(key, None)])
        text = self._text_states(song)
        condition = self._condition(key, latents.shape[-1], text, encoded)
        model = self.pool.network(key, "transformer")
        velocity = prepare(model.transformer, condition)
        t, seconds = alignment_time(model.defaults), self.latents.seconds(latents.shape[-1])
        trained = model.defaults.lyric_heads_trained
        return align(velocity, latents, t, heads, self._tokenizer(), _words(song), seconds, trained)

    @property
    def follows_lyrics(self) -> bool:
        """Whether it is known which attention heads of a stage's model follow the lyrics."""
        return any(self._known_heads(key) is not None for key in self.stages)

    def _known_heads(self, key) -> Heads | None:
        name, family, defaults = self._of_model(key)
        return known_heads(family, defaults, self._config(key), name)

    def _lyric_stage(self) -> tuple[object, Heads]:
        """The last stage whose model's heads are known, else the last with all its heads."""
        for key in reversed(self.stages):
            if (heads := self._known_heads(key)) is not None:
                return key, heads
        key = self.stages[-1]
        return key, all_heads(self._config(key), self._of_model(key)[0])

    def _config(self, key) -> dict:
        on_disk = isinstance(key, str)
        return read_checkpoint(key).part("transformer").arguments if on_disk else self.pool[key].transformer.config

    def _tokenizer(self) -> "Tokenizer":
        if self.models is not None:
            return tokenizer_of_encoder(self.models.text.path)
        return self.pool[TEXT].tokenizer


def _words(song) -> Song:
    return song if isinstance(song, Song) else song.song


def _lasting(song, seconds: float):
    """The song with a length, where the music's is another: that of the music."""
    words = _words(song)
    if words.seconds != "auto" and abs(words.seconds - seconds) < 1:
        return settled(song)
    words = dataclasses.replace(words, seconds=min(max(seconds, MIN_SECONDS), MAX_SECONDS))
    return words if isinstance(song, Song) else settled(dataclasses.replace(song, song=words))


def _fitted(latents: torch.Tensor, frames: int) -> torch.Tensor:
    return functional.pad(latents, (0, max(0, frames - latents.shape[-1])), mode="replicate")[..., :frames]
