"""Songs and trainings on graphics cards, reckoned from the arithmetic of the networks; nothing is measured here.

The shares of a card's rate that the parts reach, and the seconds that a song costs beside its arithmetic, were measured
on an H200 (the guide "Speed"). Smaller cards reach larger shares, as Python keeps them busy more easily.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..checkpoints import geometry
from ..memory.geometry import HALF, Layers
from ..memory.needs import CARD_RESERVE_BYTES, CONDITION_TOKENS, published_needs
from ..memory.plan import ALL, LAYERS
from ..spec import PUBLISHED_LATENTS
from ..training.settings import GRADIENT_CHECKPOINTING, PRESETS

STEP_SHARE, VOCODER_SHARE = 0.5, 0.22  # of the card's rate in 16 bits
COPIED_BYTES_A_SECOND = 4.9e9  # weights, from the system's cache to the card
SONG_SECONDS, CROP_SECONDS = 0.14, 0.2  # of launches, beside the arithmetic: a song, a crop of a training
WINDOW_TOKENS = 2 * 128 + 1
BACKWARD = 1  # forward passes that gradients take, as the base's weights need none
ACCUMULATED = 4  # crops of a training step


@dataclass(frozen=True)
class Card:
    """A graphics card: memory, dense rate in 16 bits, memory bandwidth; by its maker's data sheet."""

    name: str
    gigabytes: int
    tera_flops: float
    gigabytes_a_second: float


CARDS = (
    Card("RTX 4060", 8, 30, 272),
    Card("RTX 3060", 12, 25, 360),
    Card("RTX 4070", 12, 58, 504),
    Card("RTX 4080", 16, 97, 717),
    Card("RTX 3090", 24, 71, 936),
    Card("RTX 4090", 24, 165, 1008),
    Card("RTX 5090", 32, 209, 1792),
    Card("A100 40 GB", 40, 312, 1555),
    Card("L40S", 48, 362, 864),
    Card("A100 80 GB", 80, 312, 2039),
    Card("H100", 80, 989, 3350),
)


@dataclass(frozen=True)
class Estimate:
    """Seconds of a song, and what its memory plan holds at once; None where it fits in no way."""

    seconds: float | None
    holds: str | None


def song(card: Card, families: Sequence[str], steps: Sequence[int], seconds: float) -> Estimate:
    """A song by published models, "2b" or "xl" in each stage, `steps` steps each, and the vocoder."""
    needs = published_needs(families)
    plan = needs.choose((card.gigabytes << 30) - CARD_RESERVE_BYTES, seconds)
    if plan is None:
        return Estimate(None, None)
    models = {family: geometry.TRANSFORMERS[family] for family in families}
    weights = {family: HALF * model.parameters for family, model in models.items()}
    stages = [(count, family) for count, family in zip(steps, families, strict=True)]
    took = SONG_SECONDS + vocoder_flop(seconds) / (VOCODER_SHARE * card.tera_flops * 1e12)
    took += sum(count * _step(card, step_flop(family, seconds), weights[family]) for count, family in stages)
    copied = 0 if plan.holds == ALL else sum(stage.weights for stage in needs.stages)
    if plan.holds == LAYERS:
        copied += sum((count - 1) * weights[family] for count, family in stages)
    return Estimate(took + copied / COPIED_BYTES_A_SECOND, plan.holds)


def training_step(card: Card) -> tuple[float, float]:
    """Seconds of a step of a LoRA of the 2B by the preset for the card, and the seconds of its crops."""
    preset = PRESETS[max(size for size in PRESETS if size <= card.gigabytes)]
    passes = 1 + BACKWARD + preset[GRADIENT_CHECKPOINTING]
    flop = passes * step_flop("2b", preset["crop_seconds"])
    return ACCUMULATED * (CROP_SECONDS + _step(card, flop, 0)), preset["crop_seconds"]


def _step(card: Card, flop: float, weights: float) -> float:
    """Seconds of arithmetic, or of reading the weights where that takes longer."""
    return max(flop / (STEP_SHARE * card.tera_flops * 1e12), weights / (card.gigabytes_a_second * 1e9))


def step_flop(family: str, seconds: float) -> float:
    """FLOPs of a pass of a published transformer over so many seconds: every other layer has a window."""
    network = Layers.of(geometry.TRANSFORMERS[family])
    tokens = -(-PUBLISHED_LATENTS.frames(seconds) // network.patch)
    matrices = 3 * network.hidden * network.inner + 4 * network.hidden * network.queries
    matrices += 2 * network.hidden * network.keys  # the cross-attention's own keys are computed once a song
    seen = (min(tokens, WINDOW_TOKENS) + tokens) / 2 + CONDITION_TOKENS / 4  # an ordinary text is a quarter of the most
    return network.layers * tokens * (2 * matrices + 4 * seen * network.queries)


def vocoder_flop(seconds: float) -> float:
    """FLOPs of decoding so many seconds with the published vocoder."""
    arguments = geometry.VOCODER.arguments
    ratios = arguments["downsampling_ratios"][::-1]
    widths = [arguments["decoder_channels"] * times for times in (1, *arguments["channel_multiples"])][::-1]
    per_frame, samples = 7 * PUBLISHED_LATENTS.channels * widths[0], 1
    for ratio, before, after in zip(ratios, widths, widths[1:]):
        per_frame += samples * 2 * ratio * before * after
        samples *= ratio
        per_frame += 3 * samples * 8 * after**2  # three units of a convolution of 7 and one of 1
    return 2 * PUBLISHED_LATENTS.frames(seconds) * (per_frame + samples * 7 * widths[-1] * 2)
