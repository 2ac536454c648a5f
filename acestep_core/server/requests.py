"""Requests in JSON -> orders: the same Song, GenerationSettings and Edit as the command line makes, and its errors.

Nothing that a client names is opened as it stands: sounds are handles, models and adapters are names that are known.
"""

import dataclasses
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..audio.formats import choose_format
from ..checkpoints.cascade_models import CASCADES, find_cascade
from ..checkpoints.registry import KNOWN, PLANNER, known_model
from ..editing.edit import DEFAULT_AMOUNT, Edit
from ..editing.regions import BarTimes, is_in_bars, parse_region
from ..editing.source_song import result_song, song_of_file, source_song, words_of
from ..errors import UserError, did_you_mean, shown
from ..generation.making import DEFAULT_FORMAT, SEEDS_DRAWN_BELOW, check_files, check_sampling
from ..generation.planning import cascade_for, follow_codes, planner_for, wants_plan, without_foreign_codes
from ..generation.settings import MODEL_OPTIONS, GenerationSettings, TaggedSong
from ..generation.song_files import SongFile
from ..lora.find import Lora, list_adapters
from ..scoring.take_settings import TakeSettings
from ..song import AUTO, INSTRUMENTAL, Song, check_seed, check_text, field_name
from .fields import check_fields, flag_of, number_of, object_of, whole_of
from .library import SONG_ID, Library
from .listening import FIELDS as LISTEN_FIELDS
from .listening import KINDS as LISTEN_KINDS
from .listening import ListenOrder, order_of
from .orders import (
    LABEL,
    PLAN,
    REWRITE,
    SONGS,
    TRAIN_LORA,
    UNDERSTAND,
    WRITE,
    AnswerOrder,
    Order,
    PlannerStep,
    SongsOrder,
)
from .training_reader import TrainingReader
from .uploads import UPLOAD_ID, Uploads

COUNT_MOST, TAKES_MOST = 8, 32
PREVIEW_SECONDS_MOST = 30.0
SONG_FIELDS = ("kind", "song", "settings", "edit", "again", "write", "plan", "count", "preview_seconds")
TAKE_FIELDS = {"best_of": "count", "keep": "keep", "retry_below": "retry_below", "draft": "draft"}
FILE_FIELDS = tuple(column.name for column in dataclasses.fields(SongFile))
ANSWER_FIELDS = ("kind", "song", "line", "instrumental", "source", "models", "planner", "seed", "sampling", "codes")
KINDS = (SONGS, PLAN, WRITE, REWRITE, UNDERSTAND, TRAIN_LORA, LABEL, *LISTEN_KINDS)
# Settings that name sounds on disk, or that a request gives in a place of its own.
_NOT_SETTINGS = ("source", "edit")
_HANDLE = "the handle of an upload (u_...) or of a song (s_...)"


