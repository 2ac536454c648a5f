"""Orders -> files of songs: models are loaded once for all songs that they make. torch is imported only here."""

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from ..console import Clock, Console
from ..errors import AceStepError, UserError, is_full_disk
from ..generation.making import check_files, digests_of, load_cascade, named, prepared
from ..generation.song_files import SongFile, encode_song, write_song
from .cluster import check_for_cluster, make_on_cluster, wants_cluster
from .made_songs import without_made
from .orders import STDOUT, Order, check_kept
from .planned_orders import planned, with_codes_to_follow
from .speakers import Speakers
from .takes import chosen_orders, wants_takes

if TYPE_CHECKING:
    from ..generation.song_files import MadeSong
    from ..generation.song_steps import Prepared


def make_orders(orders: list[Order], arguments: argparse.Namespace, console: Console) -> None:
    """Makes the songs and their files, once all that they name is there. Raises UserError."""
    takes = wants_takes(arguments)
    if any(order.path is None for order in orders):
        _check_stdout(arguments)
    for order in orders:
        with named(order.place):
            check_files(order.settings)
    speakers, orders = Speakers(arguments.play), with_codes_to_follow(orders, console)
    if on_cluster := wants_cluster(arguments):
        check_for_cluster(orders, arguments)
    if on_cluster or getattr(arguments, "songs", None):
        orders = without_made(orders, arguments, console)
    check_kept(orders, arguments)
    orders = planned(orders, arguments, console)
    _check_lengths(orders)
    if on_cluster:
        make_on_cluster(orders, arguments, console)
    else:
        _make(orders, takes, speakers, arguments, console)


def _check_stdout(arguments: argparse.Namespace) -> None:
    if sys.stdout is None or sys.stdout.isatty():
        raise UserError(
            "-o -: stdout is a terminal, expected a file or a program, as in ... -o - --format wav > song.wav"
        )
    if arguments.keep_latents:
        raise UserError("--keep-latents: got -o -, expected a file, beside which the latents are kept")


def _check_lengths(orders: list[Order]) -> None:
    """Raises UserError, with its line, for a song of several that is no longer than the clip that it continues."""
    clip = orders[0].settings.continue_from if len(orders) > 1 else None  # songs of one command have one clip
    if clip is None:
        return
    from .. import audio
    from ..audio.clips import READ_SECONDS
    from ..models.reference import check_longer

    seconds = audio.read(clip, READ_SECONDS).seconds
    for order in orders:
        with named(order.place):
            check_longer(order.song.seconds, seconds, f"the clip to continue ({clip})")


def _make(orders: list[Order], takes: bool, speakers: Speakers, arguments: argparse.Namespace, console: Console):
    """Makes the songs one after another; one that fails leaves the others to be made, a full disk those on other disks.
    Raises AceStepError at the end.

    What fails while models are loaded or clips are encoded ends all of it, as the songs have these in common.
    """
    cascade, models, failed, full = None, None, 0, set()
    for number, order in enumerate(orders, start=1):
        if full and _disk(order) in full:
            failed += 1
            continue
        if len(orders) > 1:
            console.note(f"song {number} of {len(orders)}: {order.path}")
        if models != order.settings.model_names:
            models = order.settings.model_names
            console.busy("loading models ...")
            with named(order.place):
                cascade = load_cascade(order.settings, **machine_of(arguments))
        digests = _digests(cascade, order, console)
        clock, ready = Clock(), _prepared(cascade, order, console)
        try:
            for own in chosen_orders(cascade, order, ready, arguments, console) if takes else [order]:
                made = _play(cascade, own, ready, digests, speakers, console)
                _save(own, _listened(cascade, made, takes, arguments, console), arguments, console, clock)
                speakers.finish()
        except (AceStepError, OSError) as exc:
            if len(orders) == 1:
                raise
            speakers.finish()
            failed += 1
            if is_full_disk(exc):
                full.add(_disk(order))
            console.error(f"failed: {order.place or order.path}: {exc}")
    if failed:
        raise AceStepError(f"{failed} of {len(orders)} songs were not made; see above")


def _disk(order: Order) -> int:
    return order.path.parent.stat().st_dev


def machine_of(arguments: argparse.Namespace) -> dict:
    """How models are loaded: arguments of `Cascade.load`."""
    memory = {"memory_gb": arguments.memory, "offload": arguments.offload}
    return {"device": arguments.device, **memory, "text_cache": not arguments.no_text_cache}


def file_of(arguments: argparse.Namespace) -> SongFile:
    """The form of the files of the options."""
    names = ("format", "bit_depth", "title", "artist", "keep_latents", "lrc")
    return SongFile(**{name: getattr(arguments, name) for name in names})


def _digests(cascade, order: Order, console: Console) -> dict[str, str]:
    """Digests of a song's models, adapters and source; a note names those that differ from the digests in its file's
    tags.
    """
    digests = digests_of(cascade.models, order.settings)
    if others := [name for name, digest in order.digests.items() if digests.get(name) != digest]:
        console.note(f"note: {', '.join(others)}: not the files that made this song before, so it will sound different")
    return digests


def _play(cascade, order: Order, ready: "Prepared", digests, speakers: Speakers, console: Console) -> "MadeSong":
    from ..generation.song_steps import live_sound, made_song, stage_steps

    clock = Clock()
    for made in stage_steps(cascade, ready, order.settings):
        step = made.step
        console.bar(made.name, step.step, step.of, clock.seconds)
        if step.step == step.of:
            clock = Clock()
    live = speakers.begin(live_sound(cascade, ready, step.latents)) if speakers.are_on else None
    made = made_song(cascade, ready, order.settings, step.latents, live, digests=digests)
    console.bar(cascade.models.vocoder.name, 1, 1, clock.seconds)
    return made


def _listened(cascade, made: "MadeSong", takes: bool, arguments: argparse.Namespace, console: Console) -> "MadeSong":
    """The song with the scores of the judges, where it was chosen among takes, and with the times of its lyrics."""
    from ..generation.song_steps import judged_take, with_times

    if takes:
        take = judged_take(cascade, made)
        console.note(f"made whole: {take.line()}")
        made = dataclasses.replace(made, scores=take.scores())
    if arguments.lrc:
        console.busy("listening ...")
    return with_times(cascade, made, file_of(arguments))


def _prepared(cascade, order: Order, console: Console) -> "Prepared":
    if order.settings.source is not None:
        console.busy("encoding the source ...")
    with named(order.place):
        return prepared(cascade, order.song, order.settings)


def _save(order: Order, made: "MadeSong", arguments: argparse.Namespace, console: Console, clock: Clock):
    if order.path is None:
        _stream(encode_song(made, file_of(arguments)))
        say, file = console.note, STDOUT
    else:
        say, file = console.made, str(write_song(made, file_of(arguments), order.path, replace=order.replaces))
    if arguments.json:
        shown = {"file": file, **made.facts(), "made_in_seconds": round(clock.seconds, 2)}
        say(json.dumps(shown, ensure_ascii=False))
    else:
        say(made_line(file, made.wave.seconds, made.settings.seed, clock.seconds))


def made_line(file: str, seconds: float, seed: int, took: float) -> str:
    """The result line of a finished file."""
    return f"{file}  {seconds:.1f} s of music, seed {seed}, made in {took:.1f} s"


def _stream(data: bytes):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
