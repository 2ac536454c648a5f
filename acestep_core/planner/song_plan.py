"""SongPlan: what a planner made of a request, and how its answer fills a song in."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import UserError
from ..song import AUTO, UNKNOWN_LANGUAGE, Song
from ..spec import AUDIO_CODES, CODES_PER_SECOND
from .length import auto_seconds

# A planner's name of a field -> the song's.
SONG_FIELDS: Mapping[str, str] = {
    "bpm": "bpm",
    "caption": "caption",
    "duration": "seconds",
    "keyscale": "key",
    "language": "language",
    "timesignature": "time_signature",
}
_DIGEST_DIGITS = 12
_NOTHING = "N/A"  # as a planner may say that it knows no value


@dataclass(frozen=True)
class SongPlan:
    """A song filled in, its audio codes at 5 a second, and what was decided.

    `decided`: values by the song's field, those that the planner wrote and not the user. `description`: the planner's
    own caption, also where the song keeps the user's. `notes` are for the user. `codebook`: how many codes the planner
    knows; models of as many follow them. 0: not known.
    """

    song: Song
    codes: tuple[int, ...] = ()
    decided: Mapping[str, object] = field(default_factory=dict)
    description: str = ""
    notes: tuple[str, ...] = ()
    codebook: int = 0

    @property
    def seconds(self) -> float | str:
        return self.song.seconds

    @property
    def codes_digest(self) -> str:
        """Twelve hex digits for the codes; "" without any."""
        return codes_digest(self.codes) if self.codes else ""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, value: Mapping) -> "SongPlan":
        """The inverse of `to_json`, of its parsed object. Raises UserError for one that is no plan."""
        try:
            return cls(
                Song(**value["song"]),
                checked_codes(value.get("codes", ())),
                dict(value.get("decided", {})),
                str(value.get("description", "")),
                tuple(map(str, value.get("notes", ()))),
                int(value.get("codebook", 0)),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as exc:
            raise UserError(f"plan: cannot be read ({exc}); plan the song again") from exc

    def lines(self) -> list[str]:
        """What was decided, one line each, for people."""
        shown = [f"{name.replace('_', ' ')}: {value}" for name, value in self.decided.items() if name != "lyrics"]
        if self.codes:
            shown.append(f"codes: {len(self.codes)}, {len(self.codes) / CODES_PER_SECOND:g} s, {self.codes_digest}")
        return shown


def codes_digest(codes: Sequence[int]) -> str:
    """Twelve hex digits that identify audio codes."""
    return hashlib.sha256(" ".join(map(str, codes)).encode()).hexdigest()[:_DIGEST_DIGITS]


def checked_codes(codes: object, most: int = AUDIO_CODES) -> tuple[int, ...]:
    """Audio codes as a tuple. Raises UserError for anything else, and for a number that no code has."""
    if not isinstance(codes, list | tuple):
        raise UserError(f"codes: got {type(codes).__name__}, expected a list of whole numbers below {most:,}")
    for code in codes:
        if type(code) is not int or not 0 <= code < most:
            raise UserError(f"codes: got {str(code)[:40]}, expected whole numbers from 0 to {most - 1:,}")
    return tuple(codes)


def given_of(song: Song) -> dict[str, object]:
    """The values that a song has, by the planner's names: they are written as they are."""
    given = {"bpm": song.bpm, "keyscale": song.key, "timesignature": song.time_signature}
    given["duration"] = None if song.seconds == AUTO else int(song.seconds)
    given["language"] = None if song.language == UNKNOWN_LANGUAGE else song.language
    return {name: value for name, value in given.items() if value is not None}


def is_open(song: Song) -> bool:
    """Whether a planner could fill anything in."""
    return len(given_of(song)) < len(SONG_FIELDS) - 1 or not song.caption.strip()


def filled(song: Song, metadata: Mapping[str, object]) -> tuple[Song, dict[str, object], list[str]]:
    """(The song with its open fields filled in, those fields, notes). A length that stays open is set by its lyrics."""
    given, decided, notes = given_of(song), {}, []
    for name, of_song in SONG_FIELDS.items():
        kept = name in given or (name == "caption" and song.caption.strip())
        if kept or metadata.get(name) in (None, "", _NOTHING):
            continue
        try:
            song = dataclasses.replace(song, **{of_song: metadata[name]})
            decided[of_song] = getattr(song, of_song)
        except UserError as exc:
            notes.append(f"the planner's answer was not used: {exc}")
    if song.seconds == AUTO:
        song = with_length(song)
        notes.append(f"length: {song.seconds:g} s, by a rule over the lyrics")
    return song, decided, notes


def with_length(song: Song) -> Song:
    """The song with a length: where it is "auto", the one that a rule over its lyrics gives."""
    return dataclasses.replace(song, seconds=auto_seconds(song)) if song.seconds == AUTO else song


def codes_count(seconds: float) -> int:
    """The codes of a song: enough for all of it."""
    return math.ceil(seconds * CODES_PER_SECOND - 1e-6)
