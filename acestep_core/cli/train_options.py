"""Options and checks that `train lora` and `train distill` share. No torch: `--help` must answer at once."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..spec import TRAINING_DTYPE_NAMES
from ..system.folders import user_path
from ..training.folders import folders
from ..training.progress import check_steps
from ..training.settings import OPTIMISERS, Intervals, TrainingSettings

if TYPE_CHECKING:
    from ..training.dataset import Dataset


def add_course(group: "argparse._ArgumentGroup", default: TrainingSettings):
    """The options of every training; None where one is not given."""
    group.add_argument("--steps", type=int, metavar="N", help=f"default {default.steps}")
    group.add_argument(
        "--learning-rate", type=float, metavar="R", help=f"highest learning rate; default {default.learning_rate:g}"
    )
    group.add_argument(
        "--warm-up", type=int, metavar="N", help=f"steps in which the learning rate rises; default {default.warm_up}"
    )
    group.add_argument("--accumulate", type=int, metavar="N", help=f"crops in a step; default {default.accumulate}")
    group.add_argument(
        "--crop",
        dest="crop_seconds",
        type=float,
        metavar="S",
        help=f"the longest part of a clip in a step, in whole bars; default {default.crop_seconds:g} s",
    )
    group.add_argument(
        "--optimiser",
        choices=OPTIMISERS,
        help="adamw (default); adamw8bit needs a quarter of its memory, and bitsandbytes",
    )
    group.add_argument("--clip", type=float, metavar="N", help=f"the gradient's largest norm; default {default.clip:g}")
    group.add_argument("--weight-decay", type=float, metavar="W", help=f"default {default.weight_decay:g}")
    group.add_argument(
        "--hold-out", type=float, metavar="P", help=f"share of the clips to measure on; default {default.hold_out:g}"
    )
    group.add_argument("--seed", type=int, metavar="N", help=f"default {default.seed}")
    group.add_argument(
        *("--gradient-checkpointing", "--frugal"),
        action=argparse.BooleanOptionalAction,
        help="less memory, a third more time; default: only where memory asks for it",
    )


def add_kept(group: "argparse._ArgumentGroup", default: Intervals, folder: str):
    """How often checkpoints are saved and measured, and where prepared clips lie."""
    group.add_argument(
        "--save-every",
        type=int,
        default=default.save,
        metavar="N",
        help=f"steps between checkpoints; default {default.save}",
    )
    group.add_argument(
        "--keep",
        type=int,
        default=default.keep,
        metavar="N",
        help=f"number of last checkpoints to keep; default {default.keep}",
    )
    group.add_argument(
        "--measure-every",
        type=int,
        default=default.measure,
        metavar="N",
        help=f"steps between losses on held-out clips; default {default.measure}",
    )
    group.add_argument("--cache", metavar="FOLDER", help=f"where prepared clips lie; default {folder}.training/cache")


def add_models(group: "argparse._ArgumentGroup", dtype_help: str):
    group.add_argument("--text-encoder", metavar="NAME")
    group.add_argument("--vocoder", metavar="NAME")
    group.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: the GPU where there is one)")
    group.add_argument("--dtype", choices=TRAINING_DTYPE_NAMES, help=dtype_help)


def given(arguments: argparse.Namespace, names: tuple[str, ...]) -> dict[str, object]:
    """The options of these names that were given."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def check_named(target: Path, text: str, content: str, example: str) -> None:
    """Raises UserError where `text`, the path for `content`, ends without a name, as . and .. do."""
    if target.name in ("", ".."):
        raise UserError(f"{text}: has no name of its own, expected one for {content}, such as {example}")


def check_resumable(target: Path, steps: int) -> None:
    """Raises UserError where more steps of a training are saved than are asked for."""
    if saved := folders(work_folder(target), "step"):
        check_steps(steps, int(saved[-1].name.removeprefix("step-")), str(target))


def work_folder(target: Path) -> Path:
    """The folder of a training's checkpoints and logs."""
    return target.with_name(f"{target.name}.training")


def cache_folder(arguments: argparse.Namespace, work: Path) -> Path:
    return user_path(arguments.cache) if arguments.cache else work / "cache"


def dataset_lines(dataset: "Dataset", left_out) -> list[str]:
    """Lines on the clips left out, the readings of files, and notes."""
    return [*map(str, left_out), *dataset.remarks]
