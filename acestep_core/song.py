"""Song: the request for a piece of music. It checks and normalises its values, and is read from and written as JSON.

Here too is the one table of other spellings: the field names of the original's songs, of its API and of other trainers,
written-out keys ("B-flat Major") and languages ("en-US", "English").
"""

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType

from .errors import UserError, shown
from .json_text import parse_json
from .spec import DEFAULT_SECONDS, MAX_BPM, MAX_SECONDS, MAX_SEED, MIN_BPM, MIN_SECONDS

logger = logging.getLogger(__name__)

INSTRUMENTAL = "[Instrumental]"
AUTO = "auto"  # a length that is left open
UNKNOWN_LANGUAGE = "unknown"
# Characters, far more than the models read, and than a song of ten minutes has.
TEXT_MOST, LYRICS_MOST = 20_000, 300_000
KEY_MOST = 40  # characters

# The languages that the models were trained on, by their codes.
LANGUAGE_NAMES = MappingProxyType(
    {
        "ar": "Arabic",
        "az": "Azerbaijani",
        "bg": "Bulgarian",
        "bn": "Bengali",
        "ca": "Catalan",
        "cs": "Czech",
        "da": "Danish",
        "de": "German",
        "el": "Greek",
        "en": "English",
        "es": "Spanish",
        "fa": "Persian",
        "fi": "Finnish",
        "fr": "French",
        "he": "Hebrew",
        "hi": "Hindi",
        "hr": "Croatian",
        "ht": "Haitian Creole",
        "hu": "Hungarian",
        "id": "Indonesian",
        "is": "Icelandic",
        "it": "Italian",
        "ja": "Japanese",
        "ko": "Korean",
        "la": "Latin",
        "lt": "Lithuanian",
        "ms": "Malay",
        "ne": "Nepali",
        "nl": "Dutch",
        "no": "Norwegian",
        "pa": "Punjabi",
        "pl": "Polish",
        "pt": "Portuguese",
        "ro": "Romanian",
        "ru": "Russian",
        "sa": "Sanskrit",
        "sk": "Slovak",
        "sr": "Serbian",
        "sv": "Swedish",
        "sw": "Swahili",
        "ta": "Tamil",
        "te": "Telugu",
        "th": "Thai",
        "tl": "Tagalog",
        "tr": "Turkish",
        "uk": "Ukrainian",
        "ur": "Urdu",
        "vi": "Vietnamese",
        "yue": "Cantonese",
        "zh": "Chinese",
    }
)
LANGUAGES = (*LANGUAGE_NAMES, UNKNOWN_LANGUAGE)
_LANGUAGE_ALIASES = MappingProxyType(
    {
        **{name.lower(): code for code, name in LANGUAGE_NAMES.items()},
        "mandarin": "zh",
        "cmn": "zh",
        "farsi": "fa",
        "filipino": "tl",
        "fil": "tl",
        "creole": "ht",
        "iw": "he",
        "nb": "no",
        "nn": "no",
        "instrumental": UNKNOWN_LANGUAGE,
    }
)

TIME_SIGNATURES = ("2", "3", "4", "6")
# Time signature -> beats from the start of one bar to that of another. 6/8 is counted in twos or threes: 6 fits both.
BEATS = MappingProxyType({None: 4, "2": 2, "3": 3, "4": 4, "6": 6})
_WRITTEN_SIGNATURES = MappingProxyType({"2/4": "2", "3/4": "3", "4/4": "4", "6/8": "6"})

_KEY = re.compile(r"([A-Ga-g])(?:[\s_-]*([#b♯♭]|sharp|flat))?[\s_:-]*(major|minor|maj|min|M|m|dur|moll)?", re.ASCII)
_KEY_WORDS = re.compile(r"(?i)(sharp|flat|major|minor|maj|min|dur|moll)")
_ACCIDENTALS = MappingProxyType({"♯": "#", "sharp": "#", "♭": "b", "flat": "b"})
_MODES = MappingProxyType({"maj": "major", "M": "major", "dur": "major", "min": "minor", "m": "minor", "moll": "minor"})
_UNSET = ("", "auto", "n/a", "none")

