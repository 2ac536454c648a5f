"""Memory plans: which models are held at once, and how much is worked on at once. All plans make the same song."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

# What a plan holds in memory at once, from all models to single layers.
ALL, PARTS, NETWORKS, LAYERS = "all", "parts", "networks", "layers"
DESCRIPTIONS = {
    ALL: "all models stay in memory",
    PARTS: "one model in memory at a time",
    NETWORKS: "one network in memory at a time",
    LAYERS: "one network at a time, its layers fetched one by one for each step",
}


@dataclass(frozen=True)
class Plan:
    """What is held in memory at once, and how much work runs at once, while a song is made."""

    holds: str = ALL  # ALL, PARTS, NETWORKS or LAYERS
    splits: bool = False  # batch items, and the conditional and unconditional pass, run one at a time
    small_tiles: bool = False  # of the vocoder

    def __str__(self) -> str:
        more = [", one forward pass of one song at a time"] * self.splits + [
            ", small tiles in the vocoder"
        ] * self.small_tiles
        return DESCRIPTIONS[self.holds] + "".join(more)


# Which Plan fields help when a stage, or the vocoder, runs out of memory.
STAGE_MEANS, VOCODER_MEANS = ("holds", "splits"), ("holds", "small_tiles")

# Splitting a batch and tiling cost little; fetching weights anew costs more.
PLANS = tuple(
    Plan(holds, splits, small)
    for holds, (splits, small) in product((ALL, PARTS, NETWORKS, LAYERS), ((False, False), (True, False), (True, True)))
)


def smaller(plan: Plan, means: Sequence[str], passes: int = 1) -> Plan | None:
    """The next plan that takes less memory in one of these fields, for a step of `passes` passes; or None."""
    means = [name for name in means if name != "splits" or passes > 1]
    plans = PLANS[PLANS.index(plan) + 1 :]
    return next((other for other in plans if any(getattr(other, name) != getattr(plan, name) for name in means)), None)
