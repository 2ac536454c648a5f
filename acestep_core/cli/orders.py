"""The songs that `acestep-cascade generate` makes, and their files: options, JSON and tags -> Orders. No torch."""

import argparse
import contextlib
import dataclasses
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from ..audio.formats import FORMATS, choose_format
from ..checkpoints.cascade_models import CASCADES, embedded_name
from ..errors import UserError, shown
from ..generation.making import DEFAULT_FORMAT, SEEDS_DRAWN_BELOW, named, slug
from ..generation.settings import MODEL_OPTIONS, GenerationSettings, TaggedSong, read_song
from ..generation.song_files import check_replaceable, files_beside
from ..json_text import parse_json_object
from ..lora.find import Lora
from ..scoring.take_settings import TakeSettings
from ..song import Song, check_seed, check_text
from ..system import texts
from ..system.files import check_destination
from ..system.folders import user_path

MOST_SONGS = 10_000
TEXT_BYTES_MOST = 16_000_000
NO_LORA = "none"
STDOUT = "-"
STREAMS = Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd")

_SONG_OPTIONS = ("caption", "seconds", "lyrics", "language", "bpm", "key", "time_signature")


@dataclass(frozen=True)
class Order:
    """One song to be made. `path`: None is stdout; without `replaces` a file of that name stays, and a free name is
    taken. `digests`: those of the models and adapters that made the song before, by slot and by adapter. `place`: the
    file, and the line, that the song and its settings are from. `drawn`: its seed was drawn at random; `has_takes`: it
    is the first of several.
    """

    song: Song
    settings: GenerationSettings
    path: Path | None
    replaces: bool = True
    digests: Mapping[str, str] = field(default_factory=dict)
    place: str | None = None
    drawn: bool = False
    has_takes: bool = False


@dataclass(frozen=True)
class Request:
    """A song as a source describes it, before its seed and file are settled. `place` names the source in messages."""

    song: Song
    settings: GenerationSettings
    output: str | None = None
    place: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None  # of the file, where -o gives none; None: that of the song
    suffix: str | None = None  # of the file's name, where one command makes several files


def orders_of(arguments: argparse.Namespace) -> list[Order]:
    """An Order for each song that the options ask for. Raises UserError."""
    check_count(arguments)
    return orders_from(_requests(arguments), arguments)


def check_count(arguments: argparse.Namespace) -> None:
    """Raises UserError for a number of songs that makes no sense."""
    if not 1 <= arguments.count <= MOST_SONGS:
        raise UserError(f"--count: got {arguments.count}, expected 1 to {MOST_SONGS}")


def _check_total(requests: int, arguments: argparse.Namespace) -> None:
    """Raises UserError for more songs than one command makes."""
    if (songs := requests * arguments.count) > MOST_SONGS:
        raise UserError(f"got {songs} songs, expected at most {MOST_SONGS} in one command; make them in several")


def orders_from(requests: "Sequence[Request]", arguments: argparse.Namespace) -> list[Order]:
    """The Orders of requests, with their seeds and files. Raises UserError."""
    for name in ("title", "artist"):
        check_text(name, getattr(arguments, name) or "")
    _check_total(len(requests), arguments)
    orders: list[Order] = []
    files = _Files(_sources(requests, arguments))
    for number, request in enumerate(requests, start=1):
        numbered = f"_{number}" if len(requests) > 1 and request.output is None else ""
        suffix = numbered if request.suffix is None else request.suffix
        with named(request.place):
            orders += _numbered(request, arguments, suffix, files)
    _check_streamed(sum(order.path is None for order in orders), takes_of(arguments).keep)
    return orders


def _check_streamed(songs: int, keep: int) -> None:
    """Raises UserError where more than one file would go to stdout."""
    if songs > 1:
        raise UserError(f"-o -: got {songs} songs, expected one, as stdout holds one file")
    if songs and keep > 1:
        raise UserError(f"--keep: got {keep} and -o -, expected 1, as stdout holds one file")


