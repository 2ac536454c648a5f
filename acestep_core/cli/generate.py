"""`acestep-cascade generate`: songs from a line of text. torch is imported only when all options are checked."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..audio.formats import FORMATS, choose_format
from ..audio.song_tags import song_tags
from ..console import Clock, Console
from ..errors import UserError
from ..generation.settings import GenerationSettings
from ..lora.find import Lora, adapter_digest, find_adapter
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
from ..system.files import existing
from .arguments import length, numbers, several, texts
from .orders import STDOUT, Order, named, orders_of

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
    _add_sampling(parser.add_argument_group("sampling"))
    _add_model_choice(parser.add_argument_group("models"))
    _add_memory(parser.add_argument_group("device and memory"))
    _add_output(parser.add_argument_group("output"))


def _add_song(group):
    free = "(default: the model decides)"
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
        help=f"length of the whole song, {MIN_SECONDS:g} to {MAX_SECONDS:g}, or auto: by its lyrics (default "
        f"{DEFAULT_SECONDS:g})",
    )
    group.add_argument(
        "--lyrics", metavar="TEXT|@FILE", help="the lyrics, or @ and a file with them (default: instrumental)"
    )
    group.add_argument("--language", metavar="CODE", help="language of the lyrics, such as en (default: unknown)")
    group.add_argument("--bpm", metavar="N", help=f"tempo, {MIN_BPM} to {MAX_BPM} {free}")
    group.add_argument("--key", metavar="KEY", help=f'key, such as "A minor" {free}')
    group.add_argument("--time-signature", metavar="N", help=f"2, 3, 4 or 6 beats in a bar {free}")
    group.add_argument(
        "--reference", action="append", metavar="FILE", help="an audio clip with the timbre to use; repeatable"
    )
    group.add_argument(
        "--continue", dest="continue_from", metavar="FILE", help="an audio clip that the song begins with and continues"
    )


def _add_sampling(group):
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


def _add_model_choice(group):
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


def _add_memory(group):
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
        "--quantise", choices=["int8", "fp8"], help="store the transformers' weights in 8 bits (needs torchao)"
    )
    group.add_argument("--offload", action="store_true", help="keep only the model in use in memory")
    group.add_argument(
        "--memory", type=float, metavar="GB", help="use at most this much memory (default: what is free)"
    )
    group.add_argument("--no-text-cache", action="store_true", help="do not cache encoded captions and lyrics on disk")


def _add_output(group):
    group.add_argument("--format", choices=FORMATS, help="default: that of the file's name, else flac")
    group.add_argument("--bit-depth", choices=["16", "24", "32f"], help="wav: 16, 24, 32f; flac: 16, 24 (default 24)")
    group.add_argument(
        "--loudness",
        type=float,
        metavar="LUFS",
        help=f"such as {LOUDNESS_LUFS:g} (default: peaks at {PEAK_DBFS:g} dBFS)",
    )
    group.add_argument("--title", metavar="TEXT", help="title tag (default: the caption)")
    group.add_argument("--artist", metavar="TEXT", help="artist tag")
    group.add_argument("--json", action="store_true", help="print one line of JSON for each file")
    group.add_argument("-q", "--quiet", action="store_true", help="no progress bars and no notes")


def generate(arguments: argparse.Namespace, console: Console):
    orders = orders_of(arguments)
    if any(order.path is None for order in orders):
        _check_stdout()
    for order in orders:
        with named(order.place):
            for clip in (*(order.settings.reference or ()), order.settings.continue_from):
                if clip is not None:
                    existing(clip)
            _adapters(order.settings)
    _make(orders, arguments, console)


def _check_stdout():
    if sys.stdout is None or sys.stdout.isatty():
        raise UserError(
            "-o -: stdout is a terminal, expected a file or a program, as in ... -o - --format wav > song.wav"
        )


def _adapters(settings: GenerationSettings) -> list[Path]:
    """Where the adapters of a song are. Raises UserError."""
    return [find_adapter(Lora.parse(lora).adapter) for lora in settings.lora or ()]


def _make(orders: list[Order], arguments: argparse.Namespace, console: Console):
    cascade, models = None, None
    for number, order in enumerate(orders, start=1):
        if len(orders) > 1:
            console.note(f"song {number} of {len(orders)}: {order.path}")
        if models != order.settings.model_names:
            models = order.settings.model_names
            console.busy("loading models ...")
            with named(order.place):
                cascade = _load(order.settings, arguments)
        digests = _digests(cascade, order, console)
        clock = Clock()
        wave = _play(cascade, order, console)
        _save(order, wave, cascade, digests, arguments, console, clock)


def _load(settings: GenerationSettings, arguments: argparse.Namespace):
    from ..checkpoints.cascade_models import find_cascade

    found = find_cascade(**settings.model_names)  # an absent model is an error before torch is loaded
    from ..generation.cascade import Cascade

    precision = {"dtype": settings.dtype, "vocoder_dtype": settings.vocoder_dtype, "quantise": settings.quantise}
    memory = {"memory_gb": arguments.memory, "offload": arguments.offload}
    cascade = Cascade.load(
        found, device=arguments.device, **precision, **memory, text_cache=not arguments.no_text_cache
    )
    cascade.plan(**settings.sampling)
    return cascade


def _digests(cascade, order: Order, console: Console) -> dict[str, str]:
    """Digests of the models and adapters of a song; a note names those that were others when it was made before."""
    adapters = enumerate(_adapters(order.settings), start=1)
    digests = cascade.models.digests() | {f"lora {number}": adapter_digest(place) for number, place in adapters}
    if others := [name for name, digest in order.digests.items() if digests.get(name) != digest]:
        console.note(f"note: {', '.join(others)}: not the files that made this song before, so it will sound different")
    return digests


def _play(cascade, order: Order, console: Console):
    settings, clock = order.settings, Clock()
    reference = cascade.encode_reference(settings.reference or (), settings.continue_from, order.song.seconds)
    names = [model.name for model in cascade.models.stages]
    sampling = {"lora": settings.lora or (), **settings.sampling}
    for step in cascade.iterate(order.song, seed=settings.seed, reference=reference, **sampling):
        name = names[min(step.stage, len(names) - 1)]
        console.bar(name, step.step, step.of, clock.seconds)
        if step.step == step.of:
            clock = Clock()
    wave = cascade.decode(step.latents, order.song, reference)
    console.bar(cascade.models.vocoder.name, 1, 1, clock.seconds)
    return wave


def _save(order: Order, wave, cascade, digests, arguments: argparse.Namespace, console: Console, clock: Clock):
    from .. import audio

    settings, names = order.settings, cascade.models.names
    if settings.loudness is not None:
        wave = audio.normalise_loudness(wave, settings.loudness)
    tags = song_tags(order.song, settings.given(), names, arguments.title, arguments.artist, digests)
    form = arguments.format, arguments.bit_depth
    if order.path is None:
        _stream(audio.encoded(wave, *choose_format(f"song.{arguments.format}", *form), tags))
        say, file = console.note, STDOUT
    else:
        say, file = console.made, str(audio.write(order.path, wave, *form, tags, replace=order.replaces))
    if arguments.json:
        made = {"file": file, "seed": settings.seed, "seconds": wave.seconds, "rate_hz": wave.sample_rate_hz}
        made |= {"made_in_seconds": round(clock.seconds, 2), "models": names, "digests": digests}
        say(json.dumps({**made, "song": asdict(order.song), "settings": settings.given()}, ensure_ascii=False))
    else:
        say(f"{file}  {wave.seconds:.1f} s of music, seed {settings.seed}, made in {clock.seconds:.1f} s")


def _stream(data: bytes):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
