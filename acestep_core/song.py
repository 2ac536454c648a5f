"""Song: what a user asks for. It checks and normalises itself, and travels as JSON both ways."""

import json
import math
import re
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType

from .errors import UserError
from .spec import DEFAULT_SECONDS, MAX_BPM, MAX_SECONDS, MAX_SEED, MIN_BPM, MIN_SECONDS

INSTRUMENTAL = "[Instrumental]"
UNKNOWN_LANGUAGE = "unknown"

# Codes the models were trained on.
_CODES = (
    "ar az bg bn ca cs da de el en es fa fi fr he hi hr ht hu id is it ja ko la lt ms ne nl no pa pl pt ro ru sa sk sr"
    " sv sw ta te th tl tr uk ur vi yue zh"
)
LANGUAGES = (*_CODES.split(), UNKNOWN_LANGUAGE)

TIME_SIGNATURES = ("2", "3", "4", "6")
_WRITTEN_SIGNATURES = MappingProxyType({"2/4": "2", "3/4": "3", "4/4": "4", "6/8": "6"})

_KEY = re.compile(r"([A-Ga-g])\s*([#b♯♭]?)[\s_-]*(major|minor|maj|min|M|m|dur|moll)?", re.ASCII)
_MODES = MappingProxyType({"maj": "major", "M": "major", "dur": "major", "min": "minor", "m": "minor", "moll": "minor"})
_UNSET = ("", "auto", "n/a", "none")


@dataclass(frozen=True)
class Song:
    """A song to be made. Unset (None) bpm, key and time signature leave the choice to the model.

    Raises UserError for a value outside the models' range. `seconds` is the length of the whole song.
    """

    caption: str
    lyrics: str = INSTRUMENTAL
    bpm: int | None = None
    key: str | None = None
    time_signature: str | None = None
    language: str = UNKNOWN_LANGUAGE
    seconds: float = DEFAULT_SECONDS

    def __post_init__(self):
        for name in ("caption", "lyrics", "language"):
            if not isinstance(getattr(self, name), str):
                raise UserError(f"{name}: got {getattr(self, name)!r}, expected text")
            check_text(name, getattr(self, name))
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(getattr(self, name)))

    @classmethod
    def from_json(cls, source: "str | bytes | dict") -> "Song":
        """A Song from JSON text or its object. Raises UserError that names unknown fields."""
        if not isinstance(source, dict):
            try:
                source = json.loads(source)
            except ValueError as exc:
                raise UserError(f'song: not JSON ({exc}); expected an object such as {{"caption": "lo-fi"}}') from exc
        if not isinstance(source, dict):
            raise UserError(f"song: got a JSON {type(source).__name__}, expected an object with the field caption")
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(source) - set(known))
        if unknown:
            raise UserError(f"song: unknown field {', '.join(unknown)}; the fields are {', '.join(known)}")
        if "caption" not in source:
            raise UserError("song: the field caption is missing")
        return cls(**source)

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


def check_text(name: str, text: str) -> None:
    """Raises UserError for what no file can hold: halves of characters, as of a terminal with another encoding."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise UserError(f"{name}: got {text!r}, which is no valid Unicode; write it in UTF-8") from exc


def _is_unset(value) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in _UNSET)


def _number(name: str, value, low: float, high: float, unit: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high:
        raise UserError(f"{name}: got {value!r}, expected a number from {low:g} to {high:g}{unit}")
    return number


def check_bpm(value) -> int | None:
    if _is_unset(value):
        return None
    number = _number("bpm", value, MIN_BPM, MAX_BPM, "")
    if number != int(number):
        raise UserError(f"bpm: got {value!r}, expected a whole number from {MIN_BPM} to {MAX_BPM}")
    return int(number)


def check_key(value) -> str | None:
    """'Am', 'a minor', 'C#', 'D♭ major' become 'A minor', 'C# major', 'Db major'; a bare note is major."""
    if _is_unset(value):
        return None
    found = _KEY.fullmatch(_with_plain_mode(value.strip())) if isinstance(value, str) else None
    if not found:
        raise UserError(f'key: got {value!r}, expected a note and a mode, such as "A minor", "C# major" or "Ebm"')
    note, accidental, mode = found.groups()
    accidental = {"♯": "#", "♭": "b"}.get(accidental, accidental)
    return f"{note.upper()}{accidental} {_MODES.get(mode, mode or 'major')}"


def _with_plain_mode(key: str) -> str:
    # Only the single letters M and m tell their case apart; "Major" and "MINOR" are words.
    return key[:1] + re.sub(r"(?i)(major|minor|maj|min|dur|moll)$", lambda word: word[0].lower(), key[1:])


def check_time_signature(value) -> str | None:
    if _is_unset(value):
        return None
    text = str(value).strip()
    text = _WRITTEN_SIGNATURES.get(text, text)
    if isinstance(value, bool) or text not in TIME_SIGNATURES:
        written = ", ".join([*TIME_SIGNATURES, *_WRITTEN_SIGNATURES])
        raise UserError(f"time signature: got {value!r}, expected one of {written}")
    return text


def check_language(value: str) -> str:
    text = UNKNOWN_LANGUAGE if _is_unset(value) else value.strip().lower()
    if text not in LANGUAGES:
        raise UserError(f"language: got {value!r}, expected one of {', '.join(LANGUAGES)}")
    return text


def check_seconds(value) -> float:
    return _number("seconds", value, MIN_SECONDS, MAX_SECONDS, " seconds")


def check_seed(value, count: int = 1) -> int:
    """A seed from which `count` songs of following seeds can be made."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SEED - count:
        raise UserError(f"seed: got {value!r}, expected a whole number from 0 to {MAX_SEED - count}")
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
