"""Lyrics for a melody: lines of common words with exactly as many syllables as notes, and the sounds of each syllable.

A sound is written as the singer knows it: `onset/vowel/coda`, syllables apart by spaces.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .form import Form, Section
from .melody import melody_of

SUNG = ("verse", "chorus")
BARS_OF_LINE = 2


# Words by their place in a line: N a thing, V what it does, A how it is, P a small word before a thing, S who.
_WORDS = {
    "N": """night n/ai/t;light l/ai/t;heart h/a/t;rain r/ei/n;sun s/u/n;moon m/oo/n;sea s/ee/;sky s/ai/;star s/a/;
        road r/oh/d;day d/ei/;dream d/ee/m;song s/o/ng;time t/ai/m;wind w/i/n;home h/oh/m;world w/er/ld;hand h/a/n;
        voice v/oi/s;snow s/oh/;rose r/oh/z;flame f/ei/m;wave w/ei/v;stone s/oh/n;shore sh/o/;
        river r/i/ v/er/;morning m/o/ n/i/ng;city s/i/ t/ee/;summer s/u/ m/er/;ocean /oh/ sh/u/n;window w/i/n d/oh/;
        shadow sh/a/ d/oh/;evening /ee/v n/i/ng;garden g/a/ d/u/n;mountain m/ou/n t/u/n;winter w/i/n t/er/;
        fire f/ai/ /er/;silver s/i/l v/er/;valley v/a/ l/ee/;feeling f/ee/ l/i/ng""",
    "V": """runs r/u/nz;sings s/i/ngz;falls f/o/lz;shines sh/ai/nz;sleeps s/ee/ps;waits w/ei/ts;burns b/er/nz;
        turns t/er/nz;calls k/o/lz;flies f/ai/z;stays s/ei/z;grows g/oh/z;moves m/oo/vz;comes k/u/mz;
        follows f/o/ l/oh/z;whispers w/i/s p/er/z;carries k/a/ r/ee/z;wanders w/o/n d/er/z;returns r/i/ t/er/nz""",
    "A": """old /oh/ld;new n/oo/;bright b/ai/t;low l/oh/;slow s/oh/;wild w/ai/ld;cold k/oh/ld;sweet s/ee/t;
        long l/o/ng;blue b/oo/;golden g/oh/l d/u/n;silent s/ai/ l/u/n;lonely l/oh/n l/ee/;gentle j/e/n t/u/l;
        broken b/oh/ k/u/n;early /er/ l/ee/;hidden h/i/ d/u/n""",
    "P": """in /i/n;on /o/n;by b/ai/;to t/oo/;for f/o/;with w/i/th;from f/o/m;over /oh/ v/er/;under /u/n d/er/;
        into /i/n t/oo/;after /a/f t/er/""",
    "D": "the th/u/;my m/ai/;your y/o/;our /ou/ /er/;this th/i/s;every /e/v r/ee/",
    "S": "I /ai/;you y/oo/;we w/ee/;they th/ei/;nobody n/oh/ b/o/ d/ee/",
    "W": "know n/oh/;need n/ee/d;hear h/ee/;see s/ee/;find f/ai/nd;love l/u/v;feel f/ee/l;remember r/ee/ m/e/m b/er/",
    "C": "and /a/n;when w/e/n;so s/oh/;where w/e/",
}
_SHAPES = (
    *("N", "AN", "DN", "DNV", "DAN", "SWN", "SWDN", "DNVPN", "SWDAN", "DNVPDN", "DANVPN", "CSWDAN", "DANVPDN"),
    *("CDNVPDAN", "DANVPDAN", "SWDNPDN", "SWDANPDN", "CSWDANPDN", "CDANVPDAN"),
)
FILLERS = (("oh", "/oh/"), ("la", "l/a/"), ("hey", "h/ei/"), ("ah", "/a/"))


@dataclass(frozen=True)
class Word:
    text: str
    sounds: tuple[str, ...]  # of its syllables


@dataclass(frozen=True)
class Line:
    """A line of lyrics, and the bars in which it is sung."""

    words: tuple[Word, ...]
    section: Section
    first_bar: int
    bars: int

    @property
    def text(self) -> str:
        text = " ".join(word.text for word in self.words)
        return text[0].upper() + text[1:]

    @property
    def syllables(self) -> tuple[str, ...]:
        return tuple(sound for word in self.words for sound in word.sounds)


@lru_cache(maxsize=1)
def lexicon() -> dict[str, tuple[Word, ...]]:
    def word(entry: str) -> Word:
        text, *sounds = entry.split()
        return Word(text, tuple(sounds))

    return {place: tuple(map(word, entries.split(";"))) for place, entries in _WORDS.items()}


def line_of(rng, count: int, rhyme: str | None = None) -> list[Word]:
    """Words of `count` syllables together; the last one ends on the vowel of `rhyme` where one does."""
    shapes = [shape for shape in _SHAPES if len(shape) <= count <= 2 * len(shape)]
    if not shapes:  # a line so short, or so long, that it is sung on sounds
        text, sound = FILLERS[rng.integers(len(FILLERS))]
        more = line_of(rng, count - 1, rhyme) if count > 2 else [Word(text, (sound,))] * (count - 1)
        return [Word(text, (sound,)), *more]
    shape, left, words = shapes[rng.integers(len(shapes))], count, []
    for place, later in zip(shape, range(len(shape) - 1, -1, -1)):
        longest = 2 if later else left
        known = [
            word for word in lexicon()[place] if left - 2 * later <= len(word.sounds) <= min(longest, left - later)
        ]
        if not known:
            return line_of(rng, count, rhyme)
        rhymes = [word for word in known if not later and word.sounds[-1].split("/")[1] == rhyme]
        words.append((rhymes or known)[rng.integers(len(rhymes or known))])
        left -= len(words[-1].sounds)
    return words


def lines_of(form: Form) -> tuple[Line, ...]:
    """Every sung line of a song. A chorus has the same words whenever it comes; verses have their own."""
    if not form.sketch.sung:
        return ()
    return tuple(line for section in form.sections if section.name in SUNG for line in _section_lines(form, section))


def _section_lines(form: Form, section: Section) -> list[Line]:
    number = section.number if section.name == "verse" else 1
    rng = np.random.default_rng([form.sketch.seed, 9, SUNG.index(section.name), number])
    melody, lines, rhyme = melody_of(form.sketch, section.name), [], None
    for bar in range(0, section.bars, BARS_OF_LINE):
        bars = min(BARS_OF_LINE, section.bars - bar)
        count = sum(len(melody[(bar + later) % 4]) for later in range(bars))
        words = line_of(rng, count, rhyme)
        rhyme = None if rhyme else words[-1].sounds[-1].split("/")[1]
        lines.append(Line(tuple(words), section, section.first_bar + bar, bars))
    return lines


def lyrics_text(form: Form) -> str:
    """The lyrics under the tags of their sections; a section without words has its tag alone."""
    lines, parts = lines_of(form), []
    for section in form.sections:
        words = [line.text for line in lines if line.section == section]
        parts.append("\n".join([f"[{section.label.title()}]", *words]))
    return "\n\n".join(parts)
