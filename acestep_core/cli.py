"""The command line: acestep-cascade generate · show · models · lora · bench · train.

Exit codes: 0 done, 1 failed, 2 a user's mistake (one line on stderr), 130 stopped with Ctrl-C. Only what a command
needs is imported: help, versions and mistakes are answered without torch.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from .console import Console, NotesHandler
from .errors import AceStepError, UserError
from .formats import FORMATS
from .freed_memory import keep_freed_memory
from .spec import DEFAULT_SECONDS, LOUDNESS_LUFS, MAX_BPM, MAX_SECONDS, MIN_BPM, MIN_SECONDS

OK, FAILED, MISTAKE, STOPPED = 0, 1, 2, 130


class _Parser(argparse.ArgumentParser):
    """A mistake is one line, not a page of usage."""

    def error(self, message: str):
        raise UserError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    console = Console()
    try:
        arguments = build_parser(argv).parse_args(argv)
        console.quiet = getattr(arguments, "quiet", False)
        with _notes(console):
            arguments.run(arguments, console)
    except SystemExit as exc:  # argparse leaves this way after --help and --version
        return int(exc.code or OK)
    except UserError as exc:
        console.error(_one_line(exc))
        return MISTAKE
    except (AceStepError, OSError, MemoryError) as exc:
        console.error(f"failed: {_one_line(exc) or 'out of memory'}")
        return FAILED
    except KeyboardInterrupt:
        console.error("stopped")
        return STOPPED
    return OK


class _notes:
    """Shows what this library logs for as long as a command runs."""

    def __init__(self, console: Console):
        self._handler = NotesHandler(console)
        self._logger = logging.getLogger(__package__)

    def __enter__(self):
        self._logger.addHandler(self._handler)
        self._propagates, self._logger.propagate = self._logger.propagate, False

    def __exit__(self, *exc):
        self._logger.removeHandler(self._handler)
        self._logger.propagate = self._propagates


def _one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())


def build_parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of all commands. `argv` tells which module's own options are needed."""
    parser = _Parser(prog="acestep-cascade", description="Songs from a line of text, by a cascade of music models.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    _add_generate(commands)
    _add_show(commands)
    _add_models(commands)
    _add_lora(commands)
    _add_bench(commands, argv)
    _add_train(commands, argv)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser, *given):
        Console().result(f"acestep-cascade {_version()}")
        parser.exit()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("acestep-cascade")
    except PackageNotFoundError:  # used from a copy that nobody installed, as a ComfyUI pack is
        import tomllib

        project = Path(__file__).resolve().parents[1] / "pyproject.toml"
        return (
            tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"] if project.is_file() else "unknown"
        )


def _command(module: str, function: str):
    """A command that imports its module only when it runs."""

    def run(arguments: argparse.Namespace, console: Console):
        keep_freed_memory()
        getattr(import_module(f".{module}", __package__), function)(arguments, console)

    return run


