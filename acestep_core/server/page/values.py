"""The values of a form's fields -> requests as the API takes them, and a song's tags -> values. No Gradio.

A field that is empty, or at its first choice "auto", says nothing, so that models and server decide.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields

from ...editing.regions import split_regions
from ...editing.tasks import REGIONS, TASKS
from ...errors import UserError, shown
from ...generation.settings import GenerationSettings, TaggedSong
from ...lora.find import Lora
from ...planner.vocabulary import CODE_TOKEN
from ...song import AUTO, INSTRUMENTAL, UNKNOWN_LANGUAGE, Song
from ...spec import DEFAULT_SECONDS, SLOTS
from ...training.settings import LoraSettings

ADAPTERS = 3
ALL_STAGES = "all"
MODELS = ("models", "l", "m", "s", "text_encoder", "vocoder", "dtype", "vocoder_dtype", "quantise")
NUMBERS = ("loudness", "codes_strength")
PLAIN = ("seed", *MODELS, "solver", *NUMBERS, "planner_seed")
EDIT_NUMBERS = ("strength", "before", "after", "structure", "closeness", "morph_begin", "morph_end")
FILE = ("format", "bit_depth", "title", "artist")
TAKES = {"best_of": "whole", "keep": "whole", "draft": "whole", "retry_below": "number"}
SWITCHES = ("keep_latents", "lrc", "lrc_words")
SAMPLING = ("temperature", "top_p", "top_k", "repetition_penalty", "guidance")

# Settings of a training, all but the steps, with their defaults.
TRAINED = {row.name: row.default for row in fields(LoraSettings) if row.name not in ("steps", "seed")}
INTERVALS = ("save_every", "measure_every", "preview_every")

Values = Mapping[str, object]


def is_empty(value: object) -> bool:
    return value is None or value == [] or (isinstance(value, str) and value.strip() in ("", AUTO))


def song_of(values: Values, *, changes: bool = False) -> dict:
    """The field `song` of a request. `changes`: of words that replace some of a source's, so that nothing is usual."""
    given = {name: values.get(name) for name in ("caption", "lyrics", "bpm", "key", "time_signature", "language")}
    song = {name: value for name, value in given.items() if not is_empty(value)}
    if "bpm" in song:
        song["bpm"] = _whole("tempo", song["bpm"])
    if changes:
        return song
    if values.get("instrumental"):
        song["lyrics"] = INSTRUMENTAL
    song["seconds"] = AUTO if values.get("auto_length") else values.get("seconds") or DEFAULT_SECONDS
    return {"caption": "", "lyrics": "", **song}


def settings_of(values: Values) -> dict:
    """The field `settings` of a request. Raises UserError."""
    settings = {name: values[name] for name in PLAIN if not is_empty(values.get(name))}
    readers = {"seed": _whole, "planner_seed": _whole, **dict.fromkeys(NUMBERS, _number)}
    settings |= {
        name: read(name.replace("_", " "), settings[name]) for name, read in readers.items() if name in settings
    }
    more = {
        "steps": _per_stage("steps", values, lambda value: _whole("steps", value)),
        "guidance": _per_stage("guidance", values, _guidance),
        "boundaries": _boundaries(values),
        "lora": list(_adapters(values)),
        "codes": codes_of(values.get("codes")),
        "reference": _handles(values.get("reference")),
        "continue_from": next(iter(_handles(values.get("continue_from"))), None),
        "dcw": values.get("dcw") or None,
    }
    settings |= {name: value for name, value in more.items() if value not in (None, [])}
    if "codes" not in settings and not values.get("plan"):
        settings.pop("codes_strength", None)
    return settings


def request_of(values: Values) -> dict:
    """The request for songs from text."""
    request = {"song": song_of(values), "settings": settings_of(values), **_file(values)}
    if values.get("plan"):
        request["plan"] = True if is_empty(values.get("planner")) else values["planner"]
    else:
        request["settings"].pop("planner_seed", None)
    return request


def simple_request(values: Values, *, has_planner: bool) -> dict:
    """The request for a song from a line: a planner writes its words where there is one."""
    line = str(values.get("line") or "").strip()
    if not line:
        raise UserError("line: is empty; say in a few words what the song is")
    length = AUTO if values.get("auto_length") else values.get("seconds") or DEFAULT_SECONDS
    if not has_planner:
        return {"song": {"caption": line, "lyrics": INSTRUMENTAL, "seconds": length}}
    song = {"seconds": length, "instrumental": bool(values.get("instrumental"))}
    if not is_empty(values.get("language")):
        song["language"] = values["language"]
    return {"write": line, "plan": True, "song": song}


