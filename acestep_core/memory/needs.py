"""The memory that a cascade needs, computed from headers and configs before loading, and the plan that fits."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..checkpoints import geometry
from ..checkpoints.cascade_models import DEFAULT_CASCADE, CascadeModels, find_cascade
from ..checkpoints.checkpoint import Checkpoint, Part, read_checkpoint
from ..checkpoints.layouts import AUDIO_TOKEN_PARTS
from ..spec import CHANNELS, LYRIC_TOKENS_MAX, MIN_SECONDS, PUBLISHED_LATENTS, TEXT_TOKENS_MAX, LatentSpec
from .geometry import FULL, HALF, Layers, Sounds
from .plan import ALL, DESCRIPTIONS, LAYERS, NETWORKS, PLANS, Plan

LONG_SECONDS = 240.0  # length of the song for which tables show the memory
CARDS_GB = (6, 8, 12, 16, 24)
# What a graphics card loses to its driver, a desktop, and gaps between the blocks of an allocator.
CARD_RESERVE_BYTES = 900 << 20
CONDITION_TOKENS = TEXT_TOKENS_MAX + LYRIC_TOKENS_MAX + 1  # at most
WAVEFORM_COPIES = 4  # in main memory: as decoded, at its level, encoded, and with tags


@dataclass(frozen=True)
class AdapterNeeds:
    """Memory of the adapters on a stage: their parameters, and the copies of a layer's output that they make."""

    parameters: int = 0
    copies: int = 0