def _numbers(kind: type):
    """A parser of "3" or "3,3,2": one number, or a tuple of them."""

    def parse(text: str):
        try:
            values = tuple(kind(part) for part in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected numbers such as 3 or 3,3,2") from None
        return values[0] if len(values) == 1 else values

    return parse


def _texts(text: str) -> str | tuple[str, ...]:
    values = tuple(part.strip() for part in text.split(","))
    return values[0] if len(values) == 1 else values


def _tuple(kind: type):
    def parse(text: str) -> tuple:
        value = _numbers(kind)(text)
        return value if isinstance(value, tuple) else (value,)

    return parse


_EPILOG = """\
files: -o names the file and replaces one that is there; without it the file is named after the song and never replaces
one. --count 3 -o song.flac makes song_1.flac, song_2.flac, song_3.flac, from the seeds N, N+1, N+2. With --songs every
song is numbered, -o may be a folder, and a line may also have "seed" and "output". A file appears when it is whole.
"""


def _add_generate(commands):
    parser = commands.add_parser("generate", help="make songs", description="Make songs.", epilog=_EPILOG)
    parser.set_defaults(run=_command("commands", "generate"))
    parser.add_argument("caption", nargs="?", metavar="CAPTION", help="what the song sounds like")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write; its ending tells the format")
    source = parser.add_argument_group("song")
    source.add_argument("--song", metavar="FILE.json", help="a song as JSON; other options override its fields")
    source.add_argument("--songs", metavar="FILE.jsonl", help="many songs, one JSON object a line")
    source.add_argument("--from", dest="from_file", metavar="FILE", help="make the song of an audio file's tags again")
    source.add_argument(
        "--seconds",
        type=float,
        metavar="N",
        help=f"length, {MIN_SECONDS:g} to {MAX_SECONDS:g} (default {DEFAULT_SECONDS:g}); with --continue of the whole",
    )
    source.add_argument("--lyrics", metavar="TEXT|@FILE", help="lyrics, or a file with them (default instrumental)")
    source.add_argument("--language", metavar="CODE", help="of the lyrics, such as en (default unknown)")
    source.add_argument("--bpm", metavar="N", help=f"tempo, {MIN_BPM} to {MAX_BPM} (default: the model's choice)")
    source.add_argument("--key", metavar="KEY", help='such as "A minor" (default: the model\'s choice)')
    source.add_argument("--time-signature", metavar="N", help="2, 3, 4 or 6 (default: the model's choice)")
    source.add_argument("--reference", action="append", metavar="FILE", help="a clip whose timbre to take; repeatable")
    source.add_argument("--continue", dest="continue_from", metavar="FILE", help="a clip that the song begins with")
    run = parser.add_argument_group("run")
    run.add_argument("--seed", type=int, metavar="N", help="the same seed makes the same song (default: a new one)")
    run.add_argument("--count", type=int, default=1, metavar="N", help="how many songs, of following seeds")
    run.add_argument("--steps", type=_numbers(int), metavar="N|A,B,C", help="steps in all, or of each stage")
    run.add_argument("--boundaries", type=_tuple(float), metavar="T,T", help="flow times of the hand-overs, 1 to 0")
    run.add_argument("--solver", metavar="NAME", help="euler (default), heun or sde")
    run.add_argument("--guidance", type=_texts, metavar="G|A,B,C", help="scale, such as 7 or cfg:7; 1 is none")
    _add_model_choice(parser.add_argument_group("models"))
    output = parser.add_argument_group("output")
    output.add_argument("--format", choices=FORMATS, help="default: by the name of the file, else flac")
    output.add_argument("--bit-depth", choices=["16", "24", "32f"], help="wav 16, 24, 32f; flac 16, 24 (default 24)")
    output.add_argument(
        "--loudness", type=float, metavar="LUFS", help=f"such as {LOUDNESS_LUFS:g} (default: peaks at -1 dBFS)"
    )
    output.add_argument("--title", metavar="TEXT", help="title tag (default: the caption)")
    output.add_argument("--artist", metavar="TEXT", help="artist tag")
    output.add_argument("--json", action="store_true", help="print a line of JSON for each file made")
    output.add_argument("-q", "--quiet", action="store_true", help="no progress, no notes")


def _add_model_choice(group):
    group.add_argument("--models", metavar="NAME", help="tiny (default), published, a folder, or one model for all")
    for slot, part in (("l", "first stage"), ("m", "second stage"), ("s", "last stage")):
        group.add_argument(f"--{slot}", metavar="NAME", help=f"model of the {part}: a known name, a file or a folder")
    group.add_argument(
        "--lora",
        action="append",
        metavar="[L=]FILE[:0.8]",
        help="an adapter, its strength (default 1) and stage (default all it fits); repeatable; none: without any",
    )
    group.add_argument("--text-encoder", metavar="NAME")
    group.add_argument("--vocoder", metavar="NAME")
    group.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: a CUDA GPU where there is one)"
    )
    group.add_argument(
        "--dtype",
        choices=["fp32", "bf16", "fp16"],
        help="default: as in the model files, bf16 only where the device has it",
    )
    group.add_argument(
        "--vocoder-dtype",
        choices=["fp32", "bf16"],
        help="fp32 (default) whatever --dtype is; bf16 is faster, its noise about 40 to 45 dB below the music",
    )
    group.add_argument("--quantise", choices=["int8", "fp8"], help="transformers' weights in 8 bits, through torchao")
    group.add_argument("--offload", action="store_true", help="hold only the part at work in memory")
    group.add_argument("--memory", type=float, metavar="GB", help="make do with so much memory (default: what is free)")
    group.add_argument("--no-text-cache", action="store_true", help="keep nothing of captions and lyrics on disk")