@dataclass(frozen=True)
class RequestReader:
    """Reads requests of a server. `defaults` has the models and number formats that it was started with."""

    library: Library
    uploads: Uploads
    defaults: GenerationSettings = GenerationSettings()

    def order(self, given: Mapping) -> Order | ListenOrder:
        """The order of a request to the job API. Raises UserError."""
        kind = given.get("kind", SONGS)
        if kind not in KINDS:
            raise UserError(f"kind: got {shown(kind)}, expected one of {', '.join(KINDS)}")
        readers = {SONGS: self.songs, TRAIN_LORA: self.training.train_lora, LABEL: self.training.label}
        readers |= dict.fromkeys(LISTEN_KINDS, self._listen)
        return readers.get(kind, self.answer)(given)

    @property
    def training(self) -> TrainingReader:
        """The reader of requests about trainings."""
        return TrainingReader(self.library.own_folder, self.check_models)

    def _listen(self, given: Mapping) -> ListenOrder:
        check_fields(given, LISTEN_FIELDS)
        return order_of(given, self)

    # ---- songs -------------------------------------------------------------------------------------------------------

    def songs(self, given: Mapping) -> SongsOrder:
        """Songs, from text or from music that is there. Raises UserError."""
        check_fields(given, (*SONG_FIELDS, *TAKE_FIELDS, *FILE_FIELDS))
        asked, words = self.asked(object_of(given, "settings")), object_of(given, "song")
        if given.get("again") is not None:
            made = self.library.tagged(str(given["again"]))
            song, settings = _over(made.song, words), self._again(made, asked)
        elif given.get("edit") is not None:
            song, settings = self._edit(object_of(given, "edit"), words, asked)
        else:
            usual = {"caption": "", "lyrics": "", "seconds": AUTO} if given.get("write") else {}
            song, settings = Song.from_json({**usual, **words}), self.with_defaults(asked)
        return self.ordered(song, settings, given, self._steps(given, settings))

    def ordered(
        self, song: Song, settings: GenerationSettings, given: Mapping, steps: tuple[PlannerStep, ...] = ()
    ) -> SongsOrder:
        """The order of a song: with its seeds, and the form of its files, which are fields of `given`."""
        if not song.caption.strip() and settings.edit is None and not any(step.kind == WRITE for step in steps):
            raise UserError("caption: is empty; say what the song sounds like")
        count, takes = whole_of(given, "count", 1, COUNT_MOST, 1), _takes(given)
        drawn = secrets.randbelow(SEEDS_DRAWN_BELOW)
        first = drawn if settings.seed is None else check_seed(settings.seed, count * takes.seeds)
        check_files(settings)
        check_sampling(settings)
        by_noise = object_of(given, "edit").get("task") == "retake"
        if takes.are_wanted and by_noise:
            raise UserError("best_of: retakes differ by their noise, not by their seed; expected `count` instead")
        several = tuple(_numbered(settings, first, item, takes.seeds, by_noise) for item in range(count))
        preview = number_of(given, "preview_seconds", 0, PREVIEW_SECONDS_MOST, 0)
        return SongsOrder(song, several, _file(given), steps, preview, takes)

    def asked(self, given: Mapping) -> GenerationSettings:
        """The settings of a request, with files in place of handles. Raises UserError."""
        for name in _NOT_SETTINGS:
            if name in given:
                raise UserError(f"settings: got {name}; give `edit` beside the settings, with its source")
        given = {name: value for name, value in given.items() if value is not None}
        if given.get("seed") == -1:  # any, in the original
            del given["seed"]
        asked = GenerationSettings.from_given(given)
        self.check_models(asked)
        reference = tuple(map(self.clip, asked.reference or ())) or None
        return dataclasses.replace(
            asked, reference=reference, continue_from=asked.continue_from and self.clip(asked.continue_from)
        )

    def with_defaults(self, asked: GenerationSettings) -> GenerationSettings:
        """Settings over the server's own, whose models stay out where the request names some."""
        own = self.defaults.given()
        if _names_models(asked):
            own = {name: value for name, value in own.items() if name not in MODEL_OPTIONS}
        return GenerationSettings(**{**own, **asked.given()})

    def clip(self, handle: object) -> str:
        """The file of a handle. Raises UserError."""
        if isinstance(handle, str) and UPLOAD_ID.fullmatch(handle):
            return str(self.uploads.path(handle))
        if isinstance(handle, str) and SONG_ID.fullmatch(handle):
            return str(self.library.path(handle))
        raise UserError(f"sound: got {shown(handle)}, expected {_HANDLE}; send the file to /v1/uploads first")

    def handle(self, path: str) -> str:
        """The handle of a file that a song was made of, or its bare name."""
        place = Path(path)
        if UPLOAD_ID.fullmatch(place.stem):
            return place.stem
        inside = place.is_relative_to(self.library.folder)
        name = place.relative_to(self.library.folder).as_posix() if inside else place.name
        try:
            return self.library.by_name(name).id if inside else name
        except UserError:
            return name

    def shown_settings(self, settings: GenerationSettings) -> dict:
        """Settings as a client may see them: with handles in place of paths."""
        given = settings.given()
        for name in ("continue_from", "source"):
            if name in given:
                given[name] = self.handle(given[name])
        if "reference" in given:
            given["reference"] = [self.handle(path) for path in given["reference"]]
        for name in (*MODEL_OPTIONS, "planner"):
            if name in given:
                given[name] = bare(given[name])
        if "lora" in given:
            given["lora"] = [bare(name) for name in given["lora"]]
        return given

    def check_models(self, settings: GenerationSettings) -> None:
        """Raises UserError for models and adapters that are no known names."""
        own = self.defaults.given()
        for name in MODEL_OPTIONS:
            asked = getattr(settings, name)
            if asked and asked.lower() not in CASCADES and known_model(asked) is None and asked != own.get(name):
                near = did_you_mean(asked, (*CASCADES, *KNOWN))
                raise UserError(f"{name}: got {shown(asked)}{near}, expected a model that /v1/models lists")
        adapters = list_adapters(quick=True) if settings.lora else {}
        for lora in settings.lora or ():
            if (adapter := Lora.parse(lora).adapter) not in adapters and f"{adapter}.safetensors" not in adapters:
                near = did_you_mean(adapter, adapters)
                raise UserError(f"lora: got {shown(adapter)}{near}, expected an adapter that /v1/models lists")

    def _again(self, made: TaggedSong, asked: GenerationSettings) -> GenerationSettings:
        """The settings of a song's tags, with others in their place."""
        kept = made.settings
        if _names_models(asked):
            kept = dataclasses.replace(kept, **dict.fromkeys(MODEL_OPTIONS))
        elif not isinstance(made.models, dict):
            raise UserError("again: this song was made in ComfyUI; name models here, such as settings.models tiny")
        if asked.codes:
            return dataclasses.replace(kept, **{"codebook": None, **asked.given()})
        return without_foreign_codes(dataclasses.replace(kept, **asked.given()))

    def _edit(self, given: Mapping, words: Mapping, asked: GenerationSettings) -> tuple[Song, GenerationSettings]:
        source = self.clip(given.get("source"))
        given = {name: value for name, value in given.items() if name != "source" and value is not None}
        if given.get("task") == "retake":
            return self._retake(source, given, asked)
        if "regions" in given:
            given["regions"] = _regions(given["regions"], source, _over(song_of_file(source) or Song(""), words))
        edit = Edit.from_given(given)
        known = source_song(source, edit)
        song = result_song(edit, _over(words_of(edit, known), words), known)
        return song, dataclasses.replace(self.with_defaults(asked), source=source, edit=edit.given())

    def _retake(self, source: str, given: dict, asked: GenerationSettings) -> tuple[Song, GenerationSettings]:
        """The song of the source's tags with other noise; a seed in `asked` is the seed of that noise."""
        Edit.from_given(given)  # refuses what other tasks take
        made = self.library.tagged(self.handle(source))
        made.settings.check_source()
        if made.settings.seed is None:
            raise UserError("retake: the tags of this song have no seed, of which a retake is a variation")
        seed = secrets.randbelow(SEEDS_DRAWN_BELOW) if asked.seed is None else asked.seed
        settings = self._again(made, dataclasses.replace(asked, seed=None))
        own = settings.edit or {"task": "retake"}
        edit = {"amount": DEFAULT_AMOUNT, "retake_seed": seed, **given, "task": own["task"]}
        return made.song, dataclasses.replace(settings, edit={**own, **edit}, source=settings.source or source)

    def _steps(self, given: Mapping, settings: GenerationSettings) -> tuple[PlannerStep, ...]:
        """What a planner is asked first: to write the words from the line `write`, and to fill in what is open."""
        plan, line = given.get("plan"), given.get("write")
        planned = self._plan(plan, settings)
        if line is None:
            return planned
        if not isinstance(line, str) or not line.strip() or given.get("edit") or given.get("again"):
            raise UserError(f"write: got {shown(line)}, expected a few words about a song that is made from text")
        planner = check_planner(plan if isinstance(plan, str) else planner_for(settings.model_names))
        instrumental = object_of(given, "song").get("instrumental") is True
        return (PlannerStep(WRITE, planner, line, instrumental), *planned)

    def _plan(self, plan: object, settings: GenerationSettings) -> tuple[PlannerStep, ...]:
        """`plan`: false, true, or the name of a planner."""
        if not isinstance(plan, bool | str | None):
            raise UserError(f"plan: got {shown(plan)}, expected true, false or the name of a planner")
        if not plan or not wants_plan(settings):
            return ()
        planner = check_planner(planner_for(settings.model_names) if plan is True else plan)
        return (PlannerStep(PLAN, planner, codes=can_follow(planner, settings)),)

    # ---- answers of a planner ----------------------------------------------------------------------------------------

    def answer(self, given: Mapping) -> AnswerOrder:
        """A question to a planner. Raises UserError."""
        check_fields(given, ANSWER_FIELDS)
        kind = given["kind"]
        words = {"seconds": AUTO, **object_of(given, "song")}
        song = Song.from_json({"caption": "", "lyrics": "" if kind == WRITE else INSTRUMENTAL, **words})
        line = str(given.get("line") or "")
        if kind == WRITE and not line.strip():
            raise UserError("write: got an empty line, expected a few words about the song")
        if kind in (PLAN, REWRITE) and not song.caption.strip() and song.lyrics.strip() in ("", INSTRUMENTAL):
            raise UserError('got neither a caption nor lyrics; say what the song is, such as "lo-fi beat"')
        source = self.clip(given.get("source")) if kind == UNDERSTAND else None
        step = PlannerStep(
            kind,
            check_planner(given.get("planner")),
            line,
            flag_of(given, "instrumental", False),
            flag_of(given, "codes", True),
            source,
            self._tokenizer_models(given) if source else None,
            sampling_of(object_of(given, "sampling")),
        )
        drawn = secrets.randbelow(SEEDS_DRAWN_BELOW)
        return AnswerOrder(step, song, whole_of(given, "seed", 0, SEEDS_DRAWN_BELOW, drawn))

    def _tokenizer_models(self, given: Mapping) -> str:
        models = str(given.get("models") or cascade_for(given.get("planner")))
        self.check_models(GenerationSettings(models=models))
        find_cascade(models)
        return models


