"""The story: a Song becomes a Waveform.

    text encoder   Song -> TextStates
    vocoder        clips -> Reference (only where there are clips)
    each stage     TextStates + Reference -> Condition; latents [B, C, T] at its first time -> at its last
    vocoder        latents -> samples [B, 2, N]

Latents go through in float32. Item i of a batch is made from seed + i and equals the song made from that seed alone.
"""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .. import audio
from ..audio.clips import READ_SECONDS
from ..audio.waveform import Waveform
from ..checkpoints.cascade_models import CascadeModels, find_cascade
from ..checkpoints.checkpoint import read_checkpoint
from ..checkpoints.locate import state_of
from ..errors import UserError
from ..flow.stage_plan import SamplingSettings, StagePlan, plan
from ..flow.stages import Stage, Step, item_seeds, noise, run
from ..lora.apply import apply_adapter, layer_shapes
from ..lora.bases import Shapes, shapes_of_part
from ..lora.find import Lora
from ..lora.stage_adapters import StageAdapters, stage_adapters
from ..memory.free import free_bytes
from ..memory.lru import LruCache
from ..memory.model_pool import TEXT, VOCODER, ModelPool, Precision
from ..memory.plan import PARTS, PLANS, STAGE_MEANS, Plan
from ..models.condition import Condition, encode_condition
from ..models.kept import Kept
from ..models.reference import ContinuationSource, Reference, check_longer, continuation, splice, timbre_reference
from ..models.stage_model import StageModel
from ..models.text_encoder import TextEncoder
from ..models.vocoder import Vocoder
from ..nn.dtypes import pick_device, pick_dtype
from ..nn.quantise import check_quantise
from ..prompt import lyrics_prompt, text_prompt
from ..song import Song, check_seed
from ..spec import CHANNELS, VOCODER_DTYPE_NAMES, LatentSpec
from ..system.files import existing

logger = logging.getLogger(__name__)

Clip = Waveform | str | Path
Clips = Reference | Sequence[Clip] | Clip | None
Loras = Sequence[Lora | str | Path] | Lora | str | Path
REMEMBERED_TEXTS, REMEMBERED_CONDITIONS = 4, 12


