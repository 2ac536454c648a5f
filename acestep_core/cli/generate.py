"""`acestep-cascade generate`: songs from a line of text. torch is imported only when all options are checked."""

import argparse
import dataclasses
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..audio.formats import FORMATS, choose_format
from ..audio.song_tags import song_tags
from ..checkpoints.cascade_models import CASCADES
from ..console import Clock, Console
from ..errors import UserError
from ..generation.settings import MODEL_OPTIONS, GenerationSettings, models_of, read_song
from ..lora.find import Lora, find_adapter
from ..song import Song, check_seed, check_text
from ..spec import DEFAULT_SECONDS, LOUDNESS_LUFS, MAX_BPM, MAX_SECONDS, MIN_BPM, MIN_SECONDS
from ..system.files import check_destination, existing
from ..system.folders import user_path
from .arguments import numbers, several, texts

SEEDS_DRAWN_BELOW = 2**32
DEFAULT_FORMAT = "flac"
NAME_LENGTH = 40
NO_LORA = "none"

_SONG_OPTIONS = ("caption", "seconds", "lyrics", "language", "bpm", "key", "time_signature")


@dataclass(frozen=True)
class Order:
    """One file to be made."""

    song: Song
    making: GenerationSettings
    path: Path


_EPILOG = """\
files: -o names the file and replaces one that is there; without it the file is named after the song and never replaces
one. --count 3 -o song.flac makes song_1.flac, song_2.flac, song_3.flac, from the seeds N, N+1, N+2. With --songs every
song is numbered, -o may be a folder, and a line may also have "seed" and "output". A file appears when it is whole.
"""


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.epilog = _EPILOG
    parser.set_defaults(run=generate)
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
    run.add_argument("--steps", type=numbers(int), metavar="N|A,B,C", help="steps in all, or of each stage")
    run.add_argument("--boundaries", type=several(float), metavar="T,T", help="flow times of the hand-overs, 1 to 0")
    run.add_argument("--solver", metavar="NAME", help="euler (default), heun or sde")
    run.add_argument("--guidance", type=texts, metavar="G|A,B,C", help="scale, such as 7 or cfg:7; 1 is none")
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


def generate(arguments: argparse.Namespace, console: Console):
    orders = _orders(arguments)
    for order in orders:
        for clip in (*(order.making.reference or ()), order.making.continue_from):
            if clip is not None:
                existing(clip)
        for lora in order.making.lora or ():
            find_adapter(Lora.parse(lora).adapter)
    _make(orders, arguments, console)


# ---- what is to be made ----------------------------------------------------------------------------------------------


def _orders(arguments: argparse.Namespace) -> list[Order]:
    if arguments.count < 1:
        raise UserError(f"--count: got {arguments.count}, expected at least 1")
    for name in ("title", "artist"):
        check_text(name, getattr(arguments, name) or "")
    wishes = _wishes(arguments)
    orders = []
    for number, (song, making, output) in enumerate(wishes, start=1):
        seed = secrets.randbelow(SEEDS_DRAWN_BELOW) if making.seed is None else making.seed
        suffix = f"_{number}" if len(wishes) > 1 and output is None else ""
        for item in range(arguments.count):
            end = suffix + (f"_{item + 1}" if arguments.count > 1 else "")
            path = _path(arguments, output, song, seed + item, end, [order.path for order in orders])
            orders.append(Order(song, dataclasses.replace(making, seed=seed + item), path))
    return orders


def _wishes(arguments: argparse.Namespace) -> list[tuple[Song, GenerationSettings, str | None]]:
    sources = [name for name in ("song", "songs", "from_file") if getattr(arguments, name)]
    if len(sources) > 1:
        raise UserError("give one of --song, --songs and --from")
    if arguments.songs:
        return _songs(arguments)
    given, making = {}, GenerationSettings()
    if arguments.song:
        given = asdict(_song_in(_text(arguments.song), arguments.song))
    elif arguments.from_file:
        song, making = read_song(arguments.from_file)
        if not any(getattr(arguments, name) for name in MODEL_OPTIONS):
            _check_can_be_made_again(arguments.from_file)
        given = asdict(song)
    elif arguments.caption is None:
        raise UserError('a caption is missing, such as acestep-cascade generate "lo-fi beat" -o song.flac')
    return [(_overridden(given, arguments), _changed(making, arguments), None)]


