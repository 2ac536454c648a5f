"""Lines as users write them, and what each must come to: "a slow sad waltz" -> below 90 bpm, minor, 3/4.

All that a line says is true of the sketch that it is made of.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..band import Sketch
from ..band.genres import KNOWN_GENRES, MOODS
from ..band.instruments import KNOWN_VOICES
from ..planner.planner import Planner
from ..song import Song

SLOW_BPM, FAST_BPM = 90, 130  # below, and from: "slow" and "fast"
SHORT_S, LONG_S = 40, 80  # at most, and from: "short" and "long"
TEMPO_WORDS = {
    "slow": ("slow", "slow", "unhurried", "slow-moving", "leisurely", "downtempo", "slowly played", "at a slow pace"),
    "medium": ("mid-tempo", "moderate", "at a walking pace", "steady", "medium tempo"),
    "fast": ("fast", "fast", "quick", "racing", "up-tempo", "rapid", "speedy", "at a fast pace"),
}
METRE_WORDS = {
    4: ("4/4", "in four", "common time"),
    3: ("waltz", "waltz", "3/4", "in three", "waltz time", "three-four"),
    6: ("6/8", "in six eight time", "swaying 6/8", "six-eight", "in six"),
}
# Words of users for the band's moods, beside those of its captions.
MOOD_WORDS = {
    "happy": ("joyful", "cheery", "sunny", "feel-good", "merry"),
    "energetic": ("high-energy", "pumping", "lively", "excited"),
    "sad": ("sorrowful", "heartbroken", "tearful", "mournful", "gloomy"),
    "dark": ("sinister", "threatening", "shadowy", "eerie"),
    "dreamy": ("floating", "hazy", "airy", "dreamlike"),
    "calm": ("peaceful", "soothing", "gentle", "quiet", "restful"),
}
KINDS = {True: ("song", "song", "ballad", "tune"), False: ("piece", "instrumental", "track", "tune", "beat")}
LENGTH_WORDS = {"short": ("short", "brief", "little"), "long": ("long", "extended", "epic-length")}
WITHOUT_WORDS = ("instrumental", "no vocals", "without singing", "without words")
SHARES = {"tempo": 0.5, "mood": 0.6, "genre": 0.6, "metre": 0.35, "key": 0.1, "length": 0.15, "who": 0.3, "theme": 0.5}
OPENINGS = ("", "", "", "a ", "a ", "make me a ", "I want a ", "write a ", "something like a ", "please play a ")


def tempo_of(bpm: int) -> str:
    """The tempo in a word, "" between the words."""
    if bpm < SLOW_BPM:
        return "slow"
    return "fast" if bpm >= FAST_BPM else "medium" if 95 <= bpm < 120 else ""


def length_of(seconds: float) -> str:
    return "short" if seconds <= SHORT_S else "long" if seconds >= LONG_S else ""


def line_of(rng: np.random.Generator, sketch: Sketch, theme: str = "") -> str:
    """A line that says some of what a song is. `theme`: a word that its lyrics are about."""
    said = {name for name, share in SHARES.items() if rng.random() < share} or {"mood", "genre"}
    words = _adjectives(rng, sketch, said)
    words = [words[i] for i in rng.permutation(len(words))]
    kind = "waltz" if "waltz" in words else _one(rng, KINDS[sketch.sung])
    behind = [word for word in words if word.startswith(("at ", "in "))]
    head = " ".join([*(word for word in words if word != "waltz" and word not in behind), kind])
    text = " ".join([_with_article(_one(rng, OPENINGS), head), *behind])
    ends = _endings(rng, sketch, said, theme)
    text = ", ".join(filter(None, [text, *ends])) if rng.random() < 0.3 else " ".join([text, *ends])
    if not sketch.sung and rng.random() < 0.4:
        text += ", " + _one(rng, WITHOUT_WORDS)
    if text.lower() in HELD_OUT:
        return line_of(rng, sketch, theme)
    return text[0].upper() + text[1:] if rng.random() < 0.3 else text


def _adjectives(rng, sketch: Sketch, said: set[str]) -> list[str]:
    found = []
    if "length" in said and (length := length_of(sketch.seconds)):
        found.append(_one(rng, LENGTH_WORDS[length]))
    if "tempo" in said and (tempo := tempo_of(sketch.bpm)):
        found.append(_one(rng, TEMPO_WORDS[tempo]))
    if "mood" in said:
        found.append(_one(rng, (*MOODS[sketch.mood][0], *MOOD_WORDS[sketch.mood])))
    if "genre" in said:
        found.append(_one(rng, _genre_words(sketch)))
    if "metre" in said and (sketch.metre != 4 or rng.random() < 0.2):
        found.append(_one(rng, METRE_WORDS[sketch.metre]))
    return found


def _genre_words(sketch: Sketch) -> list[str]:
    """The words of its genre that say no other tempo, as "slow blues" may."""
    paces = {word for words in TEMPO_WORDS.values() for word in words}
    words = KNOWN_GENRES[sketch.genre].words
    return [word for word in words if not paces & set(word.split())] or [*words]


def _endings(rng, sketch: Sketch, said: set[str], theme: str) -> list[str]:
    mode = "minor" if sketch.minor else "major"
    ends = []
    if "who" in said and (played := [voice for voice in sketch.voices.values() if voice in KNOWN_VOICES]):
        ends.append(f"with {_one(rng, played)}")
    if "key" in said:
        ends.append(_one(rng, (f"in {sketch.key}", f"in {mode}", f"in a {mode} key", f"in {sketch.key}")))
    if "theme" in said and theme:
        ends.append(f"about {_one(rng, ('the', 'a', 'my', 'the'))} {theme}")
    if "tempo" in said and rng.random() < 0.15:
        ends.append(f"{sketch.bpm} bpm")
    return ends


def _with_article(opening: str, head: str) -> str:
    return opening.removesuffix("a ") + ("an " if head[0] in "aeiou" else "a ") + head if opening[-2:] == "a " else head


def _one(rng, words) -> str:
    return str(rng.choice(list(words)))


# ---- what lines must come to -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Promise:
    """A line that no training holds, and what must be true of the song that is written from it."""

    line: str
    holds: Mapping[str, Callable[[Song], bool]]


def _promise(line: str, *names: str) -> Promise:
    return Promise(line, {name: _CHECKS[name] for name in names})


_CHECKS: Mapping[str, Callable[[Song], bool]] = {
    "slow": lambda song: song.bpm < SLOW_BPM,
    "fast": lambda song: song.bpm >= FAST_BPM - 10,
    "minor": lambda song: song.key.endswith("minor"),
    "major": lambda song: song.key.endswith("major"),
    "three": lambda song: song.time_signature == "3",
    "six": lambda song: song.time_signature == "6",
    "short": lambda song: song.seconds <= SHORT_S,
    "long": lambda song: song.seconds >= LONG_S,
    "sung": lambda song: "[Verse" in song.lyrics,
    "unsung": lambda song: "[Verse" not in song.lyrics,
}
PROMISES = (
    _promise("a slow sad waltz", "slow", "minor", "three"),
    _promise("fast happy techno", "fast", "major"),
    _promise("a sad slow song about the sea", "slow", "minor", "sung"),
    _promise("cheerful quick folk waltz with flute", "fast", "major", "three"),
    _promise("dark and slow, in 6/8", "slow", "minor", "six"),
    _promise("a fast song in a minor key", "fast", "minor"),
    _promise("slow jazz in a major key, no vocals", "slow", "major", "unsung"),
    _promise("melancholic waltz time ballad", "minor", "three"),
    _promise("a very fast and dark metal track", "fast", "minor"),
    _promise("an unhurried happy tune", "slow", "major"),
    _promise("short slow piano piece without words", "short", "slow", "unsung"),
    _promise("a long dreamy song about rain", "long", "sung"),
    _promise("speedy uplifting dance in 4/4", "fast", "major"),
    _promise("sorrowful song in six eight time", "minor", "six"),
    _promise("mysterious instrumental, 70 bpm", "slow", "minor", "unsung"),
    _promise("make me a quick joyful waltz", "fast", "major", "three"),
)


HELD_OUT = frozenset(promise.line.lower() for promise in PROMISES)


def songs_of(planner: Planner, seed: int = 0) -> dict[str, Song]:
    """The songs that a planner writes from all lines, by line."""
    return {promise.line: planner.write(promise.line, seed=seed).song for promise in PROMISES}


def lines_kept(songs: Mapping[str, Song]) -> int:
    """How many lines have all of their promises kept."""
    return sum(all(holds(songs[promise.line]) for holds in promise.holds.values()) for promise in PROMISES)