class Cascade:
    """Models of a cascade, ready to make songs. `Cascade.load` finds and loads them by name or path."""

    def __init__(self, stages: Sequence[StageModel], text: TextEncoder, vocoder: Vocoder):
        """A cascade of parts that the caller already has, in the order in which they play."""
        self.pool = ModelPool({**dict(enumerate(stages)), TEXT: text, VOCODER: vocoder})
        self.stages = tuple(range(len(stages)))  # where each stage's model lies on the shelf
        self.defaults = tuple(stage.defaults for stage in stages)
        self.models: CascadeModels | None = None
        # Two songs that differ by their seeds alone need no encoder for the second.
        self._texts, self._conditions = LruCache(REMEMBERED_TEXTS), LruCache(REMEMBERED_CONDITIONS)
        self._heard = LruCache(1)

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

        `l`, `m`, `s`, `text`, `vocoder` replace one part. `device` None takes a CUDA GPU where there is one. `dtype` is
        "fp32", "bf16" or "fp16" for stages and text encoder; None is what the files hold, or fp32 where they hold bf16
        and the device has no instructions for it, as far as memory allows. The vocoder is in fp32; at
        `vocoder_dtype` "bf16" it is faster, its noise about 40 to 45 dB below the music. A song is made in what memory
        is free, or in `memory_gb` of it; `offload` holds only the part at work in any case. `text_cache` keeps what the
        text encoder made on disk, for the next run. `quantise` "int8" or "fp8" halves the transformers' weights once
        more (needs torchao).
        """
        if memory_gb is not None and not memory_gb > 0:
            raise UserError(f"memory: got {memory_gb:g} GB, expected a positive number such as 8")
        check_quantise(quantise)
        named = [slot for slot, model in slots.items() if model]
        if isinstance(models, CascadeModels) and named:
            raise UserError(f"models: got a whole cascade and {', '.join(named)} too; name those to find_cascade")
        found = models if isinstance(models, CascadeModels) else find_cascade(models, **slots)
        device = pick_device(device)
        vocoder_dtype = pick_dtype(vocoder_dtype, "vocoder dtype", VOCODER_DTYPE_NAMES) or torch.float32
        form = Precision(pick_dtype(dtype), vocoder_dtype, quantise)
        cascade = cls((), None, None)
        cascade.models, cascade.defaults = found, found.defaults
        cascade.stages = tuple(str(model.path) for model in found.stages)
        limit_bytes = free_bytes(device) if memory_gb is None else memory_gb * 1e9
        first = Plan(PARTS) if offload else PLANS[0]
        cascade.pool = ModelPool.of(found, device, form, limit_bytes, first, text_cache)
        return cascade

    @torch.no_grad()
    def generate(
        self,
        song: Song,
        *,
        seed: int = 0,
        count: int = 1,
        reference: Clips = (),
        continue_from: Clip | None = None,
        lora: Loras = (),
        **settings,
    ) -> Waveform:
        """`count` songs [count, 2, N] from seeds `seed`, `seed` + 1, ...

        `settings`: steps, boundaries, solver, guidance: see SamplingSettings. `reference`: clips whose timbre it takes.
        `continue_from`: a clip that the song begins with. `lora`: adapters that the stages wear, such as
        "warm.safetensors:0.8", or "L=warm.safetensors" for one stage. Raises UserError before anything is made.
        """
        self.plan(**settings)  # what cannot be is told before clips are encoded
        heard = self.hear(reference, continue_from, song.seconds)
        for step in self.iterate(song, seed=seed, count=count, reference=heard, lora=lora, **settings):
            latents = step.latents
        return self.decode(latents, song, heard)

    @torch.no_grad()
    def iterate(
        self,
        song: Song,
        *,
        seed: int = 0,
        count: int = 1,
        reference: Clips = (),
        continue_from: Clip | None = None,
        lora: Loras = (),
        **settings,
    ) -> Iterator[Step]:
        """The same, step by step: `step.latents` are what `decode` takes, `step.x0` their finished music as it stands.

        Stop iterating to cancel.
        """
        stages = self.plan(**settings)
        if not isinstance(count, int) or count < 1:
            raise UserError(f"count: got {count!r}, expected a whole number of at least 1")
        seeds = item_seeds(check_seed(seed, count), count)
        worn = self.stage_adapters(lora, [where for where, _ in stages])
        heard = self.hear(reference, continue_from)
        frames = self.latents.frames(song.seconds)
        kept = _kept(heard, frames, [stage.steps for _, stage in stages])
        self.pool.settle(song.seconds, count * max(stage.guidance.forward_passes for _, stage in stages))
        self.pool.read_ahead(stages[0][0])
        prompts = text_prompt(song), lyrics_prompt(song)
        text = self.pool.with_fallback(
            lambda: self._texts.get(prompts, lambda: self.pool.text_states(song)), STAGE_MEANS
        )
        latents = noise(seeds, self.latents.channels, frames)
        for index, (where, stage) in enumerate(stages):
            self.pool.read_ahead(stages[index + 1][0] if index + 1 < len(stages) else VOCODER)
            play = partial(self._play, where, stage, worn[index], latents, seeds, text, heard, kept[index])
            for step in self.pool.steps_with_fallback(play):
                yield dataclasses.replace(step, stage=index)
            latents = step.latents

    def _play(
        self, where, stage: StagePlan, outfit: StageAdapters, latents, seeds, text, heard, kept
    ) -> Iterator[Step]:
        # A run of its own: when it ends, nothing here holds its model any longer.
        frames = latents.shape[-1]

        def encode() -> Condition:
            return encode_condition(self.pool.network(where, "condition_encoder"), text, frames, heard)

        condition = self._conditions.get((where, text, frames, heard), encode)
        model = self.pool.network(where, "transformer")
        for adapter, strength in outfit:
            model, report = apply_adapter(model, adapter, strength)
            for note in report.lines[1:]:
                logger.warning(note)
        run_through = Stage(model, times=stage.times, solver=stage.solver, guidance=stage.guidance)
        for note in run_through.notes():
            logger.warning(note)
        at_once = 1 if self.pool.plan.splits else None
        yield from run([run_through], latents, [condition], seeds, kept=kept, at_once=at_once)

    def plan(self, **settings) -> list[tuple[Any, StagePlan]]:
        """Where each stage's model lies, and what it does. A lone model plays as many stages as the settings say."""
        wish = SamplingSettings(**settings)
        repeat = wish.stages if len(self.stages) == 1 else 1
        return list(zip(self.stages * repeat, plan(self.defaults * repeat, wish), strict=True))

    def stage_adapters(self, lora: Loras, stages: Sequence | None = None) -> list[StageAdapters]:
        """The adapters of each stage, read and held against its model's shapes. Raises UserError."""
        stages = self.stages if stages is None else stages
        asked = _several(lora, Lora | str | Path)
        return stage_adapters(asked, [self._layers(where) for where in stages]) if asked else [()] * len(stages)

    def _layers(self, where) -> tuple[str, Shapes]:
        """A stage model's name and its layers; of one that lies on disk the headers tell them."""
        if isinstance(where, str):
            name = self.models.stages[self.stages.index(where)].name
            return name, shapes_of_part(read_checkpoint(where).part("transformer"))
        return self.pool[where].name, layer_shapes(self.pool[where])

    @property
    def latents(self) -> LatentSpec:
        """How this cascade's latents lie in time."""
        return self.pool.latents

    @torch.no_grad()
    def hear(
        self,
        clips: Clips = (),
        continue_from: Clip | None = None,
        seconds: float | None = None,
    ) -> Reference | None:
        """Clips as the models hear them; None where there are none. Those files that were heard last are remembered.

        Raises UserError for a clip that cannot be used, or that a song of so many `seconds` is too short to go on from.
        """
        if isinstance(clips, Reference):
            if continue_from is None:
                return clips
            if clips.source is not None:
                raise UserError("continue_from: got a clip, and the reference has one already; give one of them")
            return dataclasses.replace(clips, source=self._source(continue_from, seconds))
        timbre = _several(clips, Clip)
        given = *timbre, *_several(continue_from, Clip)

        def encode() -> Reference:
            source = None if continue_from is None else self._source(continue_from, seconds)
            return Reference(timbre=self._timbre(timbre) if timbre else (), source=source)

        if not given:
            return None
        if any(isinstance(clip, Waveform) for clip in given):
            return encode()
        return self._heard.get((len(timbre), *(state_of(existing(clip)) for clip in given)), encode)

    def _timbre(self, clips: Sequence[Clip]) -> tuple[torch.Tensor, ...]:
        waves = [_clip(clip) for clip in clips]
        names = [
            f"reference clip {number}{_named(clip)}"
            for number, (clip, wave) in enumerate(zip(clips, waves, strict=True), start=1)
            for _ in range(len(wave))
        ]
        return self.pool.with_fallback(lambda: timbre_reference(self.pool.vocoder, waves, names=names))

    def _source(self, clip: Clip, seconds: float | None) -> ContinuationSource:
        wave = _clip(clip)
        if seconds is not None:
            check_longer(seconds, wave.seconds)
        name = f"the clip to continue{_named(clip)}"
        return self.pool.with_fallback(lambda: continuation(self.pool.vocoder, wave, name=name))

    @torch.no_grad()
    def decode(self, latents: torch.Tensor, song: Song | None = None, reference: Reference | None = None) -> Waveform:
        """Latents [B, C, T] -> samples [B, 2, N], as long as the song; peaks at -1 dBFS.

        A continued clip is put back as it was, so there the level stays and only what would clip is held.
        """
        wave = self.pool.with_fallback(lambda: self.pool.vocoder.decode(latents))
        return finished(wave, song and song.seconds, reference)


