"""The verbs of a Cascade that edit music: cover, repaint, extend, extract, lego, complete, retake, morph."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from .. import audio
from ..audio.waveform import Waveform
from ..checkpoints.checkpoint import read_checkpoint
from ..checkpoints.locate import state_of
from ..editing.edit import DEFAULT_AMOUNT, Edit
from ..editing.edited_song import EditedSong
from ..editing.kept_latents import find_latents, latents_path
from ..editing.known_tasks import check_models, check_tokens
from ..editing.music import SourceMusic, check_length, encode_source, frames_of
from ..editing.prepare import prepare
from ..editing.source_song import result_song, source_song
from ..errors import UserError
from ..memory.geometry import Layers
from ..memory.needs import hint_needs
from ..models.defaults import VariantDefaults
from ..models.reference import Reference
from ..models.source import CODES, EditSource, Source, Variation
from ..planner.planned_song import PlannedSong, check_codes, check_range
from ..song import Song
from ..spec import MAX_SECONDS
from ..system.files import existing

if TYPE_CHECKING:
    from .cascade import Clip, Clips, Stages

READ_SECONDS = MAX_SECONDS + 1  # of a file: enough to see that it is too long
Music = Waveform | str | Path | SourceMusic


class PreparedEdit(NamedTuple):
    """What `Cascade.iterate` and `Cascade.decode` take of an edit."""

    song: EditedSong
    reference: Reference


class EditVerbs:
    """The part of Cascade that edits. Each verb takes music (a Waveform, or a file) and returns a Waveform.

    `song`: the words of the result, a Song or a caption; None takes those in the file's tags. Other arguments are those
    of `generate`; those of each task are fields of Edit. Raises UserError before anything is made.
    """

    def cover(self, music: Music, song: Song | str | None = None, **given) -> Waveform:
        """The music in another style. `structure`, `closeness`, `codes`: see Edit."""
        return self._edit("cover", music, song, given)

    def repaint(
        self, music: Music, regions: Sequence[tuple[float, float]], song: Song | str | None = None, **given
    ) -> Waveform:
        """The music with regions, (start, end) in seconds, made anew; the rest stays to the sample. `strength`."""
        return self._edit("repaint", music, song, {"regions": tuple(regions), **given})

    def extend(
        self, music: Music, before: float = 0.0, after: float = 0.0, song: Song | str | None = None, **given
    ) -> Waveform:
        """The music with so many seconds of new music before and after it."""
        return self._edit("extend", music, song, {"before": before, "after": after, **given})

    def extract(self, music: Music, track: str, song: Song | str | None = None, **given) -> Waveform:
        """One stem of a mix, such as "drums"."""
        return self._edit("extract", music, song, {"tracks": (track,), **given})

    def lego(self, music: Music, track: str, song: Song | str | None = None, **given) -> Waveform:
        """A new stem that fits the music; with `mix` together with it. `regions`: where it plays."""
        return self._edit("lego", music, song, {"tracks": (track,), **given})

    def complete(self, music: Music, tracks: Sequence[str] = (), song: Song | str | None = None, **given) -> Waveform:
        """The music, such as a voice, with an accompaniment of these tracks."""
        return self._edit("complete", music, song, {"tracks": tuple(tracks), **given})

    def morph(self, music: Music, song: Song | str, from_caption: str | None = None, **given) -> Waveform:
        """The same music under other words; `from_caption` and `from_lyrics` describe it as it is."""
        return self._edit("morph", music, song, {"from_caption": from_caption, **given})

    def retake(
        self,
        song: Song,
        *,
        seed: int,
        retake_seed: int,
        amount: float = DEFAULT_AMOUNT,
        reference: "Clips" = (),
        **given,
    ) -> Waveform:
        """A variation of the song that `seed` makes, with a share `amount` of other noise. `given`: as for it."""
        edit = Edit("retake", amount=amount, retake_seed=retake_seed)
        varied = self.retake_reference(edit, reference, given.pop("continue_from", None), song.seconds)
        return self.generate(song, seed=seed, reference=varied, **given)

    def retake_reference(
        self, edit: Edit, reference: "Clips" = (), continue_from: "Clip | None" = None, seconds: float | None = None
    ) -> Reference:
        """Encoded clips, as `iterate` takes them, for a retake of a song of `seconds`."""
        encoded = self.encode_reference(reference, continue_from, seconds) or Reference()
        return dataclasses.replace(encoded, variation=_variation(edit))

    def _edit(self, task: str, music: Music, song: Song | str | None, given: dict) -> Waveform:
        names = {field.name for field in dataclasses.fields(Edit)}
        edit = Edit(task, **{name: value for name, value in given.items() if name in names})
        return self.edit(edit, music, song, **{name: value for name, value in given.items() if name not in names})

    def edit(
        self, edit: Edit, music: Music, song: Song | str | None = None, *, reference: "Clips" = (), **given
    ) -> Waveform:
        """`count` results [count, 2, N] of an edit. The verbs are this with a task each."""
        sampling = {name: value for name, value in given.items() if name not in ("seed", "count", "lora")}
        stages = self.plan(**sampling)
        prepared = self.prepare_edit(edit, music, song, reference, stages)
        return self.generate(prepared.song, reference=prepared.reference, **given)

    @torch.no_grad()
    def prepare_edit(
        self,
        edit: Edit,
        music: Music,
        song: Song | str | None = None,
        reference: "Clips" = (),
        stages: "Stages | None" = None,
    ) -> PreparedEdit:
        """An edit as `iterate` and `decode` take it: checked against the models, and its music encoded.

        `stages`: what `plan` gave, where only some of the models run.
        """
        self.check_edit(edit, stages)
        words = source_song(music, edit)
        result_song(edit, song, words)  # a song without words is refused before its source is encoded
        with self._lock:
            encoded = self.encode_reference(reference)
            known = self._music(edit, music)
            make = partial(prepare, edit, known, self.latents)
            source = self._edit_sources.get((edit, known), make)
            seconds = edit.seconds(known.waveform.seconds)
            edited = EditedSong(result_song(edit, song, words, seconds), edit, seconds, words)
            key = source, encoded, edit.amount, edit.retake_seed
            make = partial(dataclasses.replace, encoded or Reference(), source=source, variation=_variation(edit))
            return PreparedEdit(edited, self._edit_references.get(key, make))

    def result_latents(
        self, latents: torch.Tensor, wave: Waveform, reference: Reference | None = None
    ) -> torch.Tensor | None:
        """The latents of a run [1, C, T] as those of its finished sound, to keep beside it; None where the sound does
        not begin with a whole frame.
        """
        splice = reference and reference.source and reference.source.splice
        first, left = divmod(splice.skip if splice else 0, self.latents.samples_per_frame)
        if left:
            return None
        return latents[:, :, first : first + frames_of(self.pool.vocoder, wave.samples.shape[-1])].cpu()

    def check_edit(self, edit: Edit, stages: "Stages | None" = None) -> None:
        """Raises CheckpointError unless the models know the task of an edit, UserError for a retake, which has no
        source but the song's own noise.
        """
        if edit.task == "retake":
            raise UserError("retake: it is no edit of sound; Cascade.retake makes it of a Song and its seed")
        keys = self.stages if stages is None else [key for key, _ in stages]
        check_models(edit, [self._of_model(key) for key in dict.fromkeys(keys)])
        for key in dict.fromkeys(keys):
            if isinstance(key, str):
                check_tokens(edit, self._of_model(key)[0], read_checkpoint(key))
            elif edit.by_codes and self.pool[key].audio_tokenizer is None:
                raise UserError(f"cover: {self.pool[key].name} was loaded without its audio tokenizer; load it with it")

    def _check_codes(self, key, song: PlannedSong) -> None:
        """Raises CheckpointError or UserError unless a stage's model can follow these codes."""
        if isinstance(key, str):
            check_codes(song.codes, self._of_model(key)[0], read_checkpoint(key), song.codebook)
            return
        model = self.pool[key]
        if model.audio_tokenizer is None or model.audio_token_detokenizer is None:
            raise UserError(f"codes: {model.name} was loaded without its audio tokenizer; load it with it")
        check_range(song.codes, model.name, model.audio_tokenizer.config, song.codebook)

    def _of_model(self, key) -> tuple[str, str, VariantDefaults]:
        """Name, family and defaults of a stage's model."""
        if not isinstance(key, str):
            model = self.pool[key]
            return model.name, model.family, model.defaults
        number = self.stages.index(key)
        return self.models.stages[number].name, read_checkpoint(key).family, self.defaults[number]

    def _music(self, edit: Edit, music: Music) -> SourceMusic:
        """Music as edits take it; that of the last file is remembered."""
        if isinstance(music, SourceMusic):
            return music
        if isinstance(music, Waveform):
            return self._encoded_music(edit, music, None)
        latents = latents_path(music)
        states = state_of(existing(music)), latents.is_file() and state_of(latents)
        return self._musics.get(states, lambda: self._read_music(edit, music))

    def _read_music(self, edit: Edit, path: str | Path) -> SourceMusic:
        wave = audio.read(path, READ_SECONDS)
        check_length(wave.seconds)
        return self._encoded_music(edit, wave, find_latents(path, wave, self.latents))

    def _encoded_music(self, edit: Edit, wave: Waveform, latents: torch.Tensor | None) -> SourceMusic:
        check_length(wave.seconds)
        edit.check_source(wave.seconds)
        return self.pool.with_fallback(lambda: encode_source(self.pool.vocoder, wave, latents))

    def _hint_needs(self, source: Source | None, keys: Sequence) -> list[Layers]:
        if not isinstance(source, EditSource) or source.shows != CODES:
            return []
        return [hint_needs(read_checkpoint(key)) for key in keys if isinstance(key, str)]

    def _hints(self, key, source: Source | None) -> torch.Tensor | None:
        """A source through the codes of one stage's model [1, C, T], where the source needs them."""
        if not isinstance(source, EditSource) or source.shows != CODES:
            return None
        return source.hints(self.pool.audio_tokens(key)).cpu()


def _variation(edit: Edit) -> Variation | None:
    amount = DEFAULT_AMOUNT if edit.task == "retake" and edit.amount is None else edit.amount
    return Variation(amount, edit.retake_seed or 0) if amount else None
