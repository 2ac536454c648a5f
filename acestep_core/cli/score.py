"""`acestep-cascade score`: judges songs by tempo, key, level, silence, ending, form, and where asked, by models."""

import argparse
import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence

from ..checkpoints.cascade_models import find_cascade
from ..console import Console
from ..errors import UserError
from ..generation.making import named
from ..generation.planning import planner_for
from ..planner.metadata import is_instrumental
from ..song import Song
from ..spec import MAX_SECONDS
from ..system.folders import user_path
from .lrc import add_models, cascade_of, clips_of, model_names_of, tagged_song
from .orders import read_text, whole, with_text


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]):
    parser.description = "Judge songs, each against the song in its tags. The best is named first."
    parser.set_defaults(run=score)
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio files; several count as takes of one song")
    asked = parser.add_argument_group("what was asked for (default: as in the tags)")
    asked.add_argument("--song", metavar="FILE.json", help="a song as JSON; other options override its fields")
    asked.add_argument("--caption", metavar="TEXT", help="what it sounds like, for --planner")
    asked.add_argument("--lyrics", metavar="TEXT|@FILE", help="the lyrics, for --words")
    asked.add_argument("--bpm", metavar="N", help="tempo")
    asked.add_argument("--key", metavar="KEY", help='key, such as "A minor"')
    judges = parser.add_argument_group("judges that need models")
    judges.add_argument("--words", action="store_true", help="whether the lyrics are found in the music")
    judges.add_argument(
        "--planner",
        nargs="?",
        const="",
        metavar="NAME",
        help="whether a planner, this one or one of the models' family, finds caption and words in its codes",
    )
    add_models(parser.add_argument_group("models"))
    parser.add_argument("--json", action="store_true", help="print one line of JSON for each file")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress and no notes")


def score(arguments: argparse.Namespace, console: Console):
    judge, takes = _Judge(arguments, console), []
    for number, file in enumerate(arguments.files, start=1):
        console.busy(f"listening to {number} of {len(arguments.files)} ...")
        try:
            with _named(file):
                takes.append((file, judge.take(file)))
        except UserError as exc:
            if len(arguments.files) == 1:
                raise
            console.error(str(exc))
    takes.sort(key=lambda pair: -pair[1].total)
    for file, take in takes:
        if arguments.json:
            console.result(json.dumps({"file": file, "seed": take.seed, **take.scores()}, ensure_ascii=False))
        else:
            console.result(f"{file}  {take.line()}")
    if bad := len(arguments.files) - len(takes):
        raise UserError(f"{bad} of {len(arguments.files)} files were not scored; see above")


@contextlib.contextmanager
def _named(file: str) -> Iterator[None]:
    """User errors within begin with the name of the file, once."""
    try:
        with named(None):
            yield
    except UserError as exc:
        has_name = str(exc).startswith((f"{file}: ", f"{user_path(file)}: "))
        raise UserError(str(exc) if has_name else f"{file}: {exc}") from exc


class _Judge:
    """Judges files one after another; models are loaded once for files of the same models."""

    def __init__(self, arguments: argparse.Namespace, console: Console):
        self._arguments, self._console = arguments, console
        self._cascade, self._names = None, None
        self._planners: dict = {}
        self._asked = self._fields()  # a mistake in these is one of the command, not of its files
        self._song = Song.from_json(read_text(arguments.song)) if arguments.song else None
        dataclasses.replace(self._song or Song(""), **self._asked)
        listens = arguments.words or arguments.planner is not None
        if listens and arguments.models is not None:
            find_cascade(whole(arguments.models))
        if arguments.planner:
            self._planner(arguments.planner)

    def take(self, file: str):
        from .. import audio
        from ..scoring.judges import FinishedSong, judged
        from ..scoring.ranking import Take

        made = tagged_song(file)
        song = dataclasses.replace(self._song or made.song, **self._asked)
        wave = audio.read(file, MAX_SECONDS)
        words, codes = self._words(made, file, song), self._codes(made, wave, file, song)
        return Take(made.settings.seed, judged(FinishedSong(wave, song, words, codes)))

    def _fields(self) -> dict[str, str]:
        """The fields of a song that options give."""
        given = {name: getattr(self._arguments, name) for name in ("caption", "lyrics", "bpm", "key")}
        return with_text({name: value for name, value in given.items() if value is not None}, "lyrics")

    def _words(self, made, file: str, song: Song):
        if not self._arguments.words or is_instrumental(song.lyrics):
            return None
        clips = clips_of(made.settings, self._console)
        return self._listening(made, file).lyric_times(file, song, reference=clips).score

    def _codes(self, made, wave, file: str, song: Song):
        if self._arguments.planner is None:
            return None
        from ..planner.audio_codes import codebook_of_models, codes_of_audio
        from ..scoring.planner_score import score_of_song

        cascade = self._listening(made, file)
        codes = codes_of_audio(wave, cascade.models, self._arguments.device or "cpu", file)
        planner = self._planner(self._arguments.planner or planner_for(model_names_of(made, self._arguments)))
        return score_of_song(planner, codes, song, codebook_of_models(cascade.models))

    def _planner(self, name: str):
        if name not in self._planners:
            from ..planner.planner import Planner

            self._console.busy("loading the planner ...")
            self._planners[name] = Planner.load(name, device=self._arguments.device)
        return self._planners[name]

    def _listening(self, made, file: str):
        names = made.settings.model_names
        if self._cascade is None or (self._arguments.models is None and names != self._names):
            self._cascade, self._names = cascade_of(file, made, self._arguments, self._console), names
        return self._cascade
