"""Orders -> files of songs: models are loaded once for all songs that they make. torch is imported only here."""

import argparse
import dataclasses
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..audio.formats import choose_format
from ..audio.song_tags import SCORES_TAG, TIMED_TAG, song_tags
from ..console import Clock, Console
from ..errors import UserError
from ..generation.making import bit_depth, check_files, digests_of, load_cascade, named, prepared
from ..system.files import write_whole
from .lyric_files import timed_lyrics
from .orders import STDOUT, Order
from .planned_orders import planned
from .takes import chosen_orders, wants_takes

if TYPE_CHECKING:
    import torch

    from ..audio.waveform import Waveform
    from ..editing.edited_song import EditedSong
    from ..models.reference import Reference
    from ..planner.planned_song import PlannedSong
    from ..song import Song

    Prepared = tuple[Song | EditedSong | PlannedSong, Reference | None]


@dataclass(frozen=True)
class _Made:
    """A song that was made: its sound, the song with its codes, latents [1, C, T] of that sound, where there are such,
    and the clips that it was made with.
    """

    wave: "Waveform"
    song: "Song | EditedSong | PlannedSong"
    latents: "torch.Tensor | None"
    reference: "Reference | None"
    scores: dict | None = None  # of a song that was chosen among takes

    @property
    def words(self) -> "Song":
        return getattr(self.song, "song", self.song)


def make_orders(orders: list[Order], arguments: argparse.Namespace, console: Console) -> None:
    """Makes the songs and their files, once all that they name is there. Raises UserError."""
    takes = wants_takes(arguments)
    if any(order.path is None for order in orders):
        _check_stdout(arguments)
    for order in orders:
        with named(order.place):
            check_files(order.settings)
    _make(planned(orders, arguments, console), takes, arguments, console)


def _check_stdout(arguments: argparse.Namespace) -> None:
    if sys.stdout is None or sys.stdout.isatty():
        raise UserError(
            "-o -: stdout is a terminal, expected a file or a program, as in ... -o - --format wav > song.wav"
        )
    if arguments.keep_latents:
        raise UserError("--keep-latents: got -o -, expected a file, beside which the latents are kept")


def _make(orders: list[Order], takes: bool, arguments: argparse.Namespace, console: Console):
    cascade, models = None, None
    for number, order in enumerate(orders, start=1):
        if len(orders) > 1:
            console.note(f"song {number} of {len(orders)}: {order.path}")
        if models != order.settings.model_names:
            models = order.settings.model_names
            console.busy("loading models ...")
            with named(order.place):
                cascade = load_cascade(order.settings, **_machine(arguments))
        digests = _digests(cascade, order, console)
        clock, ready = Clock(), _prepared(cascade, order, console)
        chosen = chosen_orders(cascade, order, ready, arguments, console) if takes else [order]
        for own in chosen:
            made = _play(cascade, own, ready, console)
            made = dataclasses.replace(made, scores=_scores(cascade, made, own, console)) if takes else made
            _save(own, made, cascade, digests, arguments, console, clock)


def _machine(arguments: argparse.Namespace) -> dict:
    memory = {"memory_gb": arguments.memory, "offload": arguments.offload}
    return {"device": arguments.device, **memory, "text_cache": not arguments.no_text_cache}


def _digests(cascade, order: Order, console: Console) -> dict[str, str]:
    """Digests of a song's models, adapters and source; a note names those that differ from the digests in its file's
    tags.
    """
    digests = digests_of(cascade, order.settings)
    if others := [name for name, digest in order.digests.items() if digests.get(name) != digest]:
        console.note(f"note: {', '.join(others)}: not the files that made this song before, so it will sound different")
    return digests


def _play(cascade, order: Order, ready: "Prepared", console: Console) -> _Made:
    settings, clock = order.settings, Clock()
    song, reference = ready
    names = [model.name for model in cascade.models.stages]
    sampling = {"lora": settings.lora or (), **settings.sampling}
    for step in cascade.iterate(song, seed=settings.seed, reference=reference, **sampling):
        name = names[min(step.stage, len(names) - 1)]
        console.bar(name, step.step, step.of, clock.seconds)
        if step.step == step.of:
            clock = Clock()
    wave = cascade.decode(step.latents, song, reference)
    console.bar(cascade.models.vocoder.name, 1, 1, clock.seconds)
    return _Made(wave, song, cascade.result_latents(step.latents, wave, reference), reference)


def _scores(cascade, made: _Made, order: Order, console: Console) -> dict:
    """What the judges find of a song that was chosen among takes, for its tags."""
    from ..scoring.ranking import Take

    take = Take(order.settings.seed, cascade.judge(made.wave, made.song, made.latents, made.reference))
    console.note(f"made whole: {take.line()}")
    return take.scores()


def _prepared(cascade, order: Order, console: Console) -> "Prepared":
    if order.settings.source is not None:
        console.busy("encoding the source ...")
    return prepared(cascade, order.song, order.settings)


def _save(order: Order, made: _Made, cascade, digests, arguments: argparse.Namespace, console: Console, clock: Clock):
    from .. import audio

    settings, names, wave = order.settings, cascade.models.names, made.wave
    if settings.loudness is not None:
        wave = audio.normalise_loudness(wave, settings.loudness)
    tags = song_tags(made.words, settings.given(), names, arguments.title, arguments.artist, digests)
    timed = timed_lyrics(cascade, made, console) if arguments.lrc else None
    tags |= {TIMED_TAG: timed} if timed else {}
    tags |= {SCORES_TAG: json.dumps(made.scores)} if made.scores else {}
    place = order.path or f"song.{arguments.format}"
    form = arguments.format, bit_depth(settings, place, arguments.format, arguments.bit_depth)
    if order.path is None:
        _stream(audio.encoded(wave, *choose_format(f"song.{arguments.format}", *form), tags))
        say, file = console.note, STDOUT
    else:
        say, file = console.made, str(audio.write(order.path, wave, *form, tags, replace=order.replaces))
    if arguments.keep_latents:
        _keep_latents(file, made.latents, console)
    if timed and order.path is not None:
        write_whole(Path(file).with_suffix(".lrc"), f"{timed}\n".encode())
    if arguments.json:
        shown = {"file": file, "seed": settings.seed, "seconds": wave.seconds, "rate_hz": wave.sample_rate_hz}
        shown |= {"scores": made.scores} if made.scores else {}
        shown |= {"made_in_seconds": round(clock.seconds, 2), "models": names, "digests": digests}
        say(json.dumps({**shown, "song": asdict(made.words), "settings": settings.given()}, ensure_ascii=False))
    else:
        say(f"{file}  {wave.seconds:.1f} s of music, seed {settings.seed}, made in {clock.seconds:.1f} s")


def _keep_latents(file: str, latents: "torch.Tensor | None", console: Console) -> None:
    from .. import audio
    from ..editing.kept_latents import keep_latents

    if latents is None:
        console.note(f"note: {file}: its latents are not kept, as its sound does not begin with a whole frame of them")
        return
    keep_latents(file, latents, audio.read(file))


def _stream(data: bytes):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
