"""Memory plans: which models are held at once, and how much is worked on at once. All plans make the same song."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

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
    splits: bool = False  # batch items, and the conditional and unconditional pass, run one at a time
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


def smaller(plan: Plan, means: Sequence[str], passes: int = 1) -> Plan | None:
    """The next plan that spares memory by one of these means, for a step of so many passes; None if there is none."""
    means = [name for name in means if name != "splits" or passes > 1]
    plans = PLANS[PLANS.index(plan) + 1 :]
    return next((other for other in plans if any(getattr(other, name) != getattr(plan, name) for name in means)), None)
