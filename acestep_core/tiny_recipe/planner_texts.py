"""What the planner learns from: chats of the four verbs, made from sketches and scores of the band, without a sound.

An example is a prompt and its answer, both as a planner has them. Where the family has an audio tokenizer, codes of
encoded songs join: they end plans, and begin descriptions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..band import Sketch, song_of
from ..band.caption import caption
from ..band.instruments import SINGERS
from ..band.lyrics import lexicon
from ..planner import prompts
from ..planner.metadata import think_block
from ..planner.vocabulary import END, code_token
from ..song import INSTRUMENTAL, Song
from .planner_lines import line_of

FIRST_SEED = 200_000_000
METRES, METRE_SHARES = (4, 3, 6), (0.56, 0.24, 0.2)
SUNG_SHARE, SLOW_SHARE = 0.6, 0.2
SHORTEST_S, USUAL_S, LONGER_S, LONGEST_S, USUAL_SHARE = 10, 45, 60, 150, 0.7
VARIANTS, THEMED_SHARE = 6, 0.4
VERBS, VERB_SHARES = ("write", "plan", "rewrite"), (0.5, 0.25, 0.25)
CODED_VERBS, CODED_SHARES = ("codes", "understand", "no song"), (0.55, 0.35, 0.1)


@dataclass(frozen=True)
class Example:
    """A chat up to the answer, and the answer with its end. `codes`: the answer ends with audio codes."""

    prompt: str
    answer: str
    verb: str


@dataclass(frozen=True)
class Piece:
    """Music whose codes are known: its song, and its codes at 5 a second."""

    song: Song
    codes: Sequence[int]


def sketch_of(rng: np.random.Generator, seed: int) -> Sketch:
    """A song of the band, with more of the rare metres and slow tempi than it plays by itself."""
    usual = rng.random() < USUAL_SHARE
    # Most likely the usual length: a planner that is asked for none writes what it has seen most.
    seconds = rng.triangular(SHORTEST_S, USUAL_S, LONGER_S) if usual else rng.uniform(LONGER_S, LONGEST_S)
    sketch = Sketch.draw(seed, float(round(seconds)))
    bpm = int(rng.integers(60, 90)) if rng.random() < SLOW_SHARE else sketch.bpm
    voices = {role: voice for role, voice in sketch.voices.items() if role not in ("vocals", "backing")}
    if rng.random() < SUNG_SHARE:
        voices |= {"vocals": str(rng.choice(SINGERS))}
    return replace(sketch, bpm=bpm, metre=int(rng.choice(METRES, p=METRE_SHARES)), voices=voices)


def example_of(seed: int) -> Example:
    """The example of a seed, one of text alone."""
    rng = np.random.default_rng([seed, 30])
    verb, sketch = str(rng.choice(VERBS, p=VERB_SHARES)), sketch_of(rng, FIRST_SEED + seed)
    song, theme = themed(rng, song_of(sketch, complete=True))
    return _VERBS[verb](rng, sketch, song, theme)


def coded_example(rng: np.random.Generator, piece: Piece) -> Example:
    """An example with the codes of a piece of music."""
    verb = str(rng.choice(CODED_VERBS, p=CODED_SHARES))
    codes, thoughts = "".join(map(code_token, piece.codes)), thoughts_of(piece.song, piece.song.caption)
    if verb == "understand":
        return Example(prompts.understand_prompt(piece.codes), f"{thoughts}{_lyrics(piece.song)}", verb)
    if verb == "no song":
        return Example(prompts.unconditional_codes_prompt(), f"{codes}{END}", verb)
    return Example(prompts.codes_prompt(piece.song.caption, piece.song.lyrics, thoughts), f"{codes}{END}", verb)


# ---- the verbs -------------------------------------------------------------------------------------------------------


def _write(rng, sketch: Sketch, song: Song, theme: str) -> Example:
    line = line_of(rng, sketch, theme)
    instrumental = not sketch.sung and rng.random() < 0.5
    answer = thoughts_of(song, _nearest(rng, sketch, line))
    ends = END if instrumental else _lyrics(song)
    return Example(prompts.write_prompt(line, instrumental), answer + ends, "write")


def _plan(rng, sketch: Sketch, song: Song, theme: str) -> Example:
    asked = line_of(rng, sketch, theme) if rng.random() < 0.3 else _caption(rng, sketch)
    answer = thoughts_of(song, _nearest(rng, sketch, asked))
    return Example(prompts.plan_prompt(asked, song.lyrics), answer + END, "plan")


def _rewrite(rng, sketch: Sketch, song: Song, theme: str) -> Example:
    asked = line_of(rng, sketch, theme)
    rough = _rough(rng, song.lyrics) if sketch.sung else song.lyrics
    answer = thoughts_of(song, _nearest(rng, sketch, asked)) + (_lyrics(song) if sketch.sung else END)
    return Example(prompts.rewrite_prompt(asked, rough), answer, "rewrite")


_VERBS: dict[str, Callable[..., Example]] = {"write": _write, "plan": _plan, "rewrite": _rewrite}


# ---- parts of an answer ----------------------------------------------------------------------------------------------


def thoughts_of(song: Song, described: str) -> str:
    """The think block of a song."""
    values = {"bpm": song.bpm, "caption": described, "duration": int(song.seconds), "keyscale": song.key}
    return think_block(values | {"language": song.language, "timesignature": song.time_signature})


def _lyrics(song: Song) -> str:
    return f"\n\n# Lyric\n{song.lyrics}\n{END}"


def _caption(rng, sketch: Sketch) -> str:
    return caption(sketch, int(rng.integers(VARIANTS)))[0]


def _nearest(rng, sketch: Sketch, line: str) -> str:
    """Of some captions of a sketch the one that shares most words with a line."""
    words = set(line.lower().replace(",", " ").split())
    captions = [caption(sketch, int(variant))[0] for variant in rng.permutation(VARIANTS)[:3]]
    return max(captions, key=lambda text: len(words & set(text.lower().replace(",", " ").split())))


def themed(rng: np.random.Generator, song: Song) -> tuple[Song, str]:
    """(The song with a word in more of its lines, that word); nothing sung has no theme."""
    if song.lyrics.strip() in ("", INSTRUMENTAL):
        return replace(song, lyrics=INSTRUMENTAL), ""
    things = lexicon()["N"]
    theme = things[rng.integers(len(things))]
    alike = {thing.text for thing in things if len(thing.sounds) == len(theme.sounds)}
    lines = [_about(rng, line, theme.text, alike) for line in song.lyrics.split("\n")]
    return replace(song, lyrics="\n".join(lines)), theme.text


def _about(rng, line: str, theme: str, alike: set[str]) -> str:
    """A line in which a thing of as many syllables has made room for the theme."""
    words = line.split(" ")
    places = [place for place, word in enumerate(words) if word.lower() in alike]
    if line.startswith("[") or not places or rng.random() >= THEMED_SHARE:
        return line
    place = places[rng.integers(len(places))]
    words[place] = theme.capitalize() if words[place][:1].isupper() else theme
    return " ".join(words)


def _rough(rng, lyrics: str) -> str:
    """Lyrics as somebody might bring them: in small letters, without tags, or without some of the lines."""
    lines = lyrics.lower().split("\n") if rng.random() < 0.5 else lyrics.split("\n")
    if rng.random() < 0.5:
        lines = [line for line in lines if not line.startswith("[")]
    kept = [line for line in lines if rng.random() >= 0.15] or lines
    return "\n".join(kept).strip()
