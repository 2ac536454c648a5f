"""The loss log of a training: a CSV with one line a step. A resumed training's log has no gap."""

import logging
from pathlib import Path

from ..system.files import write_whole

logger = logging.getLogger(__name__)

HEAD = "step,loss,learning_rate,held_out"
MEAN_STEPS = 20  # of the running mean: losses of single steps differ mostly by their flow times
LARGEST_LOSS = 1e30  # a training ends before its loss is larger

Row = tuple[int, float, float, float | None]  # step, loss, learning rate, held-out loss where it was measured


class LossLog:
    """The log in a file, cut back to the step at which the training is resumed, or begun anew at step 0."""

    def __init__(self, file: Path, step: int):
        self.file = file
        if step == 0:
            file.unlink(missing_ok=True)
        elif file.is_file():
            rows, unreadable = _rows(_text(file))
            if unreadable:
                logger.warning("%s: %d lines cannot be read and were removed", file, unreadable)
            write_whole(file, "\n".join((HEAD, *(_line(*row) for row in rows if row[0] <= step), "")).encode())

    def add(self, step: int, loss: float, rate: float, held_out: float | None) -> None:
        """Appends a line, which is on its way to the disk when this returns."""
        is_new = not self.file.is_file()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with open(self.file, "a", encoding="utf-8", newline="\n") as opened:
            opened.write(f"{HEAD}\n" * is_new)
            opened.write(f"{_line(step, loss, rate, held_out)}\n")

    def read(self) -> list[Row]:
        """The rows of all steps so far."""
        return read_losses(self.file)


def read_losses(file: Path) -> list[Row]:
    """The rows of a log; none where there is no such file."""
    return _rows(_text(file))[0] if file.is_file() else []


def _text(file: Path) -> str:
    return file.read_bytes().decode(errors="replace")


def _line(step: int, loss: float, rate: float, held_out: float | None) -> str:
    return f"{step},{loss!r},{rate!r},{'' if held_out is None else repr(held_out)}"


def _rows(text: str) -> tuple[list[Row], int]:
    """The rows of a file and the number of lines that are none, as the last one after a crash."""
    lines = text.splitlines()[1:]
    rows: list[Row] = []
    for line in lines:
        row = _row(line)
        if row is not None and (not rows or row[0] > rows[-1][0]):
            rows.append(row)
    return rows, len(lines) - len(rows)


def _row(line: str) -> Row | None:
    try:
        step, loss, rate, held_out = line.split(",")
        row = int(step), float(loss), float(rate), float(held_out) if held_out else None
    except ValueError:
        return None
    return row if row[0] > 0 and all(abs(number) < LARGEST_LOSS for number in row[1:3]) else None
