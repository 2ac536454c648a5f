"""Checks lyrics before a song is made: tags, words against length and tempo, language, long lines, tokens. No torch.

Each check is one function, a row of CHECKS, from the lyrics to its findings.
"""

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CheckpointError
from ..planner.length import DEFAULT_BPM, SYLLABLES_PER_SECOND, TEXT_LENGTH_MAX, auto_seconds, syllables
from ..planner.metadata import is_instrumental
from ..song import AUTO, INSTRUMENTAL, LANGUAGE_NAMES, UNKNOWN_LANGUAGE, Song
from ..spec import LYRIC_TOKENS_MAX, TEXT_TOKENS_MAX

HURRIED, TOO_FAST, SPARSE = 4.5, 7.0, 0.3  # syllables a second over the whole song
LINE_BARS_MAX = 4  # a longer line has no place to breathe
UNTAGGED_LINES_MAX = 8
TAG_LETTERS_MAX = 60
SHOWN_MAX = 50  # findings of one kind; more say the same

_TAG = re.compile(r"\[[^\[\]\n]*\]")
_SECTION = (
    r"(?:(?:pre|post)[- ]?)?(?:verse|chorus|bridge|intro|outro|hook|refrain|interlude|solo|break|drop|instrumental)"
)
# Of a line with single spaces: several kinds of space that may follow one another take a regex for ever.
_UNMARKED = re.compile(rf"(?:[({{<*#]+ ?)?({_SECTION}(?: ?\d{{1,2}})?) ?[)}}>*#]* ?:?", re.IGNORECASE)
# Script, by the beginning of its letters' names in Unicode -> the languages that are written in it.
_SCRIPTS = {
    "HIRAGANA": ("ja",),
    "KATAKANA": ("ja",),
    "HANGUL": ("ko",),
    "CJK": ("zh", "yue", "ja"),
    "CYRILLIC": ("ru", "uk", "bg", "sr", "az"),
    "GREEK": ("el",),
    "HEBREW": ("he",),
    "ARABIC": ("ar", "fa", "ur", "az", "pa"),
    "DEVANAGARI": ("hi", "ne", "sa"),
    "BENGALI": ("bn",),
    "GURMUKHI": ("pa",),
    "TAMIL": ("ta",),
    "TELUGU": ("te",),
    "THAI": ("th",),
}
_OTHER_SCRIPTS = frozenset(code for codes in _SCRIPTS.values() for code in codes)
_SCRIPT_SHARE = 0.5  # of the letters, from which on a text is written in a script


@dataclass(frozen=True)
class Finding:
    """One remark. `check`: the check's name. `line`: from 1; None where it is of the whole text."""

    check: str
    text: str
    line: int | None = None

    def __str__(self) -> str:
        return f"lyrics, line {self.line}: {self.text}" if self.line else f"lyrics: {self.text}"


@dataclass(frozen=True)
class Lyrics:
    """Lyrics as the checks see them: the song, and tokens of caption and lyrics where a tokenizer counted them."""

    song: Song
    tokens: tuple[int, int] | None = None
    lines: list[str] = field(init=False)
    sung: dict[int, str] = field(init=False)  # line from 1 -> its words, without tags; lines without words left out

    def __post_init__(self):
        lines = self.song.lyrics[:TEXT_LENGTH_MAX].split("\n")
        words = ((number, _TAG.sub(" ", line).strip()) for number, line in enumerate(lines, start=1))
        object.__setattr__(self, "lines", lines)
        object.__setattr__(self, "sung", {number: text for number, text in words if text})

    @property
    def seconds(self) -> float:
        return auto_seconds(self.song) if self.song.seconds == AUTO else self.song.seconds

    @property
    def syllables(self) -> int:
        return sum(map(syllables, self.sung.values()))

    @property
    def bar_seconds(self) -> float:
        return 60 / (self.song.bpm or DEFAULT_BPM) * int(self.song.time_signature or 4)

    @property
    def fitting_seconds(self) -> float:
        """The length that a rule over the lyrics gives."""
        return auto_seconds(dataclasses.replace(self.song, seconds=AUTO))

    def facts(self) -> dict[str, object]:
        """Numbers for reports. `tokens_most`: of the lyrics, that the models read."""
        return {
            "lines": len(self.sung),
            "syllables": self.syllables,
            "seconds": self.seconds,
            "syllables_per_second": round(self.syllables / self.seconds, 2),
            "fitting_seconds": self.fitting_seconds,
            "tokens": self.tokens and self.tokens[1],
            "tokens_most": LYRIC_TOKENS_MAX,
        }


def lint(song: Song, tokens: tuple[int, int] | None = None) -> list[Finding]:
    """Findings on a song's lyrics, in the order of CHECKS. `tokens`: of caption and lyrics, as `count_tokens` gives."""
    lyrics = Lyrics(song, tokens)
    findings = []
    for name, check in CHECKS.items():
        found = [Finding(name, text, line) for line, text in check(lyrics)]
        findings += found[:SHOWN_MAX]
        if len(found) > SHOWN_MAX:
            findings.append(Finding(name, f"and {len(found) - SHOWN_MAX} more like these"))
    return findings


