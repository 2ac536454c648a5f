"""`acestep-cascade lrc`: when each line of a song is sung, as an LRC file, as tags, or as JSON."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..audio.formats import FORMATS
from ..audio.song_tags import TIMED_TAG
from ..audio.tags import check_rewritable, read_tags, with_tags
from ..console import Console
from ..errors import UserError
from ..generation.making import song_to_time
from ..generation.settings import GenerationSettings, TaggedSong, read_song
from ..planner.metadata import is_instrumental
from ..scoring.lyric_times import lrc
from ..song import Song
from ..spec import DTYPE_NAMES
from ..system.files import check_destination, existing, write_again, write_whole
from ..system.folders import user_path
from .orders import whole, with_text


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.description = "Find out when each line of a song is sung. Without -o the result is printed."
    parser.set_defaults(run=times)
    parser.add_argument("file", metavar="FILE", help="an audio file; the lyrics are those in its tags")
    parser.add_argument("-o", "--output", metavar="FILE.lrc", help="write the times to this file, and replace it")
    parser.add_argument("--tag", action="store_true", help="write the times into the tags of FILE")
    parser.add_argument("--words", action="store_true", help="times of words too")
    words = parser.add_argument_group("song")
    words.add_argument("--lyrics", metavar="TEXT|@FILE", help="the lyrics (default: those in the tags)")
    words.add_argument("--caption", metavar="TEXT", help="what the song sounds like (default: as in the tags)")
    words.add_argument("--language", metavar="CODE", help="language of the lyrics (default: as in the tags)")
    add_models(parser.add_argument_group("models"))
    parser.add_argument("--json", action="store_true", help="print one line of JSON, with words and the lyric score")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress and no notes")


def add_models(group) -> None:
    """Options for the models that listen."""
    group.add_argument("--models", metavar="NAME", help="tiny, published, a folder or a model (default: of the tags)")
    group.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps (default: a GPU if there is one)")
    group.add_argument("--dtype", choices=DTYPE_NAMES, help="default: the model files' own")


def times(arguments: argparse.Namespace, console: Console):
    path, output = existing(arguments.file), None
    if arguments.output is not None:
        output = _check_output(check_destination(user_path(arguments.output)), path)
    if arguments.tag:
        if not _is_sound(path):
            raise UserError(f"--tag: got {path.name}, expected one of {', '.join(FORMATS)}; take -o song.lrc")
        check_rewritable(path)
    made = tagged_song(arguments.file)
    song = _song(made, arguments)
    cascade = cascade_of(arguments.file, made, arguments, console)
    console.busy("listening ...")
    timed = song_to_time(song, made.settings, model_names_of(made, arguments))
    found = cascade.lyric_times(path, timed, reference=clips_of(made.settings, console))
    _give(found, lrc(found.lines, arguments.words), path, output, arguments, console)


def _check_output(output: Path, song: Path) -> Path:
    """The file for the times. Raises UserError where it is the song itself, or is named as a sound is."""
    if output.exists() and output.samefile(song):
        raise UserError(f"-o: got {output}, which is the song itself, expected another file; take -o song.lrc")
    if _is_sound(output):
        raise UserError(f"-o: got {output}, the name of a sound, expected that of a text; take -o song.lrc")
    return output


def _is_sound(path: Path) -> bool:
    return path.suffix.lower().removeprefix(".") in FORMATS


def tagged_song(file: str) -> TaggedSong:
    """The song in a file's tags; one without words or models where the file holds none. Raises UserError."""
    if "song" in read_tags(file):
        return read_song(file)
    return TaggedSong(Song(""), GenerationSettings(), [], {})


def cascade_of(file: str, made: TaggedSong, arguments: argparse.Namespace, console: Console):
    """The cascade that listens: of --models, else the one that made the song of a file. Raises UserError."""
    from ..checkpoints.cascade_models import find_cascade

    if arguments.models is None and not isinstance(made.models, dict):
        raise UserError(f"{file}: its tags name no models; name those to listen with, such as --models tiny")
    found = find_cascade(**model_names_of(made, arguments))
    console.busy("loading models ...")
    from ..generation.cascade import Cascade

    return Cascade.load(found, device=arguments.device, dtype=arguments.dtype)


def model_names_of(made: TaggedSong, arguments: argparse.Namespace) -> dict:
    """The names of the models that listen, as `find_cascade` takes them."""
    return {"models": whole(arguments.models)} if arguments.models else made.settings.model_names


def clips_of(settings: GenerationSettings, console: Console) -> tuple[Path, ...]:
    """The clips with the timbre of a song that are still there; a note names the others."""
    clips = [user_path(clip) for clip in settings.reference or ()]
    if absent := [str(clip) for clip in clips if not clip.is_file()]:
        console.note(f"note: {', '.join(absent)}: not there any more, the lyrics are timed without")
    return tuple(clip for clip in clips if clip.is_file())


def _song(made: TaggedSong, arguments: argparse.Namespace) -> Song:
    given = {name: getattr(arguments, name) for name in ("caption", "language", "lyrics")}
    given = with_text({name: value for name, value in given.items() if value is not None}, "lyrics")
    song = dataclasses.replace(made.song, **given)
    if is_instrumental(song.lyrics):
        raise UserError(f"{arguments.file}: has no lyrics in its tags; give them, such as --lyrics @words.txt")
    return song


def _give(found, text: str, path: Path, output: Path | None, arguments: argparse.Namespace, console: Console) -> None:
    if output is not None:
        write_whole(output, f"{text}\n".encode())
    if arguments.tag:
        write_again(path, with_tags(path, {TIMED_TAG: text}))
    if arguments.json:
        lines = [asdict(line) for line in found.lines]
        shown = {"file": arguments.file, "lines": lines, "score": found.score.score, **asdict(found.score)}
        console.result(json.dumps({**shown, "lrc": text}, ensure_ascii=False))
    elif output is None and not arguments.tag:
        console.result(text)
    else:
        console.result(f"{output or path}  {len(found.lines)} lines, lyric score {found.score.score:g}")
