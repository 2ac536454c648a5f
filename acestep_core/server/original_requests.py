"""Requests in the original's words -> orders. Its fields have several spellings, and many say nothing to our models.

A field that asks for something that cannot be had here is named in a note, or is an error where the song would be
another one.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ..checkpoints.cascade_models import find_cascade
from ..editing.edit import Edit
from ..editing.source_song import result_song, source_song, words_of
from ..editing.tasks import TRACKS
from ..errors import UserError, shown
from ..generation.planning import planner_for
from ..generation.settings import GenerationSettings
from ..json_text import parse_json
from ..planner.vocabulary import CODE_TOKEN
from ..song import AUTO, FIELD_ALIASES, INSTRUMENTAL, Song, field_name
from .library import SONG_ID, Library
from .orders import PLAN, REWRITE, WRITE, AnswerOrder, PlannerStep, SongsOrder
from .requests import RequestReader, can_follow, check_planner, sampling_of
from .uploads import UPLOAD_ID
from .used_adapters import UsedAdapters

BATCH, FORMAT = 2, "mp3"  # where a request says nothing
DESCRIBED_TASKS = ("text2music", "lego", "complete")  # those that a planner helps with
# Field, in lower case without "_", "-" and spaces -> its name here. Those of a song are in FIELD_ALIASES.
_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "samplequery": "query",
        "description": "query",
        "desc": "query",
        "useformat": "format",
        "format": "format",
        "samplemode": "sample",
        "metas": "metas",
        "metadata": "metas",
        "usermetadata": "metas",
        "audiocodestring": "codes",
        "refaudiopath": "referenceaudiopath",
        "ctxaudiopath": "srcaudiopath",
    }
)
_SONG_FIELDS = ("caption", "lyrics", "bpm", "key", "time_signature", "language", "seconds", "instrumental")
_NOT_HERE = {"shift": (None, 3.0), "cfgintervalstart": (None, 0.0), "cfgintervalend": (None, 1.0)}
_LM = {"lmtemperature": "temperature", "lmtopp": "top_p", "lmtopk": "top_k"}
_LM["lmrepetitionpenalty"] = "repetition_penalty"
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "", "none", "null")
_CODE_DIGITS = 9  # of a number; one that has more is refused for its first ones already
_DEPTHS = {"wav32": ("wav", "32f")}


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of a request, by names without case, "_" and "-"."""

    values: Mapping[str, object]

    @classmethod
    def of(cls, given: Mapping) -> "Fields":
        """With those of a nested `metas` where they are not given at the top."""
        values = dict(_plain(given))
        metas = values.pop("metas", None)
        if isinstance(metas, str) and metas.strip():
            metas = parse_json(metas, "metas", remedy="send a JSON object")
        inner = dict(_plain(metas)) if isinstance(metas, Mapping) else {}
        return cls({**inner, **values})

    def get(self, name: str, usual: object = None) -> object:
        value = self.values.get(name)
        return usual if value is None or value == "" else value

    def is_on(self, name: str, usual: bool = False) -> bool:
        """A truth value, as JSON and as forms have it. Raises UserError."""
        value = self.values.get(name)
        text = str(usual if value is None else value).strip().lower()
        if text not in (*_TRUE, *_FALSE):
            raise UserError(f"{name}: got {shown(value)}, expected true or false")
        return text in _TRUE

    def number(self, name: str, usual: float | None = None) -> float | None:
        """A number, also written as text. Raises UserError."""
        value = self.get(name, usual)
        if value is None:
            return None
        try:
            return float("x" if isinstance(value, bool) else value)
        except (TypeError, ValueError):
            raise UserError(f"{name}: got {shown(value)}, expected a number") from None

    def whole(self, name: str, usual: int | None = None) -> int | None:
        """A whole number, also written as text. Raises UserError."""
        text = self.get(name)
        if isinstance(text, str) and re.fullmatch(r" *[+-]?[0-9]{1,20} *", text):
            return int(text)  # a large one would lose its last digits as a float
        value = self.number(name, usual)
        if value is not None and value != value // 1:
            raise UserError(f"{name}: got {value:g}, expected a whole number")
        return None if value is None else int(value)

    def song(self) -> dict:
        """The fields that a song has, as Song.from_json takes them."""
        names = {name: field for name in self.values if (field := field_name(name)) in _SONG_FIELDS}
        given = {field: self.get(name) for name, field in names.items() if self.get(name) is not None}
        if given.get("seconds") in (0, -1, "0", "-1"):
            del given["seconds"]
        if "instrumental" in given:
            given["instrumental"] = self.is_on(next(name for name in names if names[name] == "instrumental"))
        return given


