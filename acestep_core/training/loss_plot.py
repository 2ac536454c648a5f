"""The loss plot of a training: as numbers, for pages that draw it, and as a picture. Steps run to the right."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..audio.spectrogram import GRID, INK, PAPER
from .loss_log import LARGEST_LOSS, MEAN_STEPS, Row

if TYPE_CHECKING:
    from PIL import Image

POINTS_MOST = 240
LOSS, MEAN, HELD_OUT = (70, 84, 120), (79, 141, 245), (240, 160, 30)


@dataclass(frozen=True)
class LossPlot:
    """`points`: (step, loss, mean of the last MEAN_STEPS losses), at most POINTS_MOST; `held_out`: (step, loss)."""

    points: tuple[tuple[int, float, float], ...]
    held_out: tuple[tuple[int, float], ...]

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value of the axis: of means and held-out losses, with a margin."""
        values = [mean for _, _, mean in self.points] + [loss for _, loss in self.held_out]
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        margin = 0.15 * (high - low) or 0.1 * high or 1.0
        return max(0.0, low - margin), high + margin


def loss_plot_of(rows: Sequence[Row]) -> LossPlot:
    """The plot of a log's rows."""
    points, total = [], 0.0
    for index, (step, loss, _, _) in enumerate(rows):
        total += loss - (rows[index - MEAN_STEPS][1] if index >= MEAN_STEPS else 0.0)
        points.append((step, loss, total / min(index + 1, MEAN_STEPS)))
    every = -(-len(points) // POINTS_MOST) or 1
    kept = points[::-1][::every][::-1]  # the last one always
    held_out = [(step, value) for step, _, _, value in rows if value is not None and abs(value) < LARGEST_LOSS]
    return LossPlot(tuple(kept), tuple(held_out))


def picture(plot: LossPlot, steps: int, width: int = 1024, height: int = 512) -> "Image.Image":
    """The plot over all `steps` of a training, those to come included."""
    from PIL import Image, ImageDraw, ImageFont

    drawn = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(drawn)
    draw.font = ImageFont.load_default(size=max(9, height // 24))
    letter = draw.font.size
    left, right, top, bottom = 4 * letter, width - letter, 2 * letter, height - 2 * letter
    low, high = plot.ends

    def place(step: float, loss: float) -> tuple[float, float]:
        up = (min(max(loss, low), high) - low) / (high - low)
        return left + (right - left) * step / max(1, steps), bottom - (bottom - top) * up

    for number in range(5):
        loss = low + (high - low) * number / 4
        y = place(0, loss)[1]
        draw.line((left, y, right, y), fill=GRID)
        draw.text((left - letter / 2, y), f"{loss:.3g}", fill=INK, anchor="rm")
    for step in range(0, steps + 1, _round_step(steps)):
        draw.text((place(step, low)[0], bottom + letter / 2), str(step), fill=INK, anchor="mt")
    for index, colour, thick in ((1, LOSS, 1), (2, MEAN, 3)):
        draw.line([place(point[0], point[index]) for point in plot.points], fill=colour, width=thick, joint="curve")
    for step, loss in plot.held_out:
        x, y = place(step, loss)
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=HELD_OUT)
    draw.text((left, letter / 2), f"loss, mean of {MEAN_STEPS} steps", fill=MEAN, anchor="lt")
    draw.text((right, letter / 2), "on clips held out", fill=HELD_OUT, anchor="rt")
    return drawn


def _round_step(steps: int) -> int:
    """The round number of steps between labels, at most eight of them."""
    rough = max(1, steps / 8)
    power = 10 ** math.floor(math.log10(rough))
    return next(int(power * factor) for factor in (1, 2, 5, 10) if power * factor >= rough)