def edit_requests(values: Values) -> list[dict]:
    """The requests for edits of a source, one for each stem, with what their task takes. Raises UserError."""
    task = TASKS[str(values["task"])]
    source = next(iter(_handles(values.get("source"))), None)
    if source is None:
        raise UserError(f"{task.name}: got no source; upload or record a sound, or choose a song of the library")
    given = {name: _edit_value(name, values) for name in task.takes}
    edit = {"task": task.name, "source": source, **{name: one for name, one in given.items() if not is_empty(one)}}
    song = {} if task.name == "retake" else song_of(values, changes=True)
    request = {"song": song, "settings": settings_of(values), **_file(values)}
    if not task.is_stem or "tracks" not in edit:
        return [{"edit": edit, **request}]
    return [{"edit": {**edit, "tracks": [track]}, **request} for track in edit["tracks"]]


def _edit_value(name: str, values: Values) -> object:
    value = values.get(name)
    if name == REGIONS:
        return list(split_regions(str(value or "")))
    if name == "codes":
        return False if values.get("without_codes") else None
    if name == "retake_seed":
        return None  # is the seed of the settings
    read = _whole if name == "averages" else _number if name in EDIT_NUMBERS else None
    return value if read is None or is_empty(value) else read(name.replace("_", " "), value)


def planner_request(values: Values) -> dict:
    """The request for an answer of a planner."""
    kind = str(values["verb"])
    request: dict = {"kind": kind}
    if kind == "understand":
        request["source"] = next(iter(_handles(values.get("source"))), None)
        if request["source"] is None:
            raise UserError("understand: got no sound; upload or record one, or choose a song of the library")
        request["models"] = values.get("models")
    else:
        request["song"] = song_of(values)
    if kind == "write":
        request["line"] = str(values.get("line") or "")
        request["instrumental"] = bool(values.get("write_instrumental"))
        request["song"] = {name: value for name, value in request["song"].items() if name not in ("caption", "lyrics")}
    if kind == "plan":
        request["codes"] = bool(values.get("write_codes"))
    given = {name: values.get(f"lm_{name}") for name in SAMPLING}
    readers = {"top_k": _whole}
    sampling = {name: readers.get(name, _number)(name, one) for name, one in given.items() if not is_empty(one)}
    seed = values.get("planner_seed")
    request |= {"planner": values.get("planner"), "sampling": sampling or None}
    request["seed"] = None if is_empty(seed) else _whole("seed", seed)
    return {name: value for name, value in request.items() if not is_empty(value)}


def train_request(values: Values) -> dict:
    """The request for a training. Raises UserError."""
    request = {"kind": "train_lora", "dataset": values.get("dataset"), "name": str(values.get("name") or "").strip()}
    request |= {"model": values.get("model") or None, "trigger": values.get("trigger") or None}
    wholes = {name: values.get(name) for name in ("vram", *INTERVALS)}
    request |= {name: _whole(name.replace("_", " "), one) for name, one in wholes.items() if not is_empty(one)}
    if captions := [line.strip() for line in str(values.get("preserve_captions") or "").splitlines() if line.strip()]:
        request["preserve_captions"] = captions
    given = {"steps": values.get("train_steps"), **{name: values.get(name) for name in TRAINED}}
    chosen = {name: one for name, one in given.items() if not is_empty(one) and one is not False}
    return {**request, "settings": {name: _trained(name, one) for name, one in chosen.items()}}


def _trained(name: str, value: object) -> object:
    """A setting of a training, of the kind that it has by default. Raises UserError."""
    usual = TRAINED.get(name)
    if isinstance(value, bool | list) or isinstance(usual, str):
        return value
    read = _number if isinstance(usual, float | None) and name != "steps" else _whole
    return read(name.replace("_", " "), value)


def values_of(made: TaggedSong, settings: Mapping) -> dict:
    """The values of the fields with which a song can be made again. `settings`: its own, with handles for paths."""
    return {**song_values(made.song), **_setting_values(GenerationSettings.from_given(settings))}


def song_values(song: Song) -> dict:
    """The values of the fields of words."""
    given = asdict(song)
    instrumental = song.lyrics.strip() in ("", INSTRUMENTAL)
    language = "" if song.language == UNKNOWN_LANGUAGE else song.language
    length = {"seconds": DEFAULT_SECONDS if song.seconds == AUTO else song.seconds, "auto_length": song.seconds == AUTO}
    open_fields = {name: given[name] or "" for name in ("key", "time_signature")}
    words = {"lyrics": "" if instrumental else song.lyrics, "instrumental": instrumental, "language": language}
    return {"caption": song.caption, "bpm": song.bpm, **words, **length, **open_fields}