@dataclass(frozen=True)
class StageNeeds:
    """Memory of the two networks of a stage's model, at `each` bytes a number. `key` identifies the model. `quantised`:
    the transformer's weights take one byte a number.
    """

    key: str
    transformer: Layers
    encoder: Layers
    each: int
    quantised: bool = False
    adapters: AdapterNeeds = AdapterNeeds()

    @property
    def weights(self) -> int:
        """Bytes of both networks."""
        return self.transformer_each * self.transformer.parameters + self.each * self.encoder.parameters

    @property
    def transformer_each(self) -> int:
        """Bytes of one of the transformer's weights."""
        return 1 if self.quantised else self.each

    @property
    def encoding_bytes(self) -> int:
        """Bytes of activations while the condition is encoded."""
        # The lyric encoder attends through dense masks, and on some devices writes its scores out in float32.
        scores = 2 * FULL * CONDITION_TOKENS**2 * self.encoder.heads
        return self.encoder.one_pass(CONDITION_TOKENS, self.each) + scores

    def step_bytes(self, frames: int, passes: int) -> int:
        """Bytes of activations in a step of `passes` passes at once, those of adapters included."""
        network, each = self.transformer, self.each
        cross = 2 * network.layers * network.keys * CONDITION_TOKENS * each  # keys and values of the cross-attention
        tokens = -(-passes * frames // network.patch)
        branches = self.adapters.copies * each * tokens * max(network.inner, network.queries, network.hidden)
        return cross + network.one_pass(tokens, each) + branches

    def works(self, holds: str, frames: int, passes: int) -> Iterator[tuple[int, int]]:
        """(bytes of weights, bytes beside them) while the condition is encoded, and in a step of `passes` passes."""
        network, each = self.transformer, self.each
        apart = holds in (NETWORKS, LAYERS)
        yield (each * self.encoder.parameters if apart else self.weights), self.encoding_bytes
        step = self.step_bytes(frames, passes) + each * self.adapters.parameters
        if holds == LAYERS:
            yield self.transformer_each * (network.outside_layers + 2 * network.largest_layer), step
        else:
            yield (self.transformer_each * network.parameters if apart else self.weights), step


@dataclass(frozen=True)
class Needs:
    """Memory of a cascade's networks. `text_each`: bytes of one of the text encoder's weights."""

    stages: tuple[StageNeeds, ...]
    text: Layers
    text_each: int
    vocoder: Sounds
    latents: LatentSpec = PUBLISHED_LATENTS
    waveform_copies: int = 0  # of the finished song, held beside the vocoder
    hints: tuple[Layers, ...] = ()  # networks with which stages make hints of a source, in fp32, one after the other

    def peak(self, plan: Plan, seconds: float, passes: int = 1) -> int:
        """Bytes of weights and work at the fullest moment of a song. `passes`: forward passes of a step at once."""
        works = list(self._works(plan, seconds, passes))
        if plan.holds != ALL:
            return max(held + beside for held, beside in works)
        models = {stage.key: stage.weights for stage in self.stages}
        return sum(models.values()) + self._text_weights + self._vocoder_weights + max(beside for _, beside in works)

    def _works(self, plan: Plan, seconds: float, passes: int) -> Iterator[tuple[int, int]]:
        """(bytes of weights, bytes of activations) of each part of a song's work."""
        frames = self.latents.frames(seconds)
        yield self._text_weights, self.text.one_pass(TEXT_TOKENS_MAX, self.text_each)
        for stage in self.stages:
            yield from stage.works(plan.holds, frames, 1 if plan.splits else passes)
        for network in self.hints:
            yield 0, FULL * network.parameters + network.one_pass(frames, FULL)
        waveform = self.latents.samples(frames) * CHANNELS * FULL * self.waveform_copies
        yield self._vocoder_weights, self.vocoder.one_tile(frames, plan.small_tiles) + waveform

    @property
    def _text_weights(self) -> int:
        return self.text.parameters * self.text_each

    @property
    def _vocoder_weights(self) -> int:
        return self.vocoder.parameters * self.vocoder.each

    def choose(self, limit_bytes: float, seconds: float, passes: int = 1, first: Plan = PLANS[0]) -> Plan | None:
        """The fastest plan from `first` on that fits; None if none does."""
        plans = PLANS[PLANS.index(first) :]
        return next((plan for plan in plans if self.peak(plan, seconds, passes) <= limit_bytes), None)

    def least_bytes(self) -> int:
        """Bytes of weights that any plan holds at its fullest moment; with less no song is made."""
        return max(held for held, _ in self._works(PLANS[-1], MIN_SECONDS, 1))

    def with_adapters(self, adapters: Sequence[AdapterNeeds]) -> "Needs":
        """The same needs with the adapters of each stage. One model may run all stages; its key counts once."""
        stages = self.stages * (len(adapters) if len(self.stages) == 1 else 1)
        pairs = zip(stages, adapters, strict=True)
        return dataclasses.replace(self, stages=tuple(dataclasses.replace(stage, adapters=own) for stage, own in pairs))

    def sizes(self, seconds: float = LONG_SECONDS) -> dict[str, int]:
        """Plan.holds -> bytes at the fullest moment of a song."""
        return {holds: self.peak(Plan(holds), seconds) for holds in DESCRIPTIONS}

    def on_cards(self, seconds: float = LONG_SECONDS) -> dict[int, str | None]:
        """Size of a graphics card in GB -> Plan.holds of a song there, None where no plan fits."""
        plans = {card: self.choose((card << 30) - CARD_RESERVE_BYTES, seconds) for card in CARDS_GB}
        return {card: plan and plan.holds for card, plan in plans.items()}


# Family -> a model of it.
PUBLISHED_FAMILIES = MappingProxyType({"2b": "acestep-v15-turbo", "xl": "acestep-v15-xl-turbo"})


def published_needs(families: Sequence[str], each: int = HALF) -> Needs:
    """Needs of a cascade of published models, "2b" or "xl" in each stage; no file is read."""
    encoder = Layers.of(geometry.CONDITION_ENCODER)
    stages = [StageNeeds(family, Layers.of(geometry.TRANSFORMERS[family]), encoder, each) for family in families]
    return _with_published(stages)


def _with_published(stages: Sequence[StageNeeds]) -> Needs:
    """Needs of these stages with the published text encoder and vocoder."""
    return Needs(tuple(stages), Layers.of(geometry.TEXT_ENCODER), HALF, Sounds.of(geometry.VOCODER))


def overview() -> dict[str, Needs]:
    """Name -> needs of each named cascade, and of one model of each family alone."""
    lone = {lone_name(family): published_needs((family,)) for family in PUBLISHED_FAMILIES}
    return {DEFAULT_CASCADE: cascade_needs(find_cascade()), "published": published_needs(("xl", "2b", "2b"))} | lone


def lone_name(family: str) -> str:
    return f"any {family.upper()} model alone"


def cascade_needs(
    found: CascadeModels,
    each: int | None = None,
    on_cpu: bool = False,
    quantised: bool = False,
    vocoder_each: int = FULL,
) -> Needs:
    """Needs of a cascade on this machine, at `each` bytes a number; None takes the files' own."""
    stages = [stage_needs(read_checkpoint(model.path), each, on_cpu) for model in found.stages]
    stages = [dataclasses.replace(stage, quantised=quantised) for stage in stages]
    text = read_checkpoint(found.text.path).part("text_encoder")
    vocoder = read_checkpoint(found.vocoder.path).part("vae")
    hop = math.prod(vocoder.arguments["downsampling_ratios"])
    latents = LatentSpec(vocoder.arguments["decoder_input_channels"], hop, vocoder.arguments["sampling_rate"])
    return Needs(
        tuple(stages),
        Layers.of(text),
        each or _stored(text, on_cpu),
        Sounds.of(vocoder, vocoder_each),
        latents,
        WAVEFORM_COPIES if on_cpu else 0,
    )


def lone_needs(checkpoint: Checkpoint, each: int | None = None, quantised: bool = False) -> Needs:
    """Needs of one stage's model on this machine, with the published text encoder and vocoder."""
    stage = dataclasses.replace(stage_needs(checkpoint, each), quantised=quantised)
    return _with_published([stage])


def stage_needs(checkpoint: Checkpoint, each: int | None = None, on_cpu: bool = False) -> StageNeeds:
    """Needs of one stage's model on this machine."""
    transformer, encoder = checkpoint.part("transformer"), checkpoint.part("condition_encoder")
    each = each or _stored(transformer, on_cpu)
    return StageNeeds(str(checkpoint.path), Layers.of(transformer), Layers.of(encoder), each)


def hint_needs(checkpoint: Checkpoint) -> Layers:
    """Needs of the networks with which a stage makes hints of a source: both are held at once."""
    tokenizer, detokenizer = (checkpoint.part(name) for name in AUDIO_TOKEN_PARTS)
    return dataclasses.replace(Layers.of(tokenizer), parameters=tokenizer.parameters + detokenizer.parameters)


def _stored(part: Part, on_cpu: bool) -> int:
    dtypes = {info.dtype for info in part.tensors.values()}
    return FULL if "F32" in dtypes or (on_cpu and "F16" in dtypes) else HALF