def _add_show(commands):
    parser = commands.add_parser(
        "show", help="the song in a file's tags", description="Show the song in a file's tags."
    )
    parser.set_defaults(run=_command("commands", "show"))
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="as one line of JSON")


def _add_models(commands):
    parser = commands.add_parser("models", help="list or download models", description="List or download models.")
    parser.set_defaults(run=_command("commands", "models"))
    parser.add_argument("--json", action="store_true", help="a line of JSON for each model")
    actions = parser.add_subparsers(metavar="download")
    download = actions.add_parser("download", help="fetch a known model", description="Fetch a known model.")
    download.set_defaults(run=_command("commands", "download"))
    download.add_argument("name", metavar="NAME")
    download.add_argument("-q", "--quiet", action="store_true", help="no progress")


def _add_lora(commands):
    parser = commands.add_parser("lora", help="look into adapters, convert them", description="Adapters.")
    actions = parser.add_subparsers(metavar="show|convert", required=True)
    show = actions.add_parser("show", help="what an adapter is", description="Show what an adapter is.")
    show.set_defaults(run=_command("lora.command", "show"))
    show.add_argument("file", metavar="FILE", help="a file, a folder, or a name in a folder loras")
    show.add_argument("--json", action="store_true", help="as one line of JSON")
    convert = actions.add_parser("convert", help="into another layout", description="Convert to another layout.")
    convert.set_defaults(run=_command("lora.command", "convert"))
    convert.add_argument("file", metavar="FILE", help="a file, a folder, or a name in a folder loras")
    convert.add_argument("-o", "--output", required=True, metavar="OUT", help="a folder for peft, else a .safetensors")
    convert.add_argument("--to", required=True, choices=["peft", "comfyui", "diffusers"], help="the layout")


BENCHES = {
    "tiny": ("measure the embedded cascade", "training.measure"),
    "lora": ("measure an adapter of it", "training.style"),
    "distill": ("measure a student of it", "training.compare"),
    "loading": ("measure how files load", "bench.loading"),
}


def _add_bench(commands, argv: Sequence[str]):
    parser = commands.add_parser("bench", help="measure speed, or the embedded models", description="Measure.")
    parser.set_defaults(run=_command("bench.command", "run"))
    chosen = next((word for word in argv[1:] if word in BENCHES), None) if list(argv[:1]) == ["bench"] else ""
    if chosen is None:
        import_module(".bench.command", __package__).add_arguments(parser)
    actions = parser.add_subparsers(metavar="|".join(BENCHES))
    for name, (told, module) in BENCHES.items():
        _add_delegate(actions, name, told, module, name == chosen)


def _add_train(commands, argv: Sequence[str]):
    parser = commands.add_parser("train", help="train models", description="Train models.")
    actions = parser.add_subparsers(metavar="lora|distill|tiny", required=True)
    _add_delegate(actions, "lora", "train an adapter on your clips", "training.teach", argv[:2] == ["train", "lora"])
    _add_delegate(
        actions,
        "distill",
        "make a small stage model of a large one",
        "training.distill",
        argv[:2] == ["train", "distill"],
    )
    _add_delegate(actions, "tiny", "train the embedded cascade", "training.pretrain", argv[:2] == ["train", "tiny"])


def _add_delegate(actions, name: str, summary: str, module: str, is_asked: bool):
    """A command whose module brings its own options: imported only when that command is asked for."""
    parser = actions.add_parser(name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.")
    parser.set_defaults(run=_command(module, "run"))
    if is_asked:
        import_module(f".{module}", __package__).add_arguments(parser)
