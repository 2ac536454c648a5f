"""The command line, acestep-cascade: the commands of COMMANDS, a file of this folder each.

Exit codes: 0 done, 1 failed, 2 a user's mistake (one line on stderr), 130 stopped with Ctrl-C. A command imports only
its own needs: help, versions and mistakes are answered without torch.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from ..console import Console, NotesHandler
from ..errors import AceStepError, UserError, is_out_of_memory, wrong_path
from ..memory.malloc import keep_freed_memory
from . import FAILED, MISTAKE, OK, STOPPED

# Command -> (its line in the help, the module of this folder with its options and its code).
COMMANDS = {
    "generate": ("make songs", "generate"),
    "edit": ("cover, repaint, extend music, and more", "edit"),
    "play": ("play a MIDI file, as a guide for a song", "play"),
    "plan": ("fill a song in, and write its audio codes", "plan"),
    "write": ("write a song from one line", "write"),
    "rewrite": ("write a song's words anew", "rewrite"),
    "understand": ("describe music in words", "understand"),
    "lint": ("check lyrics before a song is made", "lint"),
    "score": ("judge songs", "score"),
    "lrc": ("find out when each line is sung", "lrc"),
    "show": ("show the song in a file's tags", "show"),
    "serve": ("serve songs to people and programs", "serve"),
    "library": ("list and search a folder of songs", "library"),
    "gallery": ("make a page of sounds", "gallery"),
    "models": ("list models, or download them", "models"),
    "lora": ("describe or convert adapters", "lora"),
    "bench": ("measure speed, or the embedded models", "bench"),
    "train": ("train an adapter or a model", "train"),
}


class _Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line instead of a page of usage."""

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
            keep_freed_memory()
            _check_current_folder()
            arguments.run(arguments, console)
    except SystemExit as exc:  # argparse leaves this way after --help and --version
        return int(exc.code or OK)
    except BrokenPipeError:  # nobody reads the results any longer, as after `| head`
        return OK
    except UserError as exc:
        console.error(_one_line(exc))
        return MISTAKE
    except (AceStepError, OSError, MemoryError, RuntimeError) as exc:
        if isinstance(exc, RuntimeError):  # torch's where memory ran out, else a mistake in the code
            if not is_out_of_memory(exc):
                raise
            exc = MemoryError()
        if message := wrong_path(exc):
            console.error(message)
            return MISTAKE
        console.error(f"failed: {_one_line(exc) or 'out of memory'}")
        return FAILED
    except KeyboardInterrupt:
        console.error("stopped")
        return STOPPED
    return OK


def _check_current_folder() -> None:
    """Raises UserError where the current folder is gone, where torch's libraries end the process."""
    try:
        os.getcwd()
    except FileNotFoundError as exc:
        raise UserError("the current folder was removed or moved; change into another one, such as by cd ~") from exc


class _notes:
    """Shows what this library logs while a command runs."""

    def __init__(self, console: Console):
        self._handler = NotesHandler(console)
        self._logger = logging.getLogger(__package__.rpartition(".")[0])

    def __enter__(self):
        self._logger.addHandler(self._handler)
        self._propagates, self._logger.propagate = self._logger.propagate, False

    def __exit__(self, *exc):
        self._logger.removeHandler(self._handler)
        self._logger.propagate = self._propagates


def _one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())


def build_parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of all commands, with the options of the command that `argv` names."""
    parser = _Parser(
        prog="acestep-cascade", description="Make songs from text with a cascade of ACE-Step music models."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    add_commands(commands, COMMANDS, argv)
    return parser


def add_commands(actions, table: dict[str, tuple[str, str]], argv: Sequence[str]) -> None:
    """Adds the commands of a table; only the command that `argv` begins with is imported, for its options."""
    for name, (summary, module) in table.items():
        parser = actions.add_parser(name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.")
        if argv and argv[0] == name:
            import_module(f".{module}", __package__).add_arguments(parser, argv[1:])


class _Version(argparse.Action):
    def __call__(self, parser, *given):
        Console().result(f"acestep-cascade {version()}")
        parser.exit()


def version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("acestep-cascade")
    except PackageNotFoundError:  # a copy that is not installed, as a ComfyUI pack is
        import tomllib

        project = Path(__file__).resolve().parents[2] / "pyproject.toml"
        return (
            tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"] if project.is_file() else "unknown"
        )