# Other names of a song's fields, in lower case without "_", "-" and spaces, so that "keyScale" is "key_scale" too.
FIELD_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "prompt": "caption",
        "description": "caption",
        "tags": "caption",
        "text": "caption",
        "lyric": "lyrics",
        "tempo": "bpm",
        "keyscale": "key",
        "timesignature": "time_signature",
        "time": "time_signature",
        "signature": "time_signature",
        "vocallanguage": "language",
        "lang": "language",
        "duration": "seconds",
        "audioduration": "seconds",
        "targetduration": "seconds",
        "isinstrumental": "instrumental",
    }
)
# Fields of the original's song JSON for its planner and its sampler, which do not describe the song.
_OTHERS_FIELDS = re.compile(
    r"think(ing)?|use(cot\w+|constraineddecoding|format|adg|randomseed)|lm\w+|inferencesteps|guidancescale"
    r"|cfginterval(start|end)|shift|infermethod|batchsize|audioformat|instruction|tasktype"
)


@dataclass(frozen=True)
class Song:
    """A song to be made. bpm, key and time signature that are None are left to the model.

    Raises UserError for a value outside the models' range. `seconds` is the length of the whole song, or "auto": a
    planner chooses it, or without one a rule over the lyrics.
    """

    caption: str
    lyrics: str = INSTRUMENTAL
    bpm: int | None = None
    key: str | None = None
    time_signature: str | None = None
    language: str = UNKNOWN_LANGUAGE
    seconds: float | str = DEFAULT_SECONDS

    def __post_init__(self):
        for name in ("caption", "lyrics", "language"):
            if not isinstance(getattr(self, name), str):
                raise UserError(f"{name}: got {shown(getattr(self, name))}, expected text")
            check_text(name, getattr(self, name), LYRICS_MOST if name == "lyrics" else TEXT_MOST)
        for name in ("caption", "lyrics"):  # the same words are the same song, whichever system wrote them
            object.__setattr__(self, name, re.sub(r"\r\n?", "\n", getattr(self, name)))
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(getattr(self, name)))

    @classmethod
    def from_json(cls, source: "str | bytes | dict") -> "Song":
        """A Song from JSON text or its object, its fields under any name of FIELD_ALIASES.

        Fields that the original has for its planner and sampler are left out, and a warning is logged. Raises UserError
        that names unknown fields.
        """
        if not isinstance(source, dict):
            source = parse_json(source, "song", remedy='write an object such as {"caption": "lo-fi"}')
        if not isinstance(source, dict):
            raise UserError(f"song: got a JSON {type(source).__name__}, expected an object with the field caption")
        given = _by_field(source)
        known = [field.name for field in fields(cls)]
        unknown = [name for name in given if name not in known and not _OTHERS_FIELDS.fullmatch(name.replace("_", ""))]
        if unknown:
            named = ", ".join(sorted(shown(name).strip("'") for name in unknown))
            raise UserError(f"song: unknown field {named}; the fields are {', '.join(known)}")
        if others := [name for name in given if name not in known]:
            logger.warning(
                "song: %s: not used, these settings of the original say nothing of the song", ", ".join(others)
            )
        if "caption" not in given:
            raise UserError("song: the field caption is missing")
        return cls(**{name: value for name, value in given.items() if name in known})

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


