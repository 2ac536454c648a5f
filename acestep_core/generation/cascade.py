"""The story: a Song becomes a Waveform.

    text encoder   Song -> TextStates
    vocoder        clips -> Reference (only where there are clips)
    each stage     TextStates + Reference -> Condition; latents [B, C, T] at its first time -> at its last
    vocoder        latents -> samples [B, 2, N]

Latents go through in float32. Item i of a batch is made from seed + i and equals the song made from that seed alone.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any

import torch

from .. import audio
from ..audio.clips import READ_SECONDS
from ..audio.waveform import Waveform
from ..checkpoints.cascade_models import CascadeModels, find_cascade
from ..checkpoints.checkpoint import read_checkpoint
from ..checkpoints.locate import state_of
from ..editing.edited_song import EditedSong, prompts_of
from ..errors import CheckpointError, UserError
from ..flow.guidance import Guidance
from ..flow.song_run import SongRun, StagePart
from ..flow.stage_plan import SamplingSettings, StagePlan, plan_for_models
from ..flow.stages import Stage, Step, item_seeds
from ..lora.apply import apply_adapter, layer_shapes
from ..lora.bases import Shapes, shapes_of_part
from ..lora.find import Lora
from ..lora.stage_adapters import StageAdapters, stage_adapters
from ..memory.free import free_bytes, program_bytes
from ..memory.loaded import adapter_needs
from ..memory.lru import LruCache
from ..memory.model_pool import TEXT, VOCODER, ModelPool, Precision
from ..memory.plan import PARTS, PLANS, STAGE_MEANS, Plan
from ..models.condition import Condition, encode_condition
from ..models.reference import ContinuationSource, Reference, check_longer, continuation, splice, timbre_reference
from ..models.source import EditSource
from ..models.stage_model import StageModel
from ..models.text_encoder import TextEncoder, TextStates
from ..models.vocoder import Vocoder
from ..nn.dtypes import pick_device, pick_dtype
from ..nn.quantise import OF_STAGES, check_quantise
from ..planner.planned_song import PlannedSong, settled
from ..planner.song_plan import SongPlan
from ..song import Song, check_seed
from ..spec import CHANNELS, VOCODER_DTYPE_NAMES, LatentSpec
from ..system.files import existing
from .edit_verbs import EditVerbs
from .lyric_verbs import LyricVerbs
from .take_verbs import TakeVerbs

logger = logging.getLogger(__name__)

Clip = Waveform | str | Path
Clips = Reference | Sequence[Clip] | Clip | None
Loras = Sequence[Lora | str | Path] | Lora | str | Path
AnySong = Song | EditedSong | PlannedSong | SongPlan
Stages = list[tuple[Any, StagePlan]]  # (key of a model in the pool, what it runs)
REMEMBERED_TEXTS, REMEMBERED_CONDITIONS = 4, 12


class Cascade(EditVerbs, LyricVerbs, TakeVerbs):
    """Models of a cascade, ready to make songs. `Cascade.load` finds and loads them by name or path.

    Threads may share one: a call of `generate`, and each step of `iterate`, runs while the others wait.
    """

    def __init__(self, stages: Sequence[StageModel], text: TextEncoder, vocoder: Vocoder):
        """A cascade of models that the caller already has, in the order in which they run."""
        self.pool = ModelPool({**dict(enumerate(stages)), TEXT: text, VOCODER: vocoder})
        self.stages = tuple(range(len(stages)))  # keys of the stages' models in the pool
        self.defaults = tuple(stage.defaults for stage in stages)
        self.models: CascadeModels | None = None
        self._lock = RLock()
        # A second song that differs only by its seed needs no encoder.
        self._texts, self._conditions = LruCache(REMEMBERED_TEXTS), LruCache(REMEMBERED_CONDITIONS)
        self._references, self._musics = LruCache(1), LruCache(1)
        self._edit_sources, self._edit_references = LruCache(1), LruCache(1)

    @classmethod
    def load(
        cls,
        models: str | Path | CascadeModels | None = None,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        vocoder_dtype: str | torch.dtype | None = None,
        offload: bool = False,
        memory_gb: float | None = None,
        text_cache: bool = True,
        quantise: str | None = None,
        **slots: str | Path | None,
    ) -> "Cascade":
        """The cascade "tiny" (embedded), "published", a folder or a model. Raises CheckpointError, UserError.

        `l`, `m`, `s`, `text`, `vocoder` replace one model. `device` None takes a CUDA GPU where there is one. `dtype`
        is "fp32", "bf16" or "fp16" for stages and text encoder; None keeps the files' own, or takes fp32 where the
        files hold bf16 and the device has no instructions for it, as far as memory allows. The vocoder runs in fp32;
        with `vocoder_dtype` "bf16" it is faster, and its noise lies about 40 to 45 dB below the music. A song
        takes at most the free memory, or `memory_gb`; on a CPU this includes Python and its libraries. `offload` holds
        one model at a time in any case. `text_cache` keeps the text encoder's states on disk for the next run.
        `quantise` "int8" or "fp8" stores the transformers' weights in 8 bits, half the memory of bf16; "fp8-matmul"
        multiplies in 8 bits too, on an NVIDIA GPU that can (needs torchao).
        """
        if memory_gb is not None and not memory_gb > 0:
            raise UserError(f"memory: got {memory_gb:g} GB, expected a positive number such as 8")
        device = pick_device(device)
        check_quantise(quantise, device, pick_dtype(dtype), OF_STAGES)
        named = [slot for slot, model in slots.items() if model]
        if isinstance(models, CascadeModels) and named:
            raise UserError(f"models: got a whole cascade and {', '.join(named)} too; name those to find_cascade")
        found = models if isinstance(models, CascadeModels) else find_cascade(models, **slots)
        _check_guidance(found)
        vocoder_dtype = pick_dtype(vocoder_dtype, "vocoder dtype", VOCODER_DTYPE_NAMES) or torch.float32
        precision = Precision(pick_dtype(dtype), vocoder_dtype, quantise)
        cascade = cls((), None, None)
        cascade.models, cascade.defaults = found, found.defaults
        cascade.stages = tuple(str(model.path) for model in found.stages)
        limit_bytes = free_bytes(device) if memory_gb is None else memory_gb * 1e9 - program_bytes(device)
        first = Plan(PARTS) if offload else PLANS[0]
        cascade.pool = ModelPool.of(found, device, precision, limit_bytes, first, text_cache)
        if memory_gb is not None:
            cascade.pool.check_limit(memory_gb, program_bytes(device))
        return cascade

    @torch.no_grad()
    def generate(
        self,
        song: AnySong,
        *,
        seed: int = 0,
        count: int = 1,
        reference: Clips = (),
        continue_from: Clip | None = None,
        lora: Loras = (),
        **settings,
    ) -> Waveform:
        """`count` songs [count, 2, N] from seeds `seed`, `seed` + 1, ... A SongPlan is made with its audio codes.

        `settings`: steps, boundaries, solver, guidance: see SamplingSettings. `reference`: clips whose timbre it takes.
        `continue_from`: a clip that the song begins with. `lora`: adapters of the stages, such as
        "warm.safetensors:0.8", or "L=warm.safetensors" for one stage. Raises UserError before anything is made.
        """
        with self._lock:
            song = settled(song)
            self.plan(**settings)  # settings that cannot be are refused before clips are encoded
            encoded = self.encode_reference(reference, continue_from, song.seconds)
            for step in self.iterate(song, seed=seed, count=count, reference=encoded, lora=lora, **settings):
                latents = step.latents
            return self.decode(latents, song, encoded)

    @torch.no_grad()
    def iterate(
        self,
        song: AnySong,
        *,
        seed: int = 0,
        count: int = 1,
        reference: Clips = (),
        continue_from: Clip | None = None,
        lora: Loras = (),
        **settings,
    ) -> Iterator[Step]:
        """The same, step by step: `step.latents` are what `decode` takes, `step.x0` the estimate of the finished music.

        Stop iterating to cancel.
        """
        song = settled(song)
        stages = self.plan(**settings)
        if not isinstance(count, int) or count < 1:
            raise UserError(f"count: got {count!r}, expected a whole number of at least 1")
        seeds = item_seeds(check_seed(seed, count), count)
        steps = self._steps(song, stages, seeds, reference, continue_from, lora)
        with contextlib.closing(steps):
            while (step := self._next(steps)) is not None:
                yield step

    def _next(self, steps: Iterator[Step]) -> Step | None:
        with self._lock:
            return next(steps, None)

    def _steps(self, song: AnySong, stages: Stages, seeds, reference, continue_from, lora) -> Iterator[Step]:
        adapters = self.stage_adapters(lora, [key for key, _ in stages])
        encoded = self._with_codes(song, self.encode_reference(reference, continue_from), stages)
        source = encoded and encoded.source
        frames = source.frames if isinstance(source, EditSource) else self.latents.frames(song.seconds)
        plans = [plan for _, plan in stages]
        run = SongRun(plans, encoded, seeds, self.latents.channels, frames, self.defaults[0].shift)
        keys = [stages[part.index][0] for part in run.parts]
        passes = run.passes * max(plan.guidance.forward_passes for plan in plans)
        self.pool.settle(song.seconds, passes, [adapter_needs(own) for own in adapters], self._hint_needs(source, keys))
        self.pool.read_ahead(keys[0])
        text = self._text_states(song)
        latents = run.latents()
        for part, key, follower in zip(run.parts, keys, [*keys[1:], VOCODER]):
            self.pool.read_ahead(follower)
            play = partial(self._play, key, run, part, adapters[part.index], latents, (text, encoded))
            for step in self.pool.steps_with_fallback(play):
                yield dataclasses.replace(step, stage=part.index)
            latents = step.latents
            self._check_finite(key, latents, adapters=adapters[part.index])

    def _with_codes(self, song: AnySong, encoded: Reference | None, stages: Stages) -> Reference | None:
        """Encoded clips with the codes of a PlannedSong, which every stage can read."""
        if not isinstance(song, PlannedSong):
            return encoded
        if encoded is not None and encoded.source is not None:
            raise UserError("codes: got a clip to continue too, expected one of them; leave one out")
        for key in dict.fromkeys(key for key, _ in stages):
            self._check_codes(key, song)
        return dataclasses.replace(encoded or Reference(), source=song.source(self.latents))

    def _text_states(self, song: AnySong) -> TextStates:
        prompts = prompts_of(song)

        def encode() -> TextStates:
            states = [self.pool.text_states(*pair) for pair in prompts]
            return states[0] if len(states) == 1 else dataclasses.replace(states[0], other=states[1])

        states = self.pool.with_fallback(partial(self._texts.get, prompts, encode), STAGE_MEANS)
        self._check_finite(TEXT, states.text, states.lyrics)
        return states

    def _check_finite(self, key, *values: torch.Tensor, adapters: StageAdapters = ()) -> None:
        """Raises CheckpointError, with the names of files, where a model gave NaN or infinite values."""
        if all(bool(value.isfinite().all()) for value in values):
            return
        parts = {} if self.models is None else {TEXT: self.models.text.path, VOCODER: self.models.vocoder.path}
        applied = f" with {', '.join(adapter.name for adapter, _ in adapters)}" if adapters else ""
        raise CheckpointError(
            f"{parts.get(key, key)}{applied}: this model gave values that are not finite (NaN or infinite); the "
            "weights are damaged, or too large for its dtype: get the file again, or choose fp32"
        )

    def _play(self, key, run: SongRun, part: StagePart, adapters: StageAdapters, latents, states) -> Iterator[Step]:
        # A generator for each stage: when it ends, nothing here holds the stage's model any longer.
        condition = self._condition(key, latents.shape[-1], *states)
        model = self._adapted(key, adapters)
        plan = part.plan
        runner = Stage(model, times=plan.times, solver=plan.solver, guidance=plan.guidance, dcw=plan.dcw)
        for note in runner.notes():
            logger.warning(note)
        yield from run.play(part, runner, latents, condition, 1 if self.pool.plan.splits else None)

    def _condition(self, key, frames: int, text: TextStates, reference: Reference | None) -> Condition:
        def encode() -> Condition:
            # Hints first: under a small plan their networks are gone when the condition encoder comes.
            hints = self._hints(key, reference and reference.source)
            return encode_condition(self.pool.network(key, "condition_encoder"), text, frames, reference, hints)

        return self._conditions.get((key, text, frames, reference), encode)

    def _adapted(self, key, adapters: StageAdapters) -> StageModel:
        model = self.pool.network(key, "transformer")
        for adapter, strength in adapters:
            model, report = apply_adapter(model, adapter, strength)
            for note in report.lines[1:]:
                logger.warning(note)
        return model

    def plan(self, **settings) -> Stages:
        """(key of its model in the pool, StagePlan) of each stage. A lone model runs all stages that settings name."""
        plans = plan_for_models(self.defaults, SamplingSettings(**settings))
        return list(zip(self.stages * (len(plans) // len(self.stages)), plans, strict=True))

    def stage_adapters(self, lora: Loras, stages: Sequence | None = None) -> list[StageAdapters]:
        """The adapters of each stage, read and compared with its model's shapes. Raises UserError."""
        stages = self.stages if stages is None else stages
        given = _several(lora, Lora | str | Path)
        return stage_adapters(given, [self._layers(key) for key in stages]) if given else [()] * len(stages)

    def _layers(self, key) -> tuple[str, Shapes]:
        """A stage model's name and its layers, which are read from the header of a model on disk."""
        if isinstance(key, str):
            name = self.models.stages[self.stages.index(key)].name
            return name, shapes_of_part(read_checkpoint(key).part("transformer"))
        return self.pool[key].name, layer_shapes(self.pool[key])

    @property
    def latents(self) -> LatentSpec:
        """Channels, frame rate and sample rate of this cascade's latents."""
        return self.pool.latents

    @torch.no_grad()
    def encode_reference(
        self,
        clips: Clips = (),
        continue_from: Clip | None = None,
        seconds: float | None = None,
    ) -> Reference | None:
        """The clips encoded for the models; None without clips. The results for the last files are cached.

        Raises UserError for a clip that cannot be used, or one to continue that is longer than a song of `seconds`.
        """
        with self._lock:
            if isinstance(clips, Reference):
                return self._with_source(clips, continue_from, seconds)
            timbre = _several(clips, Clip)
            given = *timbre, *_several(continue_from, Clip)
            if not given:
                return None
            encode = partial(self._encode_clips, timbre, continue_from, seconds)
            if any(isinstance(clip, Waveform) for clip in given):
                return encode()
            return self._references.get((len(timbre), *(state_of(existing(clip)) for clip in given)), encode)

    def _with_source(self, reference: Reference, continue_from: Clip | None, seconds: float | None) -> Reference:
        if continue_from is None:
            return reference
        if reference.source is not None:
            raise UserError("continue_from: got a clip, and the reference has one already; give one of them")
        return dataclasses.replace(reference, source=self._source(continue_from, seconds))

    def _encode_clips(self, timbre: Sequence[Clip], continue_from: Clip | None, seconds: float | None) -> Reference:
        source = None if continue_from is None else self._source(continue_from, seconds)
        return Reference(timbre=self._timbre(timbre) if timbre else (), source=source)

    def _timbre(self, clips: Sequence[Clip]) -> tuple[torch.Tensor, ...]:
        waves = [_clip(clip) for clip in clips]
        names = [
            f"reference clip {number}{_named(clip)}"
            for number, (clip, wave) in enumerate(zip(clips, waves, strict=True), start=1)
            for _ in range(len(wave))
        ]
        return self.pool.with_fallback(lambda: timbre_reference(self.pool.vocoder, waves, names=names))

    def _source(self, clip: Clip, seconds: float | None) -> ContinuationSource:
        wave, name = _clip(clip), f"the clip to continue{_named(clip)}"
        if seconds is not None:
            check_longer(seconds, wave.seconds, name)
        return self.pool.with_fallback(lambda: continuation(self.pool.vocoder, wave, name=name))

    @torch.no_grad()
    def decode(
        self,
        latents: torch.Tensor,
        song: AnySong | None = None,
        reference: Reference | None = None,
        hear: Callable[[torch.Tensor, int], None] = lambda piece, start: None,
    ) -> Waveform:
        """Latents [B, C, T] -> samples [B, 2, N], as long as the song; peaks at -1 dBFS.

        In a continuation the clip's own samples are put back, so the level is not changed; only peaks above full scale
        are limited. Edits keep the level of their source. `hear` gets pieces of the vocoder's sound, see
        Vocoder.decode; after memory ran out they begin anew.
        """
        with self._lock:
            wave = self.pool.with_fallback(lambda: self.pool.vocoder.decode(latents, hear=hear))
        self._check_finite(VOCODER, wave.samples)
        return finished(wave, song and song.seconds, reference)