def tokens_of(song: Song, text_encoder: "str | Path | None" = None) -> tuple[int, int] | None:
    """Tokens of caption and lyrics for a text encoder, by default the published one; None where it is not here."""
    from ..checkpoints.tokens import count_tokens

    timed = dataclasses.replace(song, seconds=auto_seconds(song)) if song.seconds == AUTO else song
    if text_encoder is not None:
        return count_tokens(timed, text_encoder)
    try:
        return count_tokens(timed)
    except CheckpointError:
        return None


# ---- checks: Lyrics -> (line or None, text) --------------------------------------------------------------------------

Found = Iterator[tuple[int | None, str]]


def _tags(lyrics: Lyrics) -> Found:
    for number, line in enumerate(lyrics.lines, start=1):
        if line.count("[") != len(_TAG.findall(line)) or line.count("]") != len(_TAG.findall(line)):
            yield number, "a bracket has no partner; write tags such as [Verse] whole, on a line of their own"
        elif _TAG.search(line) and number in lyrics.sung:
            yield number, "a tag and words share a line; put the tag on a line of its own"
        elif any(len(tag) > TAG_LETTERS_MAX for tag in _TAG.findall(line)):
            yield number, f"a tag of more than {TAG_LETTERS_MAX} letters may be sung; shorten it"
        elif (found := _UNMARKED.fullmatch(" ".join(line.split()))) and "[" not in line:
            yield number, f"{line.strip()!r} would be sung; write [{found[1].capitalize()}]"
    tags = [tag for line in lyrics.lines for tag in _TAG.findall(line)]
    if lyrics.sung and [tag.lower() for tag in tags] == [INSTRUMENTAL.lower()]:
        yield None, f"{INSTRUMENTAL} and words contradict each other; leave one out"
    if len(lyrics.sung) > UNTAGGED_LINES_MAX and not tags:
        yield None, "no tags; [Verse] and [Chorus] before the sections give the song its form"


def _rate(lyrics: Lyrics) -> Found:
    rate = lyrics.syllables / lyrics.seconds
    told = f"{lyrics.syllables} syllables in {lyrics.seconds:g} s, {rate:.1f} a second"
    if rate > HURRIED:
        effect = "words will be left out" if rate > TOO_FAST else "it will be hurried"
        yield None, f"{told}: {effect}; about {lyrics.fitting_seconds:g} s fit, or leave lines out"
    elif lyrics.sung and rate < SPARSE and lyrics.seconds > 1.5 * lyrics.fitting_seconds:
        yield None, f"{told}: long parts without words; about {lyrics.fitting_seconds:g} s fit, or tag [Instrumental]"


def _language(lyrics: Lyrics) -> Found:
    code, script = lyrics.song.language, _script("".join(lyrics.sung.values()))
    if script is None:
        return
    fitting = _SCRIPTS.get(script, ())
    if code == UNKNOWN_LANGUAGE:
        hint = f", such as {LANGUAGE_NAMES[fitting[0]]}" if fitting else ""
        yield None, f"the language is not set{hint}; set it, and words are pronounced better"
    elif (fitting and code not in fitting) or (not fitting and code in _OTHER_SCRIPTS - {"sr", "az"}):
        name = script.capitalize() if fitting else "Latin"
        yield None, f"the words are written in {name} letters, the language is {LANGUAGE_NAMES[code]}; correct one"


def _long_lines(lyrics: Lyrics) -> Found:
    most = int(LINE_BARS_MAX * lyrics.bar_seconds * SYLLABLES_PER_SECOND)
    for number, text in lyrics.sung.items():
        count = syllables(text)
        if count > most:
            yield number, f"{count} syllables, more than {LINE_BARS_MAX} bars hold at this tempo; break it in two"


def _spaces(lyrics: Lyrics) -> Found:
    for number in range(2, len(lyrics.lines)):
        before, here = lyrics.lines[number - 2].strip(), lyrics.lines[number - 1].strip()
        if not before and not here and (number == 2 or lyrics.lines[number - 3].strip()):
            yield number, "several empty lines; one is enough, a pause is a tag such as [Break]"


def _token_count(lyrics: Lyrics) -> Found:
    named = ("caption", TEXT_TOKENS_MAX), ("lyrics", LYRIC_TOKENS_MAX)
    for (name, most), count in zip(named, lyrics.tokens or ()):
        if count > most:
            yield (
                None,
                f"the {name} has {count:,} tokens, the models read {most:,}; the rest is not sung, shorten it",
            )


def _script(text: str) -> str | None:
    """The script of most letters, "LATIN" among them; None for no letters. Kana beside Han is Japanese."""
    names = Counter(unicodedata.name(letter, "").split(" ")[0].split("-")[0] for letter in text if letter.isalpha())
    if not names:
        return None
    kana = next((name for name in ("HIRAGANA", "KATAKANA") if names[name] > 0.1 * names.total()), None)
    name, count = names.most_common(1)[0]
    return kana or (name if count > _SCRIPT_SHARE * names.total() else "LATIN")


CHECKS: dict[str, Callable[[Lyrics], Found]] = {
    "tags": _tags,
    "rate": _rate,
    "language": _language,
    "line": _long_lines,
    "spaces": _spaces,
    "tokens": _token_count,
}


def notes(song: Song, tokens: tuple[int, int] | None = None) -> Sequence[str]:
    """The findings as lines for people; of a song that is not sung only those on its tokens."""
    found = lint(song, tokens)
    quiet = is_instrumental(song.lyrics)
    return [str(one) for one in found if not quiet or one.check == "tokens"]