def field_name(name: str) -> str:
    """The field of a song that goes by this name: "keyScale" and "Key scale" are "key". Other names become "a_b"."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip()).lower().replace(" ", "_").replace("-", "_")
    return FIELD_ALIASES.get(words.replace("_", ""), words)


def _by_field(source: Mapping) -> dict[str, object]:
    """The values of a JSON object by a song's field names; null, and a length of 0 or -1, leave a field at its default.

    Raises UserError where two names of one field have different values.
    """
    given, names = {}, {}
    for name, value in source.items():
        field = field_name(str(name))
        if value is None or (field == "seconds" and name != field and value in (0, -1, "", "auto")):
            continue
        if field in given and given[field] != value:
            raise UserError(f"song: got the field {field} twice, as {names[field]} and as {name}; give one of them")
        given[field], names[field] = value, name
    if given.pop("instrumental", False) is True:
        given["lyrics"] = INSTRUMENTAL
    return given


def check_text(name: str, text: str, most: int = TEXT_MOST) -> None:
    """Raises UserError for more than `most` characters, and for halves of characters, as of a terminal with another
    encoding: no file can hold them.
    """
    if len(text) > most:
        raise UserError(f"{name}: got {len(text):,} characters, expected at most {most:,}; shorten the text")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise UserError(f"{name}: got {shown(text)}, which is no valid Unicode; write it in UTF-8") from exc


def _is_unset(value) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in _UNSET)


def _number(name: str, value, low: float, high: float, unit: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high:
        raise UserError(f"{name}: got {shown(value)}, expected a number from {low:g} to {high:g}{unit}")
    return number


def check_bpm(value) -> int | None:
    if _is_unset(value):
        return None
    number = _number("bpm", value, MIN_BPM, MAX_BPM, "")
    if number != int(number):
        raise UserError(f"bpm: got {shown(value)}, expected a whole number from {MIN_BPM} to {MAX_BPM}")
    return int(number)


def check_key(value) -> str | None:
    """'Am', 'a minor', 'C#', 'D-flat Major' become 'A minor', 'C# major', 'Db major'; a bare note is major."""
    if _is_unset(value):
        return None
    text = value.strip() if isinstance(value, str) else ""
    found = _KEY.fullmatch(_with_plain_words(text)) if len(text) <= KEY_MOST else None
    if not found:
        raise UserError(f'key: got {shown(value)}, expected a note and a mode, such as "A minor", "C# major" or "Ebm"')
    note, accidental, mode = found.groups()
    return f"{note.upper()}{_ACCIDENTALS.get(accidental, accidental or '')} {_MODES.get(mode, mode or 'major')}"


def _with_plain_words(key: str) -> str:
    # Only the single letters M and m tell their case apart; "Flat", "Major" and "MINOR" are words.
    return key[:1] + _KEY_WORDS.sub(lambda word: word[0].lower(), key[1:])


def check_time_signature(value) -> str | None:
    if _is_unset(value):
        return None
    text = str(value).strip()
    text = _WRITTEN_SIGNATURES.get(text, text)
    if isinstance(value, bool) or text not in TIME_SIGNATURES:
        written = ", ".join([*TIME_SIGNATURES, *_WRITTEN_SIGNATURES])
        raise UserError(f"time signature: got {shown(value)}, expected one of {written}")
    return text


def check_language(value: str) -> str:
    """A code of LANGUAGES from a code, with or without a region ("en-US"), or from an English name ("English")."""
    text = UNKNOWN_LANGUAGE if _is_unset(value) else value.strip().lower()
    code = next((code for name in (text, re.split("[-_]", text)[0]) if (code := _language(name))), None)
    if code is None:
        raise UserError(f"language: got {shown(value)}, expected one of {', '.join(LANGUAGES)}")
    return code


def _language(name: str) -> str | None:
    return name if name in LANGUAGES else _LANGUAGE_ALIASES.get(name)


def check_seconds(value) -> float | str:
    if isinstance(value, str) and value.strip().lower() == AUTO:
        return AUTO
    return _number("seconds", value, MIN_SECONDS, MAX_SECONDS, " seconds")


def check_seed(value, count: int = 1) -> int:
    """A seed from which `count` songs of following seeds can be made."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SEED - count:
        raise UserError(f"seed: got {shown(value)}, expected a whole number from 0 to {MAX_SEED - count}")
    return value


_CHECKS = MappingProxyType(
    {
        "bpm": check_bpm,
        "key": check_key,
        "time_signature": check_time_signature,
        "language": check_language,
        "seconds": check_seconds,
    }
)