def finished(wave: Waveform, seconds: float | None = None, reference: Reference | None = None) -> Waveform:
    """What a vocoder made as the song that was asked for: so long, in stereo, a continued clip as it was, and level."""
    wave = wave.crop(seconds) if seconds else wave
    continued = reference is not None and reference.source is not None
    wave = splice(reference, wave) if continued else wave
    wave = audio.convert(wave, wave.sample_rate_hz, CHANNELS)
    return audio.limit(wave, 0.0) if continued else audio.normalise_peak(wave)


def _kept(heard: Reference | None, frames: int, steps: Sequence[int]) -> list[Kept | None]:
    """What each stage keeps of a clip to continue; the steps of the whole run that set it right are its first ones."""
    if heard is None or heard.source is None:
        return [None] * len(steps)
    kept = heard.source.kept(frames)
    left, each = round(kept.injection_ratio * sum(steps)), []
    for count in steps:
        held = min(left, count)
        each.append(dataclasses.replace(kept, injection_ratio=held / count))
        left -= held
    return each


def _several(given, one: type) -> Sequence:
    """What may be given alone, in a sequence or not at all, as a sequence."""
    return (given,) if isinstance(given, one) else given or ()


def _clip(clip: Clip) -> Waveform:
    return clip if isinstance(clip, Waveform) else audio.read(clip, READ_SECONDS)


def _named(clip: Clip) -> str:
    return "" if isinstance(clip, Waveform) else f" ({clip})"
