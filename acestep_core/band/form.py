"""The form of a song: sections that fill its length in whole bars, their chords, who plays in each, and its ending."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .genres import KNOWN_GENRES
from .sketch import Sketch

SECTION_S = 16.0  # of a section, about; shorter where the song would have few
# Sections by their number. The chorus comes back wherever there is room for it.
TEMPLATES = ("V", "VC", "IVC", "VCVC", "IVCVC", "IVCVBC", "IVCVCBC", "IVCVCBCC")
ROUND = "VC"  # played again in longer songs
NAMES = {"I": "intro", "V": "verse", "C": "chorus", "B": "bridge", "O": "outro"}
LEVELS = {"intro": 0.72, "verse": 0.8, "chorus": 1.0, "bridge": 0.68, "outro": 0.8}
RING_S = 1.3  # that the final chord lasts at least
LEAST_BARS = 3  # of a song with a final chord
# Chord roots as scale degrees. The first chord is the home chord but in a bridge, so a song says its key at once.
PROGRESSIONS = {
    False: ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 0), (0, 3, 0, 4), (0, 2, 3, 4), (0, 4, 3, 4)),
    True: ((0, 5, 2, 6), (0, 3, 4, 0), (0, 5, 3, 4), (0, 6, 5, 4), (0, 2, 5, 6), (0, 3, 5, 4)),
}
BRIDGES = {False: ((3, 4, 3, 4), (5, 3, 5, 4), (3, 0, 3, 4)), True: ((3, 4, 3, 4), (5, 6, 5, 4), (3, 0, 5, 6))}
FAST_BAR_S = 1.25  # a chord lasts two bars where they are shorter
# The sections in which a part rests; the lead leaves verse and chorus to a singer.
RESTS = {
    "drums": (),
    "bass": ("intro",),
    "keys": ("bridge",),
    "pad": ("verse",),
    "lead": ("intro", "outro"),
    "arp": ("intro", "verse"),
    "percussion": ("intro", "bridge"),
    "vocals": ("intro", "bridge", "outro"),
    "backing": ("intro", "verse", "bridge", "outro"),
    "fx": (),
}


@dataclass(frozen=True)
class Section:
    name: str
    number: int  # counts the sections of this name from 1
    first_bar: int
    bars: int

    @property
    def label(self) -> str:
        return f"{self.name} {self.number}" if self.name == "verse" else self.name

    @property
    def after(self) -> int:
        return self.first_bar + self.bars


@dataclass(frozen=True)
class Form:
    """Sections in order; the bar after the last one is the final chord's where `ring_s` is above 0."""

    sketch: Sketch
    sections: tuple[Section, ...]
    ring_s: float

    @property
    def bars(self) -> int:
        return self.sections[-1].after

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(section.name for section in self.sections)

    @cached_property
    def chords(self) -> dict[str, tuple[int, ...]]:
        """The four chords of each kind of section, as scale degrees of their roots."""
        rng = np.random.default_rng([self.sketch.seed, 7])
        verse, chorus = rng.permutation(len(PROGRESSIONS[self.sketch.minor]))[:2]
        known, bridges = PROGRESSIONS[self.sketch.minor], BRIDGES[self.sketch.minor]
        chosen = {"verse": known[verse], "chorus": known[chorus], "bridge": bridges[rng.integers(len(bridges))]}
        return chosen | {"intro": chosen["verse"], "outro": chosen["chorus"]}

    def chord(self, section: Section, bar: int) -> int:
        held = 2 if self.sketch.seconds_per_bar < FAST_BAR_S else 1
        return self.chords[section.name][(bar - section.first_bar) // held % 4]

    def plays(self, role: str, name: str) -> bool:
        """Whether a part plays in sections of this name. None of the band is silent all through a song, and no
        section is.
        """
        awake = [one for one in NAMES.values() if one in self.names and one not in self._rests(role)]
        if not awake:  # a song so short that the part would not be heard at all
            return name in ("verse", "chorus")
        pitched = set(self.sketch.voices) & {"bass", "keys", "pad", "lead", "arp"}
        alone = all(name in self._rests(other) for other in pitched)
        return name in awake or (alone and role in pitched)

    def _rests(self, role: str) -> tuple[str, ...]:
        if role == "lead" and self.sketch.sung:
            return ("verse", "chorus")
        return RESTS[role]


def form_of(sketch: Sketch) -> Form:
    """Whole bars for the song's length, and the time that is left for the final chord, or none before a fade."""
    bar_s = sketch.seconds_per_bar
    bars = int((sketch.seconds - RING_S) / bar_s + 1e-9)
    if bars < LEAST_BARS or fades(sketch):
        return Form(sketch, _sections(max(1, int(np.ceil(sketch.seconds / bar_s - 1e-9))), bar_s, "fade"), 0.0)
    return Form(sketch, _sections(bars, bar_s, "chord"), sketch.seconds - bars * bar_s)


def fades(sketch: Sketch) -> bool:
    """Whether the song fades out instead of ending on a chord: most songs of some genres, some of others."""
    often = 0.7 if KNOWN_GENRES[sketch.genre].ending == "fade" else 0.1
    return bool(np.random.default_rng([sketch.seed, 8]).random() < often)


def _sections(bars: int, bar_s: float, ending: str) -> tuple[Section, ...]:
    unit = _section_bars(bars, bar_s)
    letters = _letters(bars // unit)
    lengths = [unit] * len(letters)
    lengths[-1] += bars - unit * len(letters)
    if lengths[-1] >= 1.5 * unit:  # what is left over is a short outro
        letters, lengths = letters + "O", [*lengths[:-1], unit, lengths[-1] - unit]
    if ending == "fade":
        letters = letters.replace("O", "C")
    sections, counts, bar = [], {}, 0
    for letter, length in zip(letters, lengths):
        counts[letter] = counts.get(letter, 0) + 1
        sections.append(Section(NAMES[letter], counts[letter], bar, length))
        bar += length
    return tuple(sections)


def _section_bars(bars: int, bar_s: float) -> int:
    """4, 8 or 16 bars: near SECTION_S, and fewer where the song would have less than five sections."""
    unit = 4 * 2 ** int(np.clip(round(np.log2(SECTION_S / bar_s / 4)), 0, 2))
    while unit > 4 and bars < 5 * unit:
        unit //= 2
    return unit


def _letters(count: int) -> str:
    known = TEMPLATES[min(max(count, 1), len(TEMPLATES)) - 1]
    return known[:3] + (ROUND * count)[: max(0, count - len(TEMPLATES))] + known[3:]
