"""`acestep-cascade play`: a MIDI file played by the band into a sound file, as a guide for a song."""

import argparse
from collections.abc import Sequence

from ..audio.formats import FORMATS, choose_format
from ..console import Console
from ..errors import UserError
from ..system.files import check_destination
from ..system.folders import user_path


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.description = (
        "Play a MIDI file by synthesised or sampled instruments into a sound file, as a guide for a song."
    )
    parser.set_defaults(run=play)
    parser.add_argument("file", metavar="FILE.mid", help="a standard MIDI file; drums are on channel 10")
    parser.add_argument(
        *("-o", "--output"), metavar="FILE", required=True, help=f"the file to write: {', '.join(sorted(FORMATS))}"
    )
    parser.add_argument(
        "--soundfont",
        metavar="FILE",
        nargs="?",
        const="auto",
        help="sampled instruments from a .sf2 or .sf3 file (without FILE: where Debian has it)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no notes")


def play(arguments: argparse.Namespace, console: Console):
    if arguments.output == "-":
        raise UserError("-o: got -, expected the name of a file")
    target = check_destination(user_path(arguments.output))
    choose_format(target)
    from ..band.soundfont import find_soundfont

    font = find_soundfont(arguments.soundfont) if arguments.soundfont else None
    import torch

    from ..audio.files import write
    from ..audio.waveform import Waveform
    from ..band.midi_player import RATE_HZ, play_midi

    wave = Waveform(torch.from_numpy(play_midi(arguments.file, font))[None], RATE_HZ)
    path = write(target, wave)
    console.result(f"{path}  {wave.samples.shape[-1] / RATE_HZ:.1f} s")