def _setting_values(settings: GenerationSettings) -> dict:
    values: dict = {name: getattr(settings, name) for name in PLAIN}
    values |= {name: values[name] or "" for name in (*MODELS, "solver")}
    each = {slot: None for slot in SLOTS}
    for name in ("steps", "guidance"):
        given = getattr(settings, name)
        several = isinstance(given, tuple) and len(given) == len(SLOTS)
        values[name] = None if several or isinstance(given, tuple) else given
        values |= {f"{name}_{slot}": value for slot, value in (zip(SLOTS, given) if several else each.items())}
    for name in ("guidance", *(f"guidance_{slot}" for slot in SLOTS)):
        values[name] = "" if values[name] is None else f"{values[name]}"
    boundaries = settings.boundaries or (None, None)
    values["boundary_1"], values["boundary_2"] = (*boundaries, None)[:2]
    values |= {"dcw": bool(settings.dcw), "codes": " ".join(map(str, settings.codes or ()))}
    values |= {"plan": settings.planner is not None and not settings.codes, "planner": settings.planner or ""}
    loras = [Lora.parse(one) for one in settings.lora or ()]
    for number in range(ADAPTERS):
        one = loras[number] if number < len(loras) else None
        values[f"adapter_{number + 1}"] = one.adapter if one else ""
        values[f"strength_{number + 1}"] = one.strength if one else 1.0
        values[f"stage_{number + 1}"] = (one.stage if one else None) or ALL_STAGES
    return values


def codes_of(text: object) -> list[int] | None:
    """Audio codes as people paste them: <|audio_code_123|>..., or numbers. Raises UserError."""
    text = str(text or "").strip()
    found = [int(code) for code in re.findall(CODE_TOKEN, text)]
    rest = re.sub(r"<\|audio_code_\d+\|>", " ", text)
    found = found or [int(code) for code in re.findall(r"\d+", rest)]
    if text and (not found or re.search(r"[A-Za-z]", rest)):
        raise UserError("codes: got other text, expected numbers such as 123 45, or <|audio_code_123|>...")
    return found or None


# ---- parts -----------------------------------------------------------------------------------------------------------


def _file(values: Values) -> dict:
    file = {name: values[name] for name in FILE if not is_empty(values.get(name))}
    file["count"] = _whole("takes", values.get("count") or 1)
    file |= {name: True for name in SWITCHES if values.get(name)}
    readers = {"whole": _whole, "number": _number}
    given = {name: readers[kind](name.replace("_", " "), values[name]) for name, kind in _takes_given(values)}
    file |= given
    if values.get("preview_seconds"):
        file["preview_seconds"] = values["preview_seconds"]
    return file


def _takes_given(values: Values) -> Iterator[tuple[str, str]]:
    """The fields of takes that count: those of a choice, where there is one to make."""
    chooses = not is_empty(values.get("retry_below")) or _whole("best of", values.get("best_of") or 1) > 1
    return ((name, kind) for name, kind in TAKES.items() if chooses and not is_empty(values.get(name)))


def _number(name: str, value: object) -> float:
    try:
        return float(str(value).strip().replace(",", "."))
    except ValueError:
        raise UserError(f"{name}: got {shown(value)}, expected a number") from None


def _whole(name: str, value: object) -> int:
    number = _number(name, value)
    if not number.is_integer():
        raise UserError(f"{name}: got {number:g}, expected a whole number")
    return int(number)


def _guidance(value: object) -> str:
    return str(value).strip()


def _per_stage(name: str, values: Values, read) -> object:
    """One value for all stages, or a list with one for each. Raises UserError for a part of them."""
    whole, each = values.get(name), [values.get(f"{name}_{slot}") for slot in SLOTS]
    given = [slot.upper() for slot, value in zip(SLOTS, each) if not is_empty(value)]
    if given and not is_empty(whole):
        raise UserError(f"{name}: got a value for all stages and others for {', '.join(given)}; give one or the other")
    if given and len(given) < len(SLOTS):
        raise UserError(f"{name}: got values for {', '.join(given)} alone; give one for each stage, or for none")
    if given:
        return [read(value) for value in each]
    return None if is_empty(whole) else read(whole)


def _boundaries(values: Values) -> list[float] | None:
    several = [values.get(f"boundary_{number}") for number in (1, 2)]
    given = [_number("boundaries", value) for value in several if not is_empty(value)]
    if len(given) == 1:
        raise UserError("boundaries: got one of two flow times; give both, or neither")
    return given or None


def _adapters(values: Values) -> Iterator[str]:
    for number in range(1, ADAPTERS + 1):
        if not is_empty(values.get(f"adapter_{number}")):
            stage = str(values.get(f"stage_{number}") or ALL_STAGES)
            strength = values.get(f"strength_{number}")
            prefix = "" if stage == ALL_STAGES else f"{stage}="
            yield f"{prefix}{values[f'adapter_{number}']}:{1.0 if strength is None else strength:g}"


def _handles(sounds: object) -> list[str]:
    """The handles of a field of sounds, whose value is a list of {"id": handle, ...}."""
    found: Sequence = sounds if isinstance(sounds, list) else []
    return [str(one["id"]) for one in found if isinstance(one, Mapping) and one.get("id")]