def _check_can_be_made_again(path: str):
    """Raises UserError for a file of ComfyUI: how it was made is told by its graph and not by its settings."""
    models = models_of(path)
    if not isinstance(models, dict):
        raise UserError(
            f"{path}: was made in ComfyUI by {', '.join(models) or 'models that it does not name'}; drop it there to "
            "get its graph again, or name models here (--models tiny) to make its song with those"
        )


def _song_in(source: str | dict, where: str) -> Song:
    try:
        return Song.from_json(source)
    except UserError as exc:
        raise UserError(f"{where}: {exc}") from exc


def _songs(arguments: argparse.Namespace) -> list[tuple[Song, GenerationSettings, str | None]]:
    wishes = []
    for number, line in enumerate(_text(arguments.songs).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields_given = json.loads(line)
            if not isinstance(fields_given, dict):
                raise TypeError(f"got a JSON {type(fields_given).__name__}, expected an object with the field caption")
            extra = {name: fields_given.pop(name, None) for name in ("seed", "output")}
            song = _overridden(asdict(Song.from_json(fields_given)), arguments)
            if not isinstance(extra["output"], str | None):
                raise TypeError(f"output: got {extra['output']!r}, expected the name of a file in quotes")
            making = _changed(GenerationSettings(seed=extra["seed"]), arguments)
        except (ValueError, AttributeError, TypeError) as exc:
            raise UserError(f"{arguments.songs} line {number}: {exc}") from exc
        wishes.append((song, making, extra["output"]))
    if not wishes:
        raise UserError(f"{arguments.songs}: holds no songs, expected one JSON object a line")
    return wishes


def _overridden(given: dict, arguments: argparse.Namespace) -> Song:
    asked = {name: getattr(arguments, name) for name in _SONG_OPTIONS if getattr(arguments, name) is not None}
    if asked.get("lyrics", "").startswith("@"):
        asked["lyrics"] = _text(asked["lyrics"][1:])
    song = Song(**{**given, **asked})
    if not song.caption.strip():
        raise UserError("caption: is empty; say what the song sounds like")
    return song


def _changed(making: GenerationSettings, arguments: argparse.Namespace) -> GenerationSettings:
    asked = {field.name: getattr(arguments, field.name) for field in fields(GenerationSettings)}
    if asked["reference"] is not None:
        asked["reference"] = tuple(map(_whole, asked["reference"]))
    asked |= {name: _whole(asked[name]) for name in (*MODEL_OPTIONS, "continue_from") if asked[name]}
    if asked["lora"] is not None:
        asked["lora"] = _loras(asked["lora"])
    if any(asked[name] for name in MODEL_OPTIONS):  # other models than those of a file that is made again
        making = dataclasses.replace(making, **dict.fromkeys(MODEL_OPTIONS))
    changed = dataclasses.replace(making, **{name: value for name, value in asked.items() if value is not None})
    if changed.seed is not None:
        check_seed(changed.seed, arguments.count)
    return changed


def _whole(name: str) -> str:
    """A path as it is found from any folder; a name is left as it is."""
    path = user_path(name)
    return str(path.resolve()) if path.exists() and name.lower() not in CASCADES else name


def _loras(given: list[str]) -> tuple[str, ...]:
    """As they go into tags: adapters found by name under it, others by their whole path. "none" alone takes all off."""
    if given == [NO_LORA]:
        return ()
    asked = []
    for text in given:
        lora = Lora.parse(text)
        asked.append(str(dataclasses.replace(lora, adapter=_whole(lora.adapter))))
    return tuple(asked)


def _text(path: str) -> str:
    try:
        return user_path(path).read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise UserError(f"{path}: could not be read ({exc.strerror})") from exc
    except UnicodeDecodeError as exc:
        raise UserError(f"{path}: is not UTF-8 text; save it as UTF-8") from exc


def _path(
    arguments: argparse.Namespace, output: str | None, song: Song, seed: int, end: str, taken: list[Path]
) -> Path:
    wanted = output or arguments.output
    name = f"{_slug(song.caption)}-{seed}"
    folder = user_path(wanted or ".")
    if wanted is None or folder.is_dir() or str(wanted).endswith(("/", "\\")):
        path = folder / f"{name}.{arguments.format or DEFAULT_FORMAT}"
        path = _free(path, taken) if wanted is None else path.with_stem(f"song{end}" if end else path.stem)
    else:
        path = user_path(wanted)
        if not path.suffix or (arguments.format and path.suffix.lower()[1:] not in FORMATS):
            path = path.with_name(f"{path.name}.{arguments.format or DEFAULT_FORMAT}")
        path = path.with_stem(path.stem + end)
    choose_format(path, arguments.format, arguments.bit_depth)
    check_destination(path)
    if path.resolve() in [other.resolve() for other in taken]:
        raise UserError(f"{path}: would be written twice; give every song its own output")
    return path


def _slug(caption: str) -> str:
    words = re.sub(r"[^\w]+", "-", caption.lower()).strip("-_")
    return words[:NAME_LENGTH].strip("-_") or "song"


def _free(path: Path, taken: list[Path]) -> Path:
    names = (path, *(path.with_stem(f"{path.stem}_{number}") for number in range(2, 10_000)))
    return next(name for name in names if name not in taken and not name.exists())


# ---- making it -------------------------------------------------------------------------------------------------------


def _make(orders: list[Order], arguments: argparse.Namespace, console: Console):
    cascade, parts = None, None
    for number, order in enumerate(orders, start=1):
        if len(orders) > 1:
            console.note(f"song {number} of {len(orders)}: {order.path}")
        if parts != order.making.parts:
            parts = order.making.parts
            console.busy("loading models ...")
            cascade = _load(order.making, arguments)
        clock = Clock()
        wave = _play(cascade, order, console)
        _save(order, wave, cascade, arguments, console, clock)


def _load(making: GenerationSettings, arguments: argparse.Namespace):
    from ..checkpoints.cascade_models import find_cascade

    found = find_cascade(**making.parts)  # a model that is not here is told before torch is loaded
    from ..generation.cascade import Cascade

    form = {"dtype": making.dtype, "vocoder_dtype": making.vocoder_dtype, "quantise": making.quantise}
    within = {"memory_gb": arguments.memory, "offload": arguments.offload}
    cascade = Cascade.load(found, device=arguments.device, **form, **within, text_cache=not arguments.no_text_cache)
    cascade.plan(**making.settings)
    return cascade


def _play(cascade, order: Order, console: Console):
    making, clock = order.making, Clock()
    heard = cascade.encode_reference(making.reference or (), making.continue_from, order.song.seconds)
    names = [model.name for model in cascade.models.stages]
    wishes = {"lora": making.lora or (), **making.settings}
    for step in cascade.iterate(order.song, seed=making.seed, reference=heard, **wishes):
        name = names[min(step.stage, len(names) - 1)]
        console.bar(name, step.step, step.of, clock.seconds)
        if step.step == step.of:
            clock = Clock()
    wave = cascade.decode(step.latents, order.song, heard)
    console.bar(cascade.models.vocoder.name, 1, 1, clock.seconds)
    return wave


def _save(order: Order, wave, cascade, arguments: argparse.Namespace, console: Console, clock: Clock):
    from .. import audio

    making = order.making
    if making.loudness is not None:
        wave = audio.normalise_loudness(wave, making.loudness)
    tags = song_tags(order.song, making.asked(), cascade.models.names, arguments.title, arguments.artist)
    audio.write(order.path, wave, arguments.format, arguments.bit_depth, tags)
    if arguments.json:
        made = {"file": str(order.path), "seed": making.seed, "seconds": wave.seconds, "rate_hz": wave.sample_rate_hz}
        made |= {"made_in_seconds": round(clock.seconds, 2), "models": cascade.models.names}
        console.result(json.dumps({**made, "song": asdict(order.song), "settings": making.asked()}, ensure_ascii=False))
    else:
        made_in = f"made in {clock.seconds:.1f} s"
        console.result(f"{order.path}  {wave.seconds:.1f} s of music, seed {making.seed}, {made_in}")
