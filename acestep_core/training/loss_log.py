"""The losses of a training as CSV, a line a step: for a curve, or any spreadsheet. A resumed training's has no gap."""

from pathlib import Path

from ..system.files import write_whole

HEAD = "step,loss,learning_rate,held_out"
MEAN_STEPS = 20  # whose mean is told: single steps differ by their flow times more than by what was learnt


class LossLog:
    """The lines of a file, up to the step at which a training goes on; what was told of later steps is forgotten."""

    def __init__(self, file: Path, step: int):
        self.file = file
        if step == 0:
            file.unlink(missing_ok=True)
        elif file.is_file():
            kept = [line for line in file.read_text(encoding="utf-8").splitlines()[1:] if _step(line) <= step]
            write_whole(file, "\n".join((HEAD, *kept, "")).encode())

    def add(self, step: int, loss: float, rate: float, held_out: float | None) -> None:
        """One more line, on its way to the disk at once."""
        is_new = not self.file.is_file()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with open(self.file, "a", encoding="utf-8", newline="\n") as opened:
            opened.write(f"{HEAD}\n" * is_new)
            opened.write(f"{step},{loss!r},{rate!r},{'' if held_out is None else repr(held_out)}\n")

    def read(self) -> list[tuple[int, float, float, float | None]]:
        """(step, loss, learning rate, held-out loss where it was measured) of every step so far."""
        lines = self.file.read_text(encoding="utf-8").splitlines()[1:] if self.file.is_file() else []
        rows = (line.split(",") for line in lines)
        return [(int(step), float(loss), float(rate), float(held) if held else None) for step, loss, rate, held in rows]


def _step(line: str) -> float:
    """Of a line; endless for one that a crash cut short."""
    step, *rest = line.split(",")
    return int(step) if step.isdecimal() and len(rest) == HEAD.count(",") else float("inf")