def _plain(given: Mapping) -> Iterator[tuple[str, object]]:
    for name, value in given.items():
        plain = re.sub(r"[\s_-]", "", str(name)).lower()
        yield _ALIASES.get(plain) or FIELD_ALIASES.get(plain, plain).replace("_", ""), value


@dataclasses.dataclass(frozen=True)
class OriginalRequests:
    """Reads the original's requests by a server's own reader."""

    requests: RequestReader
    used: UsedAdapters = dataclasses.field(default_factory=UsedAdapters)

    @property
    def library(self) -> Library:
        return self.requests.library

    def task(self, given: Mapping) -> tuple[SongsOrder, list[str]]:
        """The order of a `/release_task`, and notes on fields that change nothing here. Raises UserError."""
        fields = Fields.of(given)
        if fields.get("timesteps") is not None:
            raise UserError("timesteps: are not offered here; give inference_steps")
        kind = str(fields.get("tasktype", "text2music"))
        song, asked = fields.song(), self._settings(fields, kind)
        steps = self._steps(fields, kind, asked)
        if kind == "text2music":
            made = Song.from_json({"caption": "", **self._open(song, steps)})
        else:
            made, asked = self._edited(fields, kind, song, asked)
        format = str(fields.get("audioformat", FORMAT)).lower()
        format, depth = _DEPTHS.get(format, (format, None))
        count = fields.whole("batchsize", BATCH)
        file = {"format": format, "bit_depth": depth, "count": count}
        return self.requests.ordered(made, asked, file, steps), _notes(fields)

    def format_input(self, given: Mapping) -> AnswerOrder:
        """The order of a `/format_input`: words written anew. Raises UserError."""
        more = given.get("param_obj") or {}
        more = parse_json(more, "param_obj", remedy="send a JSON object") if isinstance(more, str) else more
        fields = Fields.of({"metas": more, **{key: value for key, value in given.items() if key != "param_obj"}})
        temperature = fields.number("temperature")
        request = {"kind": REWRITE, "song": fields.song()}
        sampling = {} if temperature is None else {"temperature": temperature}
        return self.requests.answer({**request, "sampling": sampling, "planner": self._planner(fields)})

    def clip(self, value: object) -> str:
        """The file that a path field names: a handle, or the name of a song of the library. Raises UserError."""
        name = str(value)
        if UPLOAD_ID.fullmatch(name) or SONG_ID.fullmatch(name):
            return self.requests.clip(name)
        try:
            return str(self.library.path(self.library.by_name(name).id))
        except UserError:
            raise UserError(
                f"audio path: got {shown(name)}, expected a handle or the name of a file in the library; send other "
                "files as src_audio or reference_audio in a form"
            ) from None

    # ---- parts of a task ---------------------------------------------------------------------------------------------

    def _settings(self, fields: Fields, kind: str) -> GenerationSettings:
        given: dict = {"models": fields.get("model"), "steps": fields.whole("inferencesteps")}
        given["solver"] = {"ode": None, "sde": "sde"}.get(str(fields.get("infermethod", "ode")), "unknown")
        seed = str(fields.get("seed", -1)).split(",")[0].strip()
        if not fields.is_on("userandomseed", True) and seed not in ("-1", ""):
            given["seed"] = Fields({"seed": seed}).whole("seed")
        codes = _codes(fields.get("codes")) if fields.is_on("thinking") and kind == "text2music" else None
        asked = self.requests.asked({**given, "codes": codes})
        if fields.get("referenceaudiopath") is not None:
            asked = dataclasses.replace(asked, reference=(self.clip(fields.get("referenceaudiopath")),))
        settings = self.requests.with_defaults(dataclasses.replace(asked, lora=self.used.loras() or None))
        scale = fields.number("guidancescale")
        if scale is not None and not _is_distilled(settings):
            name = "adg" if fields.is_on("useadg") else "apg"
            settings = dataclasses.replace(settings, guidance=f"{name}:{scale:g}")
        return settings

    def _steps(self, fields: Fields, kind: str, settings: GenerationSettings) -> tuple[PlannerStep, ...]:
        """What a planner is asked before the song is made."""
        query, sample = str(fields.get("query", "")), fields.is_on("sample")
        thinking = fields.is_on("thinking") and kind in DESCRIBED_TASKS and settings.codes is None
        kinds = [WRITE] * bool(query or sample) + [REWRITE] * (fields.is_on("format") and not query)
        kinds += [PLAN] * (thinking and kind == "text2music")
        if not kinds:
            return ()
        planner, sampling = check_planner(self._planner(fields) or planner_for(settings.model_names)), _sampling(fields)
        codes = thinking and can_follow(planner, settings)
        line = query or str(fields.song().get("caption") or "a song")
        instrumental = fields.song().get("instrumental") is True
        return tuple(PlannerStep(one, planner, line, instrumental, codes, sampling=sampling) for one in kinds)

    def _planner(self, fields: Fields) -> str | None:
        name = fields.get("lmmodelpath")
        return None if name is None else str(name)

    def _open(self, song: dict, steps: tuple[PlannerStep, ...]) -> dict:
        """A song's fields; what a planner may fill in stays open where one is asked."""
        usual = {"seconds": AUTO} if steps else {}
        return {**usual, "lyrics": INSTRUMENTAL, **song}

    def _edited(
        self, fields: Fields, kind: str, words: dict, settings: GenerationSettings
    ) -> tuple[Song, GenerationSettings]:
        if fields.get("srcaudiopath") is None:
            raise UserError(f"{kind}: got no source, expected src_audio in a form, or a handle as src_audio_path")
        source = self.clip(fields.get("srcaudiopath"))
        edit = Edit.from_given({"task": kind, **_edit_fields(fields, kind)})
        known = source_song(source, edit)
        base = dataclasses.asdict(words_of(edit, known))
        named = Song.from_json({"caption": "", **words})
        song = Song(**{**base, **{name: getattr(named, name) for name in words if name in base}})
        settings = dataclasses.replace(settings, source=source, edit=edit.given())
        return result_song(edit, song, known), settings