def _check_guidance(found: CascadeModels) -> None:
    """Raises CheckpointError, with the file's name, for a default guidance that does not exist."""
    for model, own in zip(found.stages, found.defaults, strict=True):
        try:
            Guidance(own.guidance_kind, own.guidance)
        except UserError as exc:
            raise CheckpointError(f"{model.path}: config.json: {exc}; correct the file") from exc


def finished(wave: Waveform, seconds: float | None = None, reference: Reference | None = None) -> Waveform:
    """The finished song of a vocoder's output: `seconds` long, stereo, at its level, a continued clip inserted.

    Of an edit: put together with the source, at the source's level.
    """
    if reference is not None and reference.source is not None and reference.source.splice is not None:
        return reference.source.splice(wave)
    wave = wave.crop(seconds) if seconds else wave
    continued = reference is not None and isinstance(reference.source, ContinuationSource)
    wave = splice(reference, wave) if continued else wave
    wave = audio.convert(wave, wave.sample_rate_hz, CHANNELS)
    return audio.limit(wave, 0.0) if continued else audio.normalise_peak(wave)


def _several(given, one: type) -> Sequence:
    """One value, a sequence of them, or none, as a sequence."""
    return (given,) if isinstance(given, one) else given or ()


def _clip(clip: Clip) -> Waveform:
    return clip if isinstance(clip, Waveform) else audio.read(clip, READ_SECONDS)


def _named(clip: Clip) -> str:
    return "" if isinstance(clip, Waveform) else f" ({clip})"
