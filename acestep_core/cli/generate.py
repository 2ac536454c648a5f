"""`acestep-cascade generate`: songs from a line of text. torch is imported only when all options are checked."""

import argparse
from collections.abc import Sequence

from ..audio.formats import FORMATS
from ..console import Console
from ..generation.planning import ANY_PLANNER
from ..spec import (
    DEFAULT_SECONDS,
    DTYPE_NAMES,
    LOUDNESS_LUFS,
    MAX_BPM,
    MAX_SECONDS,
    MIN_BPM,
    MIN_SECONDS,
    PEAK_DBFS,
    SLOTS,
    VOCODER_DTYPE_NAMES,
)
from .arguments import length, numbers, several, texts
from .cluster import add_cluster
from .make import make_orders
from .orders import orders_of
from .takes import add_takes

_EPILOG = """\
files: -o names the file, and replaces a file of that name. Without -o, or where -o is a folder, the file is named after
the song and replaces nothing. --count 3 -o song.flac makes song_1.flac, song_2.flac and song_3.flac, from the seeds N,
N+1 and N+2. With --songs the files are numbered too. A song in JSON may have "seed" and "output" beside its own fields.
A file appears only once it is complete. -o - with --format writes the file to stdout, and the result line to stderr.
"""


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.epilog = _EPILOG
    parser.set_defaults(run=generate)
    parser.add_argument(
        "caption", nargs="?", metavar="CAPTION", help="what the song sounds like: style, mood, instruments"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="the file to write; its ending gives the format")
    _add_song(parser.add_argument_group("song"))
    add_sampling(parser.add_argument_group("sampling"))
    _add_plan(parser.add_argument_group("plan"))
    add_takes(parser.add_argument_group("takes"))
    add_cluster(parser.add_argument_group("cluster"))
    add_model_choice(parser.add_argument_group("models"))
    add_memory(parser.add_argument_group("device and memory"))
    add_output(parser.add_argument_group("output"))


def _add_song(group):
    group.add_argument("--song", metavar="FILE.json", help="a song as JSON; other options override its fields")
    group.add_argument("--songs", metavar="FILE.jsonl", help="many songs, one JSON object a line")
    group.add_argument(
        "--from",
        dest="from_file",
        metavar="FILE",
        help="make the song in an audio file's tags again, with its settings",
    )
    group.add_argument(
        "--seconds",
        type=length,
        metavar="N",
        help=f"length of the whole song, {MIN_SECONDS:g} to {MAX_SECONDS:g}, or auto: by a planner or its lyrics "
        f"(default {DEFAULT_SECONDS:g})",
    )
    add_words(group)
    group.add_argument(
        "--continue", dest="continue_from", metavar="FILE", help="an audio clip that the song begins with and continues"
    )


def add_words(group, first: str = ""):
    """`first`: where a word that is not given is searched for before the default of a new song."""
    free = f"(default: {first}the model decides)"
    lyrics = f"the lyrics, or @ and a file with them (default: {first}instrumental)"
    group.add_argument("--lyrics", metavar="TEXT|@FILE", help=lyrics)
    language = f"language of the lyrics, such as en (default: {first}unknown)"
    group.add_argument("--language", metavar="CODE", help=language)
    group.add_argument("--bpm", metavar="N", help=f"tempo, {MIN_BPM} to {MAX_BPM} {free}")
    group.add_argument("--key", metavar="KEY", help=f'key, such as "A minor" {free}')
    group.add_argument("--time-signature", metavar="N", help=f"2, 3, 4 or 6 beats in a bar {free}")
    group.add_argument(
        "--reference", action="append", metavar="FILE", help="an audio clip with the timbre to use; repeatable"
    )


def add_sampling(group):
    group.add_argument("--seed", type=int, metavar="N", help="the same seed makes the same song (default: random)")
    group.add_argument(
        "--count", type=int, default=1, metavar="N", help="number of songs, from consecutive seeds (default 1)"
    )
    group.add_argument(
        "--steps", type=numbers(int), metavar="N|A,B,C", help="steps in all, or one number for each stage"
    )
    group.add_argument(
        "--boundaries",
        type=several(float),
        metavar="T,T",
        help="flow times at which one stage hands over to the next, falling between 1 and 0",
    )
    group.add_argument("--solver", metavar="NAME", help="euler (default), heun or sde")
    group.add_argument(
        "--guidance",
        type=texts,
        metavar="G|A,B,C",
        help="guidance scale, such as 7, or kind and scale, such as cfg:7; 1 is none; one, or one for each stage",
    )
    group.add_argument(
        "--dcw",
        action="store_const",
        const=True,
        help="correct the steps of turbo models in the wavelet domain, as the original does (default: off)",
    )


