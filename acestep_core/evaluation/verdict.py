"""Is the cascade worth its stages? Songs of the same captions by it, and by each of its models alone with as many
operations, at its own number of steps and at half of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..flow.stages import noise
from ..generation.cascade import TEXT, VOCODER, Cascade
from ..models.condition import encode_condition
from ..models.velocity import prepare
from .song_figures import above_the_band, frechet, key_right, tempo_right
from .truths import Truth, make, mean, waveform

MEASURED_TIMES = 4  # of each stage, the middles of its quarters
CASCADE = "L→M→S"
COSTS = {"its own steps": 1.0, "half of the steps": 0.5}
NEARER = ": log-mel (dB)"  # how the names of the verdict's figures end
DRAWS, INTERVAL = 2_000, (5, 95)  # of the bootstrap, percentiles


@dataclass(frozen=True)
class Trial:
    """Songs by one way to play: for each caption the log-mel distance above the band's, tempo and key right or not."""

    name: str
    distance: float
    apart: np.ndarray
    tempo: np.ndarray
    key: np.ndarray

    def figures(self, about: str) -> dict:
        return {
            f"{about}, {self.name}: log-mel above the band (dB)": mean(self.apart),
            f"{about}, {self.name}: tempo": mean(self.tempo),
            f"{about}, {self.name}: key": mean(self.key),
            f"{about}, {self.name}: distance to real": self.distance,
        }


def verdict(cascade: Cascade, truths: list[Truth], settings: dict, console) -> dict:
    """Figures of every trial, and 90 % intervals of what the cascade has before the nearest model alone."""
    figures: dict = {}
    for about, share in COSTS.items():
        steps = tuple(max(1, round(share * stage.steps)) for _, stage in cascade.plan(**settings))
        rest = {name: value for name, value in settings.items() if name != "steps"}
        ours = trial(f"{CASCADE} ({_plus(steps)} steps)", truths, _maker(cascade, steps=steps, **rest))
        console.note(f"{about}: the cascade measured")
        alone = list(_alone(cascade, truths, steps, {"guidance": rest.get("guidance")}, console))
        for one in (ours, *alone):
            figures |= one.figures(about)
        figures |= advantage(about, ours, min(alone, key=lambda one: one.apart.mean()))
    return figures


def _plus(steps: Sequence[int]) -> str:
    return "+".join(map(str, steps))


def _maker(cascade: Cascade, **settings) -> Callable[[Truth, int], torch.Tensor]:
    return lambda asked, seed: make(cascade, asked, seed, **settings)


def _alone(cascade: Cascade, truths: list[Truth], steps: tuple[int, ...], rest: dict, console):
    costs = [cost(cascade.pool[where]) for where in cascade.stages]
    budget = sum(cost * count for cost, count in zip(costs, steps))
    for letter, where, each in zip("LMS", cascade.stages, costs):
        alone = Cascade([cascade.pool[where]], cascade.pool[TEXT], cascade.pool[VOCODER])
        count = max(1, round(budget / each))
        yield trial(f"{letter} alone ({count} steps)", truths, _maker(alone, steps=(count,), **rest))
        console.note(f"{letter} alone measured")


def cost(model) -> float:
    """Operations of one step, in parameters times tokens a frame."""
    return sum(p.numel() for p in model.transformer.layers.parameters()) / model.transformer.config.patch_size


def trial(name: str, truths: list[Truth], play: Callable[[Truth, int], torch.Tensor]) -> Trial:
    waves = [play(asked, number) for number, asked in enumerate(truths)]
    pairs = list(zip(truths, waves))
    return Trial(
        name,
        frechet([asked.wave for asked in truths], waves),
        np.array([above_the_band(*pair) for pair in pairs]),
        np.array([tempo_right(*pair) for pair in pairs if "drums" in pair[0].named], float),
        np.array([key_right(*pair) for pair in pairs], float),
    )


def advantage(about: str, ours: Trial, other: Trial) -> dict:
    """Mean differences over the captions with the 90 % interval of a bootstrap, as text."""
    name = f"{about}, cascade less {other.name}"
    return {
        f"{name}{NEARER}": _interval(ours.apart - other.apart),
        f"{name}: tempo": _interval(ours.tempo - other.tempo),
        f"{name}: key": _interval(ours.key - other.key),
    }


def interval(differences: np.ndarray) -> tuple[float, float]:
    """The 90 % interval of the mean, by drawing from the differences again and again."""
    rng = np.random.default_rng(0)
    means = differences[rng.integers(len(differences), size=(DRAWS, len(differences)))].mean(1)
    low, high = np.percentile(means, INTERVAL)
    return float(low), float(high)


def _interval(differences: np.ndarray) -> str:
    if not len(differences):
        return "nan"
    low, high = interval(differences)
    return f"{differences.mean():.3g} ({low:.3g} to {high:.3g})"


# ---- losses ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def losses(cascade: Cascade, truths: list[Truth], count: int = 12) -> dict:
    """Flow-matching loss of every stage model at the times of every stage, on held-out clips."""
    vocoder, text = cascade.pool[VOCODER], cascade.pool[TEXT]
    stretches = [(stage.times[0], stage.times[-1]) for _, stage in cascade.plan()]
    middles = (np.arange(MEASURED_TIMES) + 0.5) / MEASURED_TIMES
    figures = {}
    for letter, where in zip("LMS", cascade.stages):
        model, sums = cascade.pool[where], {stretch: [] for stretch in stretches}
        for number, asked in enumerate(truths[:count]):
            music = vocoder.encode(waveform(asked.wave))
            velocity = prepare(model.transformer, encode_condition(model, text.encode(asked.song), music.shape[-1]))
            start = noise([number], *music.shape[1:])
            for high, low in stretches:
                for t in (low + (high - low) * middles).tolist():
                    made = velocity(t * start + (1 - t) * music, t)
                    sums[high, low].append((made - (start - music)).square().mean().item())
        figures |= {
            f"flow-matching loss: {letter}, t from {high:.3g} to {low:.3g}": mean(found)
            for (high, low), found in sums.items()
        }
    return figures
