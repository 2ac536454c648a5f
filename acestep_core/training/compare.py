"""`acestep-cascade bench distill`: what a student of the embedded family owes to its teacher.

One student, one set of clips, one order of crops: distilled (a cut of the teacher, taught by its velocity and by the
music), by one of the two alone, and from nothing by the music for as much time as distilling takes. All are judged on
clips of the band that neither they nor the teacher ever learnt from, within their stretch of flow time.
"""

import argparse
import json
import shutil
import time
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from ..console import Console
from ..errors import UserError

TEACHER, SECONDS = "tiny-m", 10.0
LEARNT_SEEDS, JUDGED_SEEDS = 3_000_000, 3_600_000  # and those that follow
CLIPS, JUDGED, STEPS = 96, 16, 120
# Those that took each beginning furthest in so few steps, on clips other than those judged.
LEARNING_RATES, WARM_UP = {"teacher": 2e-3, "nothing": 6e-3}, 20
TIMES = 4  # of each clip judged


def add_arguments(parser: argparse.ArgumentParser):
    parser.description = f"Distill a small student of {TEACHER} and hold it against ones that learnt without a teacher."
    parser.add_argument("--work", metavar="FOLDER", help="for clips and students, which stay; clips are played once")
    parser.add_argument("--clips", type=int, default=CLIPS, metavar="N", help=f"to learn from (default {CLIPS})")
    parser.add_argument("--judged", type=int, default=JUDGED, metavar="N", help=f"clips to judge on (default {JUDGED})")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N", help=f"of each student (default {STEPS})")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def run(arguments: argparse.Namespace, console: Console):
    for name in ("clips", "judged", "steps"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name}: got {getattr(arguments, name)}, expected at least 1")
    with TemporaryDirectory() as temporary:
        work = Path(arguments.work or temporary).expanduser()
        rows = judge(work, arguments.clips, arguments.judged, arguments.steps, console)
    if arguments.json:
        console.result(json.dumps(rows))
        return
    console.result("| student | steps | CPU s | to the teacher | to the music |\n|---|---:|---:|---:|---:|")
    for name, (steps, seconds, to_teacher, to_music) in rows.items():
        console.result(f"| {name} | {steps} | {seconds:.0f} | {to_teacher:.4f} | {to_music:.4f} |")


def judge(work: Path, clips: int, judged: int, steps: int, console: Console) -> dict[str, tuple]:
    """Name of a student -> its steps, the CPU seconds they took, and its two losses: squared distance of its velocity
    to the teacher's and to that of the music.
    """
    from ..checkpoints import load_stage_model, load_text_encoder, load_vocoder
    from ..plan import stretch
    from .band.folder import write_clips
    from .common import gather
    from .dataset import read_dataset
    from .distill import LAST_SLOT
    from .prepare import Preparation

    teacher, vocoder = load_stage_model(TEACHER), load_vocoder("tiny-vocoder")
    preparation = Preparation(teacher, load_text_encoder("tiny-text"), vocoder, work / "cache", SECONDS)
    sets = []
    for name, first, count in (("learnt", LEARNT_SEEDS, clips), ("judged", JUDGED_SEEDS, judged)):
        for _ in write_clips(work / name, range(first, first + count), SECONDS):
            pass
        sets.append(gather(preparation, read_dataset(work / name), None, lambda number: None)[0])
        console.note(f"{count} clips to be {name} are prepared")
    times = stretch(teacher.defaults, LAST_SLOT, steps=1)
    bench = _Bench(teacher, vocoder.latents, *sets, work, times[0], times[-1], console)
    rows = {"cut, never taught": (untaught := bench.row("teacher", "teacher", 0))}
    rows["distilled: cut, by teacher and music"] = distilled = bench.row("teacher", "both", steps)
    rows["cut, by the teacher"] = bench.row("teacher", "teacher", steps)
    rows["cut, by the music"] = plain = bench.row("teacher", "music", steps)
    as_long = max(1, round(steps * distilled[1] / max(plain[1] - untaught[1], 1e-3)))
    rows["from nothing, for as much time as distilling"] = bench.row("nothing", "music", as_long)
    rows[f"the teacher, {TEACHER}"] = (0, 0.0, *bench.judge(teacher.transformer))
    return rows


class _Bench:
    def __init__(self, teacher, latents, learnt, judged, work: Path, start: float, end: float, console: Console):
        self.teacher, self.latents, self.learnt, self.judged = teacher, latents, learnt, judged
        self.work, self.start, self.end, self.console = work, start, end, console

    def row(self, begin: str, match: str, steps: int) -> tuple[int, float, float, float]:
        from .settings import DistillSettings, Rhythm
        from .student import Distiller

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
        shutil.rmtree(work, ignore_errors=True)  # of an earlier run, which would take no time
        student = Distiller(self.teacher, self.learnt, self.latents, work, settings, rhythm=Rhythm(0, 0))
        for _ in islice(student.run(), steps):
            pass
        seconds = time.process_time() - began
        figures = self.judge(student.network.eval())
        self.console.note(f"begun from {begin}, taught by {match}, {steps} steps: {seconds:.0f} s, {figures}")
        return steps, seconds, *figures

    def judge(self, network) -> tuple[float, float]:
        """Mean squared distance of the velocity to the teacher's, and to noise - music."""
        import torch

        from ..transformer import prepare
        from .draws import seed_of
        from .objective import flow_times

        times = flow_times(self.teacher.defaults, self.start, self.end).spread(TIMES)
        losses = []
        for number, piece in enumerate(self.judged):
            music = piece.latents
            with torch.no_grad():
                condition = piece.condition(self.teacher, music.shape[-1])
                student, teacher = (prepare(net, condition) for net in (network, self.teacher.transformer))
                for index, t in enumerate(times):
                    draw = torch.Generator().manual_seed(seed_of("judged", number, index))
                    noise = torch.randn(music.shape, generator=draw)
                    x_t = t * noise + (1 - t) * music
                    made, wanted = student(x_t, t), teacher(x_t, t)
                    losses.append([float((made - goal).square().mean()) for goal in (wanted, noise - music)])
        to_teacher, to_music = zip(*losses, strict=True)
        return sum(to_teacher) / len(losses), sum(to_music) / len(losses)