def _add_plan(group):
    group.add_argument(
        "--plan",
        dest="planner",
        nargs="?",
        const=ANY_PLANNER,
        metavar="NAME",
        help="let a planner, one that is here or this one, fill in what the song leaves open and write audio codes",
    )
    group.add_argument(
        "--plan-seed", dest="planner_seed", type=int, metavar="N", help="seed of the plan (default: that of the song)"
    )
    group.add_argument(
        "--codes-strength", type=float, metavar="X", help="share of the steps that follow the codes, 0 to 1 (default 1)"
    )


def add_model_choice(group):
    group.add_argument(
        "--models", metavar="NAME", help="tiny (default), published, a folder, or one model for all stages"
    )
    for slot, stage in zip(SLOTS, ("first", "second", "last"), strict=True):
        group.add_argument(f"--{slot}", metavar="NAME", help=f"model of the {stage} stage: a name, a file or a folder")
    group.add_argument(
        "--lora",
        action="append",
        metavar="[L=]FILE[:0.8]",
        help="an adapter, for one stage (L=, M=, S=) or for every stage that it fits, and its strength (default 1); "
        "repeatable; --lora none with --from: no adapter",
    )
    group.add_argument("--text-encoder", metavar="NAME", help="default: the one of the first stage's family")
    group.add_argument("--vocoder", metavar="NAME", help="default: the one of the first stage's family")


def add_memory(group):
    group.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps (default: a CUDA GPU if there is one)"
    )
    group.add_argument(
        "--dtype",
        choices=DTYPE_NAMES,
        help="of stages and text encoder (default: the model files' own, or fp32 on a CPU without bf16 instructions)",
    )
    group.add_argument(
        "--vocoder-dtype",
        choices=VOCODER_DTYPE_NAMES,
        help="fp32 (default) or bf16, which is faster, with noise about 40 to 45 dB below the music",
    )
    group.add_argument(
        "--quantise",
        choices=["int8", "fp8", "fp8-matmul"],
        help="store the transformers' weights in 8 bits; fp8-matmul multiplies in 8 bits too, on NVIDIA GPUs since the "
        "RTX 40 series (needs torchao)",
    )
    group.add_argument(
        "--matmul",
        dest="quantise",
        type=lambda name: f"{name}-matmul",
        choices=["fp8-matmul"],
        metavar="fp8",
        help="--matmul fp8 is --quantise fp8-matmul",
    )
    group.add_argument("--offload", action="store_true", help="keep only the model in use in memory")
    group.add_argument(
        "--memory", type=float, metavar="GB", help="use at most this much memory (default: what is free)"
    )
    group.add_argument("--no-text-cache", action="store_true", help="do not cache encoded captions and lyrics on disk")


def add_output(group):
    group.add_argument("--format", choices=FORMATS, help="default: that of the file's name, else flac")
    group.add_argument("--bit-depth", choices=["16", "24", "32f"], help="wav: 16, 24, 32f; flac: 16, 24 (default 24)")
    group.add_argument(
        "--loudness",
        type=float,
        metavar="LUFS",
        help=f"such as {LOUDNESS_LUFS:g} (default: peaks at {PEAK_DBFS:g} dBFS)",
    )
    group.add_argument(
        "--keep-latents",
        action="store_true",
        help="keep the song's latents in a file beside it, with which `edit` begins instead of encoding the song",
    )
    group.add_argument(
        "--lrc", action="store_true", help="write the times of the lyrics into the tags and into a file.lrc beside"
    )
    group.add_argument(
        "--play",
        action="store_true",
        help="play the song while it is decoded, by ffplay, mpv or aplay, at the vocoder's own level",
    )
    group.add_argument("--title", metavar="TEXT", help="title tag (default: the caption)")
    group.add_argument("--artist", metavar="TEXT", help="artist tag")
    group.add_argument("--json", action="store_true", help="print one line of JSON for each file")
    group.add_argument("-q", "--quiet", action="store_true", help="no progress bars and no notes")


def generate(arguments: argparse.Namespace, console: Console):
    make_orders(orders_of(arguments), arguments, console)