def _numbered(request: Request, arguments: argparse.Namespace, suffix: str, files: "_Files") -> list[Order]:
    """The songs of one request: --count of them, from consecutive seeds."""
    drawn = secrets.randbelow(SEEDS_DRAWN_BELOW) if request.settings.seed is None else request.settings.seed
    orders = []
    for item in range(arguments.count):
        end = suffix + (f"_{item + 1}" if arguments.count > 1 else "")
        seed = drawn + item * takes_of(arguments).seeds
        path, replaces = _path(arguments, request, seed, end)
        if path is not None:
            files.take(_all_files(path, arguments), replaces)
        settings = dataclasses.replace(request.settings, seed=seed)
        if settings.planner_seed is not None and settings.codes is None:
            settings = dataclasses.replace(settings, planner_seed=settings.planner_seed + item)
        seeds = {"drawn": request.settings.seed is None, "has_takes": takes_of(arguments).are_wanted}
        orders.append(Order(request.song, settings, path, replaces, request.digests, request.place, **seeds))
    return orders


def takes_of(arguments: argparse.Namespace, planner=None) -> TakeSettings:
    """The TakeSettings of the options; those of commands without takes are one take. Raises UserError."""
    given = {"count": "best_of", "keep": "keep", "retry_below": "retry_below", "draft": "draft"}
    chosen = {name: getattr(arguments, option, None) for name, option in given.items()}
    return TakeSettings(planner=planner, **{name: value for name, value in chosen.items() if value is not None})


# ---- songs and their settings ----------------------------------------------------------------------------------------


def _requests(arguments: argparse.Namespace) -> list[Request]:
    sources = [name for name in ("song", "songs", "from_file") if getattr(arguments, name)]
    if len(sources) > 1:
        raise UserError("give one of --song, --songs and --from")
    if arguments.songs:
        return _of_lines(arguments)
    if arguments.song:
        return [_of_json(read_text(arguments.song), arguments.song, arguments)]
    if arguments.from_file:
        return [of_tags(read_song(arguments.from_file), arguments)]
    if arguments.caption is None:
        raise UserError('a caption is missing, such as acestep-cascade generate "lo-fi beat" -o song.flac')
    return [Request(overridden({}, arguments), changed(GenerationSettings(), arguments))]


def _of_lines(arguments: argparse.Namespace) -> list[Request]:
    lines = enumerate(read_text(arguments.songs).split("\n"), start=1)
    lines = [(number, line) for number, line in lines if line.strip()]
    if not lines:
        raise UserError(f"{arguments.songs}: holds no songs, expected one JSON object a line")
    with named(arguments.songs):
        _check_total(len(lines), arguments)  # before each line is read, which takes far longer
    return [_of_json(line, f"{arguments.songs} line {number}", arguments) for number, line in lines]


def _of_json(text: str, place: str, arguments: argparse.Namespace) -> Request:
    given = parse_json_object(text, place, remedy='write an object such as {"caption": "lo-fi"}')
    with named(place):
        if isinstance(given.get("song"), dict):
            return _of_plan(given, place, arguments)
        seed, output = given.pop("seed", None), given.pop("output", None)
        if not isinstance(output, str | None):
            raise UserError(f"output: got {shown(output)}, expected the name of a file in quotes")
        song = overridden(asdict(Song.from_json(given)), arguments)
        settings = changed(GenerationSettings(seed=None if seed == -1 else seed), arguments)  # -1: any, in the original
        return Request(song, settings, output, place)


def _of_plan(given: dict, place: str, arguments: argparse.Namespace) -> Request:
    """The song of a file that `acestep-cascade plan -o` wrote, with its codes."""
    song = overridden(asdict(Song.from_json(given["song"])), arguments)
    codes = {name: given.get(name) or None for name in ("codes", "codebook")}
    settings = GenerationSettings(planner=given.get("planner"), planner_seed=given.get("seed"), **codes)
    return Request(song, changed(settings, arguments), place=place)


