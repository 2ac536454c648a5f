"""What a cascade needs of memory, told by headers and configs before anything is loaded, and the plans that need less.

A plan says what is held at once and how much is worked on at once. PLANS goes from the fastest to the most sparing; all
of them make the same song.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoints.cascade_models import DEFAULT_CASCADE, CascadeModels, find_cascade
from ..checkpoints.checkpoint import Checkpoint, Part, read_checkpoint
from ..nn.tiling import decoder_context, pass_bytes, tile_frames, widest
from ..spec import LYRIC_TOKENS_MAX, PUBLISHED_LATENTS, TEXT_TOKENS_MAX, LatentSpec

if TYPE_CHECKING:
    import torch

LONG_SECONDS = 240.0  # the song that needs are told for
CARDS_GB = (6, 8, 12, 16, 24)
# Of a graphics card: its driver's share, a desktop, and what lies between the blocks of an allocator.
CARD_RESERVE_BYTES = 900 << 20
FREE_SHARE = 0.9  # of what is free; the rest is lost between the blocks of an allocator
FULL, HALF = 4, 2  # bytes of a float32, and of a bfloat16 or float16

# What is held in memory, from all to least.
ALL, PARTS, NETWORKS, LAYERS = "all", "parts", "networks", "layers"
TOLD = {
    ALL: "all models stay in memory",
    PARTS: "one model in memory at a time",
    NETWORKS: "one network in memory at a time",
    LAYERS: "one network at a time, its layers fetched one by one for each step",
}


@dataclass(frozen=True)
class Plan:
    """How a song is made in the memory there is."""

    holds: str = ALL  # ALL, PARTS, NETWORKS or LAYERS
    splits: bool = False  # what looks there are in a step, of each song and without its words, come one by one
    small_tiles: bool = False  # of the vocoder

    def __str__(self) -> str:
        more = [", one look at one song at a time"] * self.splits + [", small tiles in the vocoder"] * self.small_tiles
        return TOLD[self.holds] + "".join(more)


STAGE_MEANS, VOCODER_MEANS = ("holds", "splits"), ("holds", "small_tiles")  # what of a plan spares which work memory

# Splitting a batch and tiling cost little; fetching weights anew costs more.
PLANS = tuple(
    Plan(holds, splits, small)
    for holds, (splits, small) in product((ALL, PARTS, NETWORKS, LAYERS), ((False, False), (True, False), (True, True)))
)


@dataclass(frozen=True)
class Layers:
    """A network of transformer layers: widths of its stream, its feed-forward layers, queries and keys."""

    parameters: int
    hidden: int
    inner: int
    queries: int
    keys: int
    heads: int
    layers: int
    patch: int = 1  # latent frames in one token

    @staticmethod
    def of(part: Part) -> "Layers":
        return Layers.by(part.parameters, part.arguments)

    @staticmethod
    def by(parameters: int, arguments: Mapping) -> "Layers":
        head = arguments["head_dim"]
        return Layers(
            parameters,
            arguments["hidden_size"],
            arguments["intermediate_size"],
            arguments["num_attention_heads"] * head,
            arguments["num_key_value_heads"] * head,
            arguments["num_attention_heads"],
            arguments.get("num_hidden_layers") or arguments.get("num_lyric_encoder_hidden_layers"),
            arguments.get("patch_size", 1),
        )

    def one_pass(self, tokens: int, each: int) -> int:
        """Bytes beside the weights at the widest moment of a pass, at `each` bytes a number. Positions are turned in
        float32.
        """
        feed_forward = each * (3 * self.inner + 6 * self.hidden)
        attention = each * (5 * self.hidden + 2 * self.queries + 4 * self.keys) + FULL * 4 * self.queries
        return tokens * max(feed_forward, attention)

    @property
    def largest_layer(self) -> int:
        """Parameters of its largest matrix."""
        return self.hidden * max(self.inner, self.queries)

    @property
    def outside_layers(self) -> int:
        """Parameters of what stays where layers come one by one, at most: embeddings of the time, patches."""
        matrices = self.layers * self.hidden * (3 * self.inner + 4 * self.queries + 4 * self.keys)
        return max(self.parameters - matrices, 0)


@dataclass(frozen=True)
class Sounds:
    """A vocoder at `each` bytes a number: the widest layer's numbers for each sample, and frames beside a tile."""

    parameters: int
    numbers_per_sample: float
    samples_per_frame: int
    context_frames: int
    each: int = FULL

    @staticmethod
    def of(part: Part, each: int = FULL) -> "Sounds":
        return Sounds.by(part.parameters, part.arguments, each)

    @staticmethod
    def by(parameters: int, arguments: Mapping, each: int = FULL) -> "Sounds":
        ratios = arguments["downsampling_ratios"]
        numbers = widest(ratios, arguments["decoder_channels"], arguments["channel_multiples"])
        context = decoder_context(ratios)
        return Sounds(parameters, numbers, math.prod(ratios), context.before + context.after, each)

    def one_tile(self, frames: int, small: bool) -> int:
        """Bytes beside the weights while a tile of so long a song is decoded."""
        span = min(frames, tile_frames(self.samples_per_frame, self.each, small) + self.context_frames)
        return pass_bytes(self.numbers_per_sample * self.samples_per_frame * span, self.each)