def check_planner(name: object) -> str | None:
    """The name of a planner that is here, None for any that is. Raises UserError, CheckpointError."""
    if name is not None and (not isinstance(name, str) or known_model(name, PLANNER) is None):
        raise UserError(f"planner: got {shown(name)}, expected a planner that /v1/models lists")
    from ..planner.load import read_planner

    read_planner(name)
    return name


def can_follow(planner: str | None, settings: GenerationSettings) -> bool:
    """Whether a song's models follow the codes of a planner that is here. Raises CheckpointError."""
    from ..planner.load import read_planner

    return follow_codes(settings.model_names, read_planner(planner).words.codes)


def sampling_of(given: Mapping) -> dict[str, float]:
    """Fields of a planner's sampling. Raises UserError."""
    from ..planner.sampling import Sampling

    check_fields(given, tuple(column.name for column in dataclasses.fields(Sampling)))
    sampling = {name: value for name, value in given.items() if value is not None}
    Sampling(**sampling)
    return sampling


def _names_models(settings: GenerationSettings) -> bool:
    return any(getattr(settings, name) for name in MODEL_OPTIONS)


def _numbered(settings: GenerationSettings, first: int, item: int, seeds: int, by_noise: bool) -> GenerationSettings:
    """The settings of one of several songs, of `seeds` seeds each: the seed goes on, or that of a retake's noise."""
    if by_noise:
        edit = {**settings.edit, "retake_seed": settings.edit["retake_seed"] + item}
        return dataclasses.replace(settings, edit=edit)
    planned = settings.planner_seed is not None and settings.codes is None
    more = {"planner_seed": settings.planner_seed + item} if planned else {}
    return dataclasses.replace(settings, seed=first + item * seeds, **more)


