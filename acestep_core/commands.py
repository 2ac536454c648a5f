"""What the commands generate, show, models and download do. torch is imported only when all wishes are checked."""

import argparse
import dataclasses
import json
import re
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from .cascade import CASCADES
from .console import Clock, Console
from .errors import UserError
from .formats import FORMATS, check_destination, choose_format, existing
from .lora.find import Lora, find_adapter
from .making import MODEL_OPTIONS, Making, models_of, read_song
from .song import Song, check_seed, check_text
from .tags import song_tags

SEEDS_DRAWN_BELOW = 2**32
DEFAULT_FORMAT = "flac"
NAME_LENGTH = 40
NO_LORA = "none"

_SONG_OPTIONS = ("caption", "seconds", "lyrics", "language", "bpm", "key", "time_signature")


@dataclass(frozen=True)
class Order:
    """One file to be made."""

    song: Song
    making: Making
    path: Path


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


def _wishes(arguments: argparse.Namespace) -> list[tuple[Song, Making, str | None]]:
    sources = [name for name in ("song", "songs", "from_file") if getattr(arguments, name)]
    if len(sources) > 1:
        raise UserError("give one of --song, --songs and --from")
    if arguments.songs:
        return _songs(arguments)
    given, making = {}, Making()
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


def _songs(arguments: argparse.Namespace) -> list[tuple[Song, Making, str | None]]:
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
            making = _changed(Making(seed=extra["seed"]), arguments)
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


def _changed(making: Making, arguments: argparse.Namespace) -> Making:
    asked = {field.name: getattr(arguments, field.name) for field in fields(Making)}
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
    path = Path(name).expanduser()
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
        return Path(path).expanduser().read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise UserError(f"{path}: could not be read ({exc.strerror})") from exc
    except UnicodeDecodeError as exc:
        raise UserError(f"{path}: is not UTF-8 text; save it as UTF-8") from exc


def _path(
    arguments: argparse.Namespace, output: str | None, song: Song, seed: int, end: str, taken: list[Path]
) -> Path:
    wanted = output or arguments.output
    name = f"{_slug(song.caption)}-{seed}"
    folder = Path(wanted or ".").expanduser()
    if wanted is None or folder.is_dir() or str(wanted).endswith(("/", "\\")):
        path = folder / f"{name}.{arguments.format or DEFAULT_FORMAT}"
        path = _free(path, taken) if wanted is None else path.with_stem(f"song{end}" if end else path.stem)
    else:
        path = Path(wanted).expanduser()
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


def _load(making: Making, arguments: argparse.Namespace):
    from .cascade import find_cascade

    found = find_cascade(**making.parts)  # a model that is not here is told before torch is loaded
    from .generate import Cascade

    form = {"dtype": making.dtype, "vocoder_dtype": making.vocoder_dtype, "quantise": making.quantise}
    within = {"memory_gb": arguments.memory, "offload": arguments.offload}
    cascade = Cascade.load(found, device=arguments.device, **form, **within, text_cache=not arguments.no_text_cache)
    cascade.plan(**making.settings)
    return cascade


def _play(cascade, order: Order, console: Console):
    making, clock = order.making, Clock()
    heard = cascade.hear(making.reference or (), making.continue_from, order.song.seconds)
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
    from . import audio

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


# ---- showing it ------------------------------------------------------------------------------------------------------


def show(arguments: argparse.Namespace, console: Console):
    song, making = read_song(arguments.file)
    models = models_of(arguments.file)
    if arguments.json:
        shown = {"file": arguments.file, "song": asdict(song), "settings": making.asked(), "models": models}
        console.result(json.dumps(shown, ensure_ascii=False))
        return
    named = [f"{slot} {name}" for slot, name in models.items()] if isinstance(models, dict) else models
    rows = {**asdict(song), **making.asked(), "models": ", ".join(named)}
    lyrics = rows.pop("lyrics")
    for name, value in rows.items():
        if value is not None:
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
            console.result(f"{name.replace('_', ' '):<15} {shown}")
    console.result(f"{'lyrics':<15} " + lyrics.replace("\n", "\n" + " " * 16))


# ---- models ----------------------------------------------------------------------------------------------------------


def models(arguments: argparse.Namespace, console: Console):
    from .checkpoints import list_models

    rows = list_models()
    if arguments.json:
        _models_as_json(rows, console)
        return
    width = max(len(row.name) for row in rows)
    console.result(f"{'name':<{width}}  {'slot':<8} {'parameters':>10} {'size':>9}  {'here':<5} licence")
    for row in rows:
        here = "yes" if row.complete else "part" if row.here else "no"
        count = f"{row.parameters / 1e9:.2f} B" if row.parameters >= 1e8 else f"{row.parameters / 1e6:.1f} M"
        size = f"{row.size_bytes / 1e9:.1f} GB" if row.size_bytes >= 1e9 else f"{row.size_bytes / 1e6:.1f} MB"
        console.result(f"{row.name:<{width}}  {row.slot:<8} {count:>10} {size:>9}  {here:<5} {row.licence}")
    console.note("get one with: acestep-cascade models download NAME")
    _show_memory(console)


def _show_memory(console: Console):
    from .memory import CARDS_GB, LONG_SECONDS, TOLD, overview

    needs = overview()
    width = max(map(len, needs))
    console.result(f"\nwhat a GPU holds at a time while a song of {LONG_SECONDS:g} s is made in bf16")
    console.result((f"{'':<{width}}  " + "  ".join(f"{f'{card} GB':<8}" for card in CARDS_GB)).rstrip())
    for name, needed in needs.items():
        held = "  ".join(f"{holds or 'too small':<8}" for holds in needed.on_cards().values())
        console.result(f"{name:<{width}}  {held}".rstrip())
    for holds, told in TOLD.items():
        console.result(f"  {holds}: {told}")


def _models_as_json(rows, console: Console):
    from .checkpoints.known import STAGE
    from .memory import PUBLISHED_TRANSFORMERS, overview, published_needs

    for row in rows:
        shown = {**asdict(row), "here": row.here and str(row.here)}
        if STAGE in row.kinds and row.family in PUBLISHED_TRANSFORMERS:
            shown |= _memory_as_json(published_needs((row.family,)))
        console.result(json.dumps(shown))
    for name, needs in overview().items():
        console.result(json.dumps({"name": name, "kinds": ["cascade"], **_memory_as_json(needs)}))


def _memory_as_json(needs) -> dict:
    """At bf16: GB at the fullest moment for each way to hold the models, and the way on cards of so many GB."""
    sizes = {holds: round(size / 1e9, 2) for holds, size in needs.sizes().items()}
    return {"memory_gb": sizes, "on_cards": needs.on_cards()}


def download(arguments: argparse.Namespace, console: Console):
    from .checkpoints import download as fetch

    clock = Clock()

    def progress(state):
        megabytes = state.done_bytes // 10**6, max(1, state.total_bytes // 10**6)
        console.bar(f"{arguments.name} (MB)", *megabytes, clock.seconds)

    console.result(f"{arguments.name} is in {fetch(arguments.name, progress).path}")
