"""Where one stage should hand over to the next: where the curves of their losses against the flow time cross.

A curve is measured with the weights that are shipped, on the same held-out songs for every stage, and kept in
`<slot>.losses.json` of the work folder.
"""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from ..flow.schedule import times as schedule_times
from ..json_text import read_json_object
from ..system.files import write_whole
from . import assignments
from .songs import Crop

BINS = 16
SONGS, SECONDS = 12, 30.0
SEED = 5
STEPS_IN_ALL = 20


def curve_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.losses.json"


def bins() -> list[float]:
    """The flow times at which losses are measured: the middles of equal parts."""
    return [(i + 0.5) / BINS for i in range(BINS)]


@torch.no_grad()
def measure(trainer) -> list[float]:
    """The loss of a slot's shipped weights at each flow time of `bins`, text to music, on held-out songs."""
    from .flow import flow_errors

    batch = trainer.packer(_items(trainer)).to(trainer.device)
    noise = torch.randn(batch.music.shape, generator=torch.Generator().manual_seed(SEED)).to(trainer.device)
    losses = []
    for t in bins():
        at = torch.full((len(batch.tokens),), t, device=trainer.device)
        errors, *_ = flow_errors(trainer.average, trainer.words, batch, at, noise)
        losses.append(float((errors * batch.counts).sum() / batch.counts.sum()))
    return losses


def _items(trainer) -> list[assignments.Assignment]:
    """The beginnings of held-out songs."""
    rng = np.random.default_rng(SEED)
    made = []
    for entry in trainer.library.held_out[:SONGS]:
        seconds = min(SECONDS, entry.facts.seconds)
        made.append(assignments.text_to_music(rng, entry, Crop(entry.facts, 0.0, seconds)))
    return made


def log_losses(trainer, folder: Path) -> list[float]:
    """Measures a curve and adds it to those of earlier steps."""
    path = curve_path(folder, trainer.slot.name)
    known = read_json_object(path)["curves"] if path.exists() else []
    losses = measure(trainer)
    curves = [*(one for one in known if one["step"] < trainer.step), {"step": trainer.step, "losses": losses}]
    write_whole(path, json.dumps({"times": bins(), "curves": curves}).encode())
    return losses


def known_curves(folder: Path, names) -> list[list[float]] | None:
    """The latest curve of each slot; None where one is missing."""
    paths = [curve_path(folder, name) for name in names]
    if not all(path.exists() for path in paths):
        return None
    return [read_json_object(path)["curves"][-1]["losses"] for path in paths]


def propose(curves: list[list[float]], steps: int, shift: float) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Boundaries, from noise to music, with the least loss of all ways to divide the flow times among the stages, each
    of which has a part; and the steps of each stage: as many as a run of one model would have there.

    curves: of each stage, losses at the times of `bins`, in the order in which the stages play.
    """
    count = len(curves[0])
    cuts = min(combinations(range(1, count), len(curves) - 1), key=lambda cuts: _loss(curves, cuts[::-1]))[::-1]
    boundaries = tuple(cut / count for cut in cuts)
    starts = schedule_times(steps, shift)[:-1]
    edges = (1.0001, *boundaries, 0.0)
    return boundaries, tuple(max(1, sum(low <= t < high for t in starts)) for high, low in zip(edges, edges[1:]))


def gain(curves: list[list[float]], boundaries: tuple[float, ...]) -> float:
    """How much lower the mean loss of the cascade is than that of its first stage alone, as a share of it."""
    cuts = tuple(round(boundary * len(curves[0])) for boundary in boundaries)
    return 1 - _loss(curves, cuts) / sum(curves[0])


def _loss(curves, cuts: tuple[int, ...]) -> float:
    edges = (len(curves[0]), *cuts, 0)
    return sum(sum(curve[low:high]) for curve, high, low in zip(curves, edges, edges[1:]))