def _over(song: Song, words: Mapping) -> Song:
    """A song with other words in their place, under any name that songs in JSON may have."""
    if not words:
        return song
    read = asdict(Song.from_json({"caption": "", **words}))
    named = {field_name(str(name)) for name, value in words.items() if value is not None}
    named |= {"lyrics"} if "instrumental" in named else set()
    return Song(**{**asdict(song), **{name: value for name, value in read.items() if name in named}})


def _regions(given: object, source: str, song: Song) -> tuple:
    """Regions as texts ("10-20", "bars 8-12") or pairs of seconds. Bars are of the tempo and metre in the tags of the
    source, and of those of `song` where they have none.
    """
    if not isinstance(given, list):
        raise UserError(f'regions: got {shown(given)}, expected a list such as [[10, 20]] or ["bars 8-12"]')
    bars: BarTimes | None = None
    if any(isinstance(one, str) and is_in_bars(one) for one in given):
        from ..editing.bars import bar_times

        known = song_of_file(source) or song
        missing = {name: getattr(song, name) for name in ("bpm", "time_signature") if getattr(known, name) is None}
        bars, _ = bar_times(source, dataclasses.replace(known, **missing))
    return tuple(parse_region(one, bars) if isinstance(one, str) else one for one in given)


def _file(given: Mapping) -> SongFile:
    """The form of the files of a request. Raises UserError."""
    named = {name: given[name] for name in FILE_FIELDS if given.get(name) is not None}
    for name in ("title", "artist", "format"):
        if not isinstance(named.get(name, ""), str):
            raise UserError(f"{name}: got {shown(named[name])}, expected text")
        check_text(name, named.get(name, ""))
    format, depth = str(named.get("format", DEFAULT_FORMAT)).lower(), named.get("bit_depth")
    choose_format(f"song.{format}", format, depth)
    depth = None if depth is None else str(depth)
    switches = {name: flag_of(named, name, False) for name in ("keep_latents", "lrc", "lrc_words")}
    switches["lrc"] |= switches["lrc_words"]
    return SongFile(format, depth, named.get("title"), named.get("artist"), **switches)


def _takes(given: Mapping) -> TakeSettings:
    """The takes that each song of a request is chosen among. Raises UserError."""
    named = {ours: given[name] for name, ours in TAKE_FIELDS.items() if given.get(name) is not None}
    for name, ours in TAKE_FIELDS.items():
        if ours != "retry_below" and ours in named:
            whole_of(given, name, 1, 100 if ours == "draft" else TAKES_MOST, 1)
    if "retry_below" in named:
        number_of(given, "retry_below", 0, 1, 0)
    return TakeSettings(**named)


def bare(name: str) -> str:
    """The last part of a path; a name stays as it is."""
    return name.replace("\\", "/").rpartition("/")[2]
