"""`acestep-cascade bench distill`: what distillation gains over training a small model alone.

One student, one set of clips, one order of crops: distilled (the pruned teacher, trained to match its velocity and
the music's), trained to match one of the two alone, and from random weights to match the music's for as much time as
distilling takes. All are measured on clips of the band that neither they nor the teacher were trained on, at their flow
times.
"""

import shutil
import time
from itertools import islice
from pathlib import Path

from ..console import Console

TEACHER, SECONDS = "tiny-m", 10.0
TRAINED_SEEDS, MEASURED_SEEDS = 3_000_000, 3_600_000  # and those that follow
CLIPS, MEASURED, STEPS = 96, 16, 120
# The best learning rate for each beginning in so few steps, chosen on other clips than those measured on.
LEARNING_RATES, WARM_UP = {"teacher": 2e-3, "nothing": 6e-3}, 20
TIMES = 4  # of each clip


def measure(work: Path, clips: int, measured: int, steps: int, console: Console) -> dict[str, tuple]:
    """Name of a student -> its steps, their CPU seconds, and two losses: squared distances of its velocity to the
    teacher's and to the music's.
    """
    from ..band.folder import write_clips
    from ..checkpoints.load import load_stage_model, load_text_encoder, load_vocoder
    from ..flow.stage_plan import stage_times
    from ..training.dataset import read_dataset
    from ..training.prepare import Preparation, prepare_examples
    from ..training.settings import LAST_SLOT

    teacher, vocoder = load_stage_model(TEACHER), load_vocoder("tiny-vocoder")
    preparation = Preparation(teacher, load_text_encoder("tiny-text"), vocoder, work / "cache", SECONDS)
    sets = []
    for name, first, count in (("learnt", TRAINED_SEEDS, clips), ("judged", MEASURED_SEEDS, measured)):
        for _ in write_clips(work / name, range(first, first + count), SECONDS):
            pass
        sets.append(prepare_examples(preparation, read_dataset(work / name), None, lambda number: None)[0])
        console.note(f"{count} clips prepared in {name}")
    times = stage_times(teacher.defaults, LAST_SLOT, steps=1)
    bench = _Bench(teacher, vocoder.latents, *sets, work, times[0], times[-1], console)
    rows = {"pruned, untrained": (untrained := bench.row("teacher", "teacher", 0))}
    rows["distilled: pruned, by teacher and music"] = distilled = bench.row("teacher", "both", steps)
    rows["pruned, by the teacher"] = bench.row("teacher", "teacher", steps)
    rows["pruned, by the music"] = plain = bench.row("teacher", "music", steps)
    as_long = max(1, round(steps * distilled[1] / max(plain[1] - untrained[1], 1e-3)))
    rows["from random weights, for as much time as distilling"] = bench.row("nothing", "music", as_long)
    rows[f"the teacher, {TEACHER}"] = (0, 0.0, *bench.losses(teacher.transformer))
    return rows


class _Bench:
    def __init__(self, teacher, latents, train_set, measured, work: Path, start: float, end: float, console: Console):
        self.teacher, self.latents, self.train_set, self.measured = teacher, latents, train_set, measured
        self.work, self.start, self.end, self.console = work, start, end, console

    def row(self, begin: str, match: str, steps: int) -> tuple[int, float, float, float]:
        from ..training.distillation import Distiller
        from ..training.settings import DistillSettings, Intervals

        settings = DistillSettings(
            steps=max(1, steps),
            learning_rate=LEARNING_RATES[begin],
            warm_up=WARM_UP,
            crop_seconds=SECONDS,
            hold_out=0.0,
            start=self.start,
            end=self.end,
            begin=begin,
            match=match,
        )
        began = time.process_time()
        work = self.work / f"{begin}-{match}-{steps}"
        shutil.rmtree(work, ignore_errors=True)  # of an earlier run: a finished training would be timed as 0 s
        student = Distiller(self.teacher, self.train_set, self.latents, work, settings, intervals=Intervals(0, 0))
        for _ in islice(student.run(), steps):
            pass
        seconds = time.process_time() - began
        figures = self.losses(student.network.eval())
        self.console.note(f"begin {begin}, match {match}, {steps} steps: {seconds:.0f} s, {figures}")
        return steps, seconds, *figures

    def losses(self, network) -> tuple[float, float]:
        """Mean squared distance of the velocity to the teacher's, and to noise - music."""
        import torch

        from ..models.velocity import prepare
        from ..training.objective import flow_times
        from ..training.rng import seed_of

        times = flow_times(self.teacher.defaults, self.start, self.end).spread(TIMES)
        losses = []
        for number, example in enumerate(self.measured):
            music = example.latents
            with torch.no_grad():
                condition = example.condition(self.teacher, music.shape[-1])
                student, teacher = (prepare(net, condition) for net in (network, self.teacher.transformer))
                for index, t in enumerate(times):
                    rng = torch.Generator().manual_seed(seed_of("judged", number, index))
                    noise = torch.randn(music.shape, generator=rng)
                    x_t = t * noise + (1 - t) * music
                    made, wanted = student(x_t, t), teacher(x_t, t)
                    losses.append([float((made - goal).square().mean()) for goal in (wanted, noise - music)])
        to_teacher, to_music = zip(*losses, strict=True)
        return sum(to_teacher) / len(losses), sum(to_music) / len(losses)
