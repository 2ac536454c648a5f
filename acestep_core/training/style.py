"""`acestep-cascade bench lora`: how far an adapter of the embedded cascade moves it towards a style it never heard.

The band plays clips of a genre that pretraining leaves out; `acestep-cascade train lora` learns from them as it would
from a user's. Songs of the style's captions are then held against the band's own clips, without and with the adapter,
and so are songs of other styles, which should stay as they were. None of these captions or seeds was learnt from.
"""

import argparse
import json
from itertools import chain, count, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from ..console import Clock, Console
from ..errors import UserError

GENRE, SECONDS = "chiptune", 12.0
LEARNT_SEEDS, FURTHER_SEEDS = 2_000_000, 2_500_000  # before the judged ones, and far beyond them
CLIPS, SONGS = 60, 24
STRENGTH, PRESERVE = 1.0, 0.25
MODEL = "tiny-l"
# The embedded models are small, so their adapters take larger steps than those of the published ones.
TRAINING = (
    *("--steps", "600", "--rank", "16", "--targets", "self,cross,mlp"),
    *("--learning-rate", "1e-3", "--crop", f"{SECONDS:g}"),
)


def add_arguments(parser: argparse.ArgumentParser):
    parser.description = f"Train an adapter of {MODEL} on clips of a style that it never heard, and measure both."
    parser.add_argument("--work", metavar="FOLDER", help="for clips and adapter, kept; goes on with what is there")
    parser.add_argument("--clips", type=int, default=CLIPS, metavar="N", help=f"to learn from (default {CLIPS})")
    parser.add_argument("--songs", type=int, default=SONGS, metavar="N", help=f"of each kind (default {SONGS})")
    parser.add_argument(
        "--strength", type=float, default=STRENGTH, metavar="S", help=f"at which it is worn (default {STRENGTH:g})"
    )
    parser.add_argument(
        "--preserve", type=float, default=PRESERVE, metavar="P", help=f"as in train lora (default {PRESERVE:g})"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def run(arguments: argparse.Namespace, console: Console):
    for name in ("clips", "songs"):
        if getattr(arguments, name) < 2:
            raise UserError(f"--{name}: got {getattr(arguments, name)}, expected at least 2")
    with TemporaryDirectory() as temporary:
        work = Path(arguments.work or temporary).expanduser()
        figures = judge(work, arguments.clips, arguments.songs, arguments.strength, arguments.preserve, console)
    if arguments.json:
        console.result(json.dumps(figures))
        return
    for name, value in figures.items():
        console.result(f"{name:<64} {value:.4g}")


def judge(work: Path, clips: int, songs: int, strength: float, preserve: float, console: Console) -> dict[str, float]:
    """All figures; the adapter stays in `work`."""
    from .band.folder import write_clips
    from .likeness import measure

    for _ in write_clips(work / "clips", learnt_seeds(clips), SECONDS, GENRE):
        pass
    console.note(f"{clips} clips of {GENRE} played")
    adapter = work / f"{GENRE}.safetensors"
    begun = adapter.with_name(f"{adapter.name}.training").exists()
    clock = Clock()
    _train(work / "clips", adapter, preserve, console)
    # Of a training that was gone on with, this run's share tells nothing.
    taken = {} if begun else {"minutes of training, clips prepared and all": clock.seconds / 60}
    figures = {"clips of the style": clips} | taken
    figures |= {"strength": strength, "share of the crops from songs of its own": preserve}
    return figures | measure(adapter, strength, songs, SECONDS, GENRE, console)


def learnt_seeds(clips: int) -> list[int]:
    """As many as there are clips to learn from; none of them is judged."""
    from .likeness import STYLE_SEEDS

    return [*islice(chain(range(LEARNT_SEEDS, STYLE_SEEDS), count(FURTHER_SEEDS)), clips)]


def _train(folder: Path, adapter: Path, preserve: float, console: Console):
    from ..cli import build_parser

    words = ["train", "lora", str(folder), "--model", MODEL, "--output", str(adapter), *TRAINING]
    words += ["--preserve", f"{preserve:g}"]
    arguments = build_parser(words).parse_args(words)
    arguments.run(arguments, _Notes(console.quiet))


class _Notes(Console):
    """For a command within another, whose result is none of the outer one's."""

    def result(self, line: str):
        self.note(line)