def of_tags(made: TaggedSong, arguments: argparse.Namespace) -> Request:
    """The song of a file, `arguments.from_file`, with the command line's options in its place. Raises UserError."""
    chosen = any(getattr(arguments, name) for name in MODEL_OPTIONS)
    if not chosen and not isinstance(made.models, dict):
        makers = ", ".join(made.models) or "models that it does not name"
        raise UserError(
            f"{arguments.from_file}: was made in ComfyUI by {makers}; "
            "drop it there to get its graph again, or name models here (--models tiny) to make its song with those"
        )
    with named(arguments.from_file):
        song = overridden(asdict(made.song), arguments, made.settings.edit is not None)
        settings = changed(made.settings, arguments)
        kept = {
            name: digest
            for name, digest in made.digests.items()
            if not (arguments.lora if name.startswith("lora ") else chosen)
        }
        return Request(song, settings, place=arguments.from_file, digests=kept)


def overridden(given: dict, arguments: argparse.Namespace, is_edit: bool = False) -> Song:
    """The song of these fields, with the options of the command line in their place. Raises UserError.

    The song of an edit may have an empty caption.
    """
    given_options = {name: getattr(arguments, name, None) for name in _SONG_OPTIONS}
    options = {name: value for name, value in given_options.items() if value is not None}
    song = Song(**{**given, **with_text(options, "lyrics")})
    if not song.caption.strip() and not is_edit:
        raise UserError("caption: is empty; say what the song sounds like")
    return song


def changed(settings: GenerationSettings, arguments: argparse.Namespace) -> GenerationSettings:
    """Settings with those of the command line in their place."""
    options = {field.name: getattr(arguments, field.name, None) for field in fields(GenerationSettings)}
    if options["reference"] is not None:
        options["reference"] = tuple(map(whole, options["reference"]))
    options |= {
        name: whole(options[name]) for name in (*MODEL_OPTIONS, "continue_from", "source", "planner") if options[name]
    }
    if options["lora"] is not None:
        options["lora"] = _loras(options["lora"])
    if options["planner"] is not None:  # planned anew
        settings = dataclasses.replace(settings, codes=None, codebook=None, planner_seed=None)
    if any(options[name] for name in MODEL_OPTIONS):  # other models than those of a file that is made again
        settings = dataclasses.replace(settings, **dict.fromkeys(MODEL_OPTIONS))
    changed = dataclasses.replace(settings, **{name: value for name, value in options.items() if value is not None})
    if changed.seed is not None:
        check_seed(changed.seed, arguments.count * takes_of(arguments).seeds)
    return changed


def whole(name: str) -> str:
    """The absolute path, or the name of an embedded model for the path of its folder; a name stays as it is."""
    path = user_path(name)
    if not path.exists() or name.lower() in CASCADES:
        return name
    return embedded_name(str(path.resolve())) or str(path.resolve())


def _loras(given: list[str]) -> tuple[str, ...]:
    """Adapters as tags hold them: by name, or by absolute path if found by path. "none" alone removes them all."""
    if given == [NO_LORA]:
        return ()
    loras = map(Lora.parse, given)
    return tuple(str(dataclasses.replace(lora, adapter=whole(lora.adapter))) for lora in loras)


def read_text(path: str) -> str:
    """The text of a file that the command line names. Raises UserError."""
    return texts.read_text(user_path(path), TEXT_BYTES_MOST, path or "@")


def with_text(options: dict, name: str) -> dict:
    """Options with the text of a file in place of "@" and its name, where one of them is such. Raises UserError."""
    value = options.get(name) or ""
    return {**options, name: read_text(value[1:])} if value.startswith("@") else options


# ---- files -----------------------------------------------------------------------------------------------------------


def _path(arguments: argparse.Namespace, request: Request, seed: int, end: str) -> tuple[Path | None, bool]:
    """(the file of a song or None for stdout, whether it replaces one that is there: only where the user named it).

    `end` tells the songs of one command apart.
    """
    wanted = request.output or arguments.output
    if wanted == STDOUT:
        return _check_stdout(arguments), False
    folder, named = user_path(wanted or "."), bool(wanted)
    if wanted is None or folder.is_dir() or wanted.endswith(("/", "\\")):
        named = named and bool(end)
        name = f"{request.name or 'song'}{end}" if named else f"{request.name or slug(request.song.caption)}-{seed}"
        path = folder / f"{name}.{arguments.format or DEFAULT_FORMAT}"
    else:
        _check_regular(folder)
        path = _with_ending(folder, arguments.format)
        path = path.with_stem(path.stem + end)
    choose_format(path, arguments.format, arguments.bit_depth)
    for file in _all_files(path, arguments):
        check_destination(file)
    return path, named