@dataclass(frozen=True)
class StageNeeds:
    """The two networks of a stage's model, at `each` bytes a number; `key` tells one model from another. `quantised`:
    the transformer's weights have one byte a number.
    """

    key: str
    transformer: Layers
    encoder: Layers
    each: int
    quantised: bool = False

    @property
    def weights(self) -> int:
        """Bytes of both networks."""
        return self.transformer_each * self.transformer.parameters + self.each * self.encoder.parameters

    @property
    def transformer_each(self) -> int:
        """Bytes of a number of the transformer's weights."""
        return 1 if self.quantised else self.each

    def works(self, holds: str, frames: int, looks: int) -> Iterator[tuple[int, int]]:
        """(weights held, bytes beside them) while its condition is encoded, and in a step of so many looks at once."""
        tokens = TEXT_TOKENS_MAX + LYRIC_TOKENS_MAX + 1
        # The lyric encoder looks through dense masks, and on some devices writes its scores out in float32.
        scores = 2 * FULL * tokens**2 * self.encoder.heads
        encoding = self.encoder.one_pass(tokens, self.each) + scores
        network, each = self.transformer, self.each
        seen = 2 * network.layers * network.keys * tokens * each  # keys and values of the cross-attention
        step = seen + network.one_pass(-(-looks * frames // network.patch), each)
        apart = holds in (NETWORKS, LAYERS)
        yield (each * self.encoder.parameters if apart else self.weights), encoding
        if holds == LAYERS:
            yield self.transformer_each * (network.outside_layers + 2 * network.largest_layer), step
        else:
            yield (self.transformer_each * network.parameters if apart else self.weights), step


@dataclass(frozen=True)
class Needs:
    """What a cascade's networks take. `text_each`: bytes of a number of the text encoder."""

    stages: tuple[StageNeeds, ...]
    text: Layers
    text_each: int
    vocoder: Sounds
    latents: LatentSpec = PUBLISHED_LATENTS

    def peak(self, plan: Plan, seconds: float, looks: int = 1) -> int:
        """Bytes of weights and passes at the fullest moment of a song. `looks`: of a step, one or two for each song."""
        works = list(self._works(plan, seconds, looks))
        if plan.holds != ALL:
            return max(held + beside for held, beside in works)
        models = {stage.key: stage.weights for stage in self.stages}
        return sum(models.values()) + self._text_weights + self._vocoder_weights + max(beside for _, beside in works)

    def _works(self, plan: Plan, seconds: float, looks: int) -> Iterator[tuple[int, int]]:
        """(weights held, bytes beside them) of each thing that is done."""
        frames = self.latents.frames(seconds)
        yield self._text_weights, self.text.one_pass(TEXT_TOKENS_MAX, self.text_each)
        for stage in self.stages:
            yield from stage.works(plan.holds, frames, 1 if plan.splits else looks)
        yield self._vocoder_weights, self.vocoder.one_tile(frames, plan.small_tiles)

    @property
    def _text_weights(self) -> int:
        return self.text.parameters * self.text_each

    @property
    def _vocoder_weights(self) -> int:
        return self.vocoder.parameters * self.vocoder.each

    def choose(self, limit_bytes: float, seconds: float, looks: int = 1, first: Plan = PLANS[0]) -> Plan | None:
        """The fastest plan from `first` on that fits; None if none does."""
        plans = PLANS[PLANS.index(first) :]
        return next((plan for plan in plans if self.peak(plan, seconds, looks) <= limit_bytes), None)

    def sizes(self, seconds: float = LONG_SECONDS) -> dict[str, int]:
        """What is held -> bytes at the fullest moment of a song."""
        return {holds: self.peak(Plan(holds), seconds) for holds in TOLD}

    def on_cards(self, seconds: float = LONG_SECONDS) -> dict[int, str | None]:
        """Size of a graphics card in GB -> what a song's plan holds there, None where it does not fit."""
        plans = {card: self.choose((card << 30) - CARD_RESERVE_BYTES, seconds) for card in CARDS_GB}
        return {card: plan and plan.holds for card, plan in plans.items()}


def smaller(plan: Plan, means: Sequence[str], looks: int = 1) -> Plan | None:
    """The next plan that spares memory by one of these means, for a step of so many looks; None if there is none."""
    means = [name for name in means if name != "splits" or looks > 1]
    plans = PLANS[PLANS.index(plan) + 1 :]
    return next((other for other in plans if any(getattr(other, name) != getattr(plan, name) for name in means)), None)


# ---- needs of models, here or not ------------------------------------------------------------------------------------

PUBLISHED_TRANSFORMERS = {
    "2b": Layers(1_575_458_880, 2048, 6144, 2048, 1024, 16, 24, 2),
    "xl": Layers(4_168_897_088, 2560, 9728, 4096, 1024, 32, 32, 2),
}
PUBLISHED_ENCODER = Layers(608_369_664, 2048, 6144, 2048, 1024, 16, 8)
PUBLISHED_TEXT = Layers(595_776_512, 1024, 3072, 2048, 1024, 16, 28)
PUBLISHED_VOCODER = Sounds(168_695_426, 128, 1920, 18)


def published_needs(families: Sequence[str], each: int = HALF) -> Needs:
    """Of a cascade of published models, "2b" or "xl" in each stage, none of which need be here."""
    stages = [StageNeeds(family, PUBLISHED_TRANSFORMERS[family], PUBLISHED_ENCODER, each) for family in families]
    return Needs(tuple(stages), PUBLISHED_TEXT, HALF, PUBLISHED_VOCODER)


def overview() -> dict[str, Needs]:
    """Name -> needs of each cascade that has one, and of a lone model of each family."""
    lone = {f"any {family.upper()} model alone": published_needs((family,)) for family in PUBLISHED_TRANSFORMERS}
    return {DEFAULT_CASCADE: cascade_needs(find_cascade()), "published": published_needs(("xl", "2b", "2b"))} | lone


def cascade_needs(
    found: CascadeModels,
    each: int | None = None,
    on_cpu: bool = False,
    quantised: bool = False,
    vocoder_each: int = FULL,
) -> Needs:
    """Of a cascade whose models are here, at `each` bytes a number, None for what the files hold."""
    stages = [stage_needs(read_checkpoint(model.path), each, on_cpu) for model in found.stages]
    stages = [dataclasses.replace(stage, quantised=quantised) for stage in stages]
    text = read_checkpoint(found.text.path).part("text_encoder")
    vocoder = read_checkpoint(found.vocoder.path).part("vae")
    hop = math.prod(vocoder.arguments["downsampling_ratios"])
    latents = LatentSpec(vocoder.arguments["decoder_input_channels"], hop, vocoder.arguments["sampling_rate"])
    return Needs(
        tuple(stages), Layers.of(text), each or _stored(text, on_cpu), Sounds.of(vocoder, vocoder_each), latents
    )


def lone_needs(checkpoint: Checkpoint, each: int | None = None, quantised: bool = False) -> Needs:
    """Of one stage's model that is here, with the published text encoder and vocoder."""
    stage = dataclasses.replace(stage_needs(checkpoint, each), quantised=quantised)
    return Needs((stage,), PUBLISHED_TEXT, HALF, PUBLISHED_VOCODER)


def stage_needs(checkpoint: Checkpoint, each: int | None = None, on_cpu: bool = False) -> StageNeeds:
    """Of one stage's model that is here."""
    transformer, encoder = checkpoint.part("transformer"), checkpoint.part("condition_encoder")
    each = each or _stored(transformer, on_cpu)
    return StageNeeds(str(checkpoint.path), Layers.of(transformer), Layers.of(encoder), each)


def _stored(part: Part, on_cpu: bool) -> int:
    dtypes = {info.dtype for info in part.tensors.values()}
    return FULL if "F32" in dtypes or (on_cpu and "F16" in dtypes) else HALF


# ---- what there is ---------------------------------------------------------------------------------------------------


def free_bytes(device: "torch.device") -> float:
    """What may be taken of a device's memory, as far as it tells; infinite where it does not."""
    import torch

    if device.type == "cuda":
        return FREE_SHARE * torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return FREE_SHARE * (torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return free_main_memory()


def free_main_memory() -> float:
    """Bytes that this machine, or the container around this process, could still give."""
    import psutil

    return min([psutil.virtual_memory().available, *_left_in_container()])


def _left_in_container(folder: Path = Path("/sys/fs/cgroup")) -> list[int]:
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        return []
    cached = int(stat.get("active_file", 0)) + int(stat.get("inactive_file", 0))  # given up when it is needed
    return [int(limit) - int(used) + cached] if limit.isdigit() else []