def _edit_fields(fields: Fields, kind: str) -> dict:
    if kind == "repaint":
        end = fields.number("repaintingend", -1.0)
        return {"regions": ((fields.number("repaintingstart", 0.0), None if end < 0 else end),)}
    if kind == "cover":
        strength = fields.number("audiocoverstrength", 1.0)
        return {} if strength == 1 else {"structure": strength}
    named = " ".join(str(fields.get(name, "")) for name in ("trackname", "trackclasses", "instruction")).lower()
    tracks = tuple(track for track in TRACKS if re.search(rf"\b{re.escape(track).replace('_', '[_ ]')}\b", named))
    return {"tracks": tracks if kind == "complete" else tracks[:1]}


def _codes(given: object) -> list[int] | None:
    """Audio codes as the original writes them: <|audio_code_123|>..., a list of such texts, or numbers."""
    text = " ".join(map(str, given)) if isinstance(given, list) else str(given or "")
    found = re.findall(CODE_TOKEN, text) or re.findall(r"[0-9]+", text)
    return [int(code[:_CODE_DIGITS]) for code in found] or None


def _sampling(fields: Fields) -> dict:
    given = {ours: fields.number(theirs) for theirs, ours in _LM.items() if fields.get(theirs) is not None}
    if (scale := fields.number("lmcfgscale")) is not None:
        given["guidance"] = max(scale, 1.0)
    if "top_k" in given:
        given["top_k"] = fields.whole("lmtopk")
    return sampling_of(given)


def _is_distilled(settings: GenerationSettings) -> bool:
    """Whether all models run without guidance, as turbo models do."""
    return all(defaults.valid_times is not None for defaults in find_cascade(**settings.model_names).defaults)


def _notes(fields: Fields) -> list[str]:
    """Fields that a client changed and that change nothing here."""
    unused = [name for name, usual in _NOT_HERE.items() if name in fields.values and fields.number(name) not in usual]
    return [f"{name}: is not offered here and was not used" for name in unused]