def check_kept(orders: Sequence[Order], arguments: argparse.Namespace) -> None:
    """Raises UserError where a file would be lost that lies beside a song which is replaced."""
    for order in orders:
        if order.path is not None and order.replaces:
            with named(order.place):
                for sound in _sounds(order.path, arguments):
                    check_replaceable(sound, **_kinds(arguments))


def _all_files(path: Path, arguments: argparse.Namespace) -> list[Path]:
    """The files of a song: the sound of every take, and those beside it."""
    sounds = _sounds(path, arguments)
    return [file for sound in sounds for file in (sound, *files_beside(sound, **_kinds(arguments)))]


def _sounds(path: Path, arguments: argparse.Namespace) -> list[Path]:
    keep = takes_of(arguments).keep
    return [take_path(path, rank, keep) for rank in range(1, keep + 1)]


def _kinds(arguments: argparse.Namespace) -> dict[str, bool]:
    return {"lrc": arguments.lrc, "latents": arguments.keep_latents}


def take_path(path: Path, rank: int, keep: int) -> Path:
    """The file of the take of a rank, from 1, where `keep` of them are kept."""
    return path.with_stem(f"{path.stem}_take{rank}") if keep > 1 else path


def _with_ending(path: Path, format: str | None) -> Path:
    if path.suffix and not (format and path.suffix.lower()[1:] not in FORMATS):
        return path
    return path.with_name(f"{path.name}.{format or DEFAULT_FORMAT}")


def _check_stdout(arguments: argparse.Namespace) -> None:
    if arguments.format is None:
        raise UserError("-o -: got no --format, expected the format to write to stdout, such as --format wav")
    choose_format(f"song.{arguments.format}", arguments.format, arguments.bit_depth)


def _check_regular(path: Path) -> None:
    ordinary = path.is_file() and path.absolute().parent not in STREAMS  # there a file is what a shell redirects to
    if path.exists() and not (ordinary or path.is_dir()):
        raise UserError(f"{path}: is a device or a pipe, expected a file; -o - --format wav writes to stdout")


class _Files:
    """The files that a command writes. None is written twice, and none of those that it reads is replaced."""

    def __init__(self, sources: set[str]):
        self._sources = set(filter(None, map(_identity, map(user_path, sources))))
        self._taken: set[Path] = set()

    def take(self, files: Sequence[Path], replace: bool) -> None:
        """Adds the files of a song. Raises UserError. Without `replace` other names are found for files that exist."""
        for file in files:
            resolved = file.resolve()
            if replace and resolved in self._taken:
                raise UserError(f"{file}: would be written twice; give every song its own output")
            if replace and _identity(file) in self._sources:
                raise UserError(f"output: got {file}, which this command reads and would replace; give another file")
            self._taken.add(resolved)


def _sources(requests: Sequence[Request], arguments: argparse.Namespace) -> set[str]:
    """The files that a command makes its songs of: clips, music to edit, songs and lyrics."""
    return set(filter(None, [*_files_read(arguments), *(file for one in requests for file in _clips(one.settings))]))


def _files_read(arguments: argparse.Namespace) -> Iterator[str | None]:
    yield from (getattr(arguments, name, None) for name in ("song", "songs", "from_file", "source"))
    texts = (getattr(arguments, name, None) or "" for name in ("lyrics", "from_lyrics"))
    yield from (text[1:] for text in texts if text.startswith("@"))


def _clips(settings: GenerationSettings) -> tuple[str | None, ...]:
    return *(settings.reference or ()), settings.continue_from, settings.source


def _identity(file: Path) -> tuple[int, int] | None:
    """What all names of a file, such as links, have in common; None where it is not there."""
    with contextlib.suppress(OSError, ValueError):
        found = os.stat(file)
        return found.st_dev, found.st_ino
    return None
