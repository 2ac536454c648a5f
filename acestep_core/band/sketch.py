"""The plan of a clip by the band, drawn from a seed, and the song that describes it: `Sketch` → `Song`.

Instruments that a caption names are in the music, those that it forbids are not, and all others follow the genre.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..song import Song
from .voices import ROLES, voices_of

TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
SLOWEST_BPM, FASTEST_BPM = 60, 180


@dataclass(frozen=True)
class Genre:
    words: tuple[str, ...]
    bpm: tuple[int, int]  # where it feels at home; one clip in four goes anywhere
    roles: dict[str, float]  # how likely a role plays when the caption leaves it open
    voices: dict[str, tuple[str, ...]]


GENRES = {
    "house": Genre(
        ("electronic dance", "house", "dance", "edm"),
        (112, 132),
        dict(drums=1, bass=1, keys=0.5, pad=0.5, lead=0.4, arp=0.3),
        dict(bass=("synth bass",), keys=("piano", "organ"), lead=("saw lead",)),
    ),
    "techno": Genre(
        ("techno", "minimal techno"),
        (124, 144),
        dict(drums=1, bass=1, keys=0.1, pad=0.4, lead=0.2, arp=0.7),
        dict(bass=("synth bass",), pad=("warm pad",), lead=("square lead",)),
    ),
    "trance": Genre(
        ("trance", "uplifting trance"),
        (130, 150),
        dict(drums=1, bass=1, keys=0.1, pad=0.8, lead=0.6, arp=0.8),
        dict(bass=("synth bass",), pad=("strings",), lead=("saw lead",)),
    ),
    "synthwave": Genre(
        ("synthwave", "retro synth pop", "eighties synth"),
        (84, 118),
        dict(drums=1, bass=1, keys=0.1, pad=0.8, lead=0.6, arp=0.6),
        dict(bass=("synth bass",), pad=("warm pad",), lead=("saw lead", "square lead")),
    ),
    "hip hop": Genre(
        ("hip hop", "trap", "rap beat"),
        (70, 100),
        dict(drums=1, bass=1, keys=0.6, pad=0.3, lead=0.4, arp=0.2),
        dict(bass=("sub bass",), keys=("piano", "electric piano"), lead=("bells", "flute")),
    ),
    "lo-fi": Genre(
        ("lo-fi", "lofi beat", "chillhop"),
        (66, 92),
        dict(drums=1, bass=0.9, keys=0.95, pad=0.3, lead=0.3, arp=0.1),
        dict(bass=("sub bass", "electric bass"), keys=("electric piano",), lead=("flute", "bells")),
    ),
    "funk": Genre(
        ("funk", "disco"),
        (96, 122),
        dict(drums=1, bass=1, keys=0.9, pad=0.3, lead=0.4, arp=0.1),
        dict(bass=("electric bass",), keys=("organ", "electric piano"), lead=("square lead",)),
    ),
    "rock": Genre(
        ("rock", "indie rock", "pop rock"),
        (96, 150),
        dict(drums=1, bass=1, keys=0.8, pad=0.2, lead=0.6, arp=0.1),
        dict(bass=("electric bass",), keys=("organ", "piano"), lead=("saw lead",)),
    ),
    "ambient": Genre(
        ("ambient", "atmospheric", "meditation music"),
        (60, 90),
        dict(drums=0.1, bass=0.4, keys=0.3, pad=1, lead=0.5, arp=0.4),
        dict(bass=("sub bass",), keys=("electric piano",), lead=("flute", "bells")),
    ),
    "reggae": Genre(
        ("reggae", "dub"),
        (66, 96),
        dict(drums=1, bass=1, keys=1, pad=0.2, lead=0.3, arp=0.1),
        dict(bass=("electric bass", "sub bass"), keys=("organ",), lead=("flute", "square lead")),
    ),
}

# Left out of pretraining, as styles for adapters; drawn only by name.
UNHEARD = {
    "chiptune": Genre(
        ("chiptune", "8-bit", "video game music"),
        (128, 168),
        dict(drums=1, bass=1, keys=0.1, pad=0, lead=0.9, arp=0.9),
        dict(bass=("triangle bass",), keys=("pulse chords",), lead=("pulse lead",), arp=("pulse arp",)),
    ),
}
_KNOWN = GENRES | UNHEARD

# mood: its words, how likely minor, brightness of the mix (dB a decade), how hard the band plays
MOODS = {
    "happy": (("happy", "upbeat", "uplifting", "cheerful"), 0.1, 1.0, 1.0),
    "energetic": (("energetic", "driving", "powerful"), 0.5, 2.0, 1.15),
    "sad": (("sad", "melancholic", "emotional"), 0.95, -2.0, 0.85),
    "dark": (("dark", "moody", "mysterious"), 1.0, -3.0, 1.0),
    "dreamy": (("dreamy", "ethereal", "spacey"), 0.5, -1.0, 0.85),
    "calm": (("calm", "chill", "relaxed", "mellow"), 0.4, -2.0, 0.8),
}
ROLE_WORDS = {
    "drums": ("drums", "beat", "percussion"),
    "bass": ("bass", "bassline"),
    "keys": ("chords", "keys"),
    "pad": ("pad", "pads"),
    "lead": ("lead", "melody", "lead melody"),
    "arp": ("arpeggio", "arpeggios"),
}


@dataclass(frozen=True)
class Sketch:
    """Everything that is decided before a note is written."""

    seed: int
    genre: str
    mood: str
    bpm: int
    tonic: int  # 0 is C
    minor: bool
    beats_per_bar: int
    voices: dict[str, str]  # role → voice; the drums' is "kit"
    seconds: float

    @classmethod
    def draw(cls, seed: int, seconds: float = 30.0, genre: str | None = None) -> "Sketch":
        """`genre`: of GENRES or UNHEARD; None: any of GENRES."""
        rng = np.random.default_rng([seed, 1])
        drawn = str(rng.choice(list(GENRES)))
        genre = genre or drawn
        mood = str(rng.choice(list(MOODS)))
        low, high = _KNOWN[genre].bpm if rng.random() < 0.75 else (SLOWEST_BPM, FASTEST_BPM)
        voices = {role: _voice(rng, genre, role) for role in ROLES if rng.random() < _KNOWN[genre].roles[role]}
        if not set(voices) - {"drums"}:
            voices["pad"] = _voice(rng, genre, "pad")
        return cls(
            seed=seed,
            genre=genre,
            mood=mood,
            bpm=int(rng.integers(low, high + 1)),
            tonic=int(rng.integers(12)),
            minor=bool(rng.random() < MOODS[mood][1]),
            beats_per_bar=3 if rng.random() < 0.08 else 4,
            voices=voices,
            seconds=seconds,
        )

    @property
    def key(self) -> str:
        return f"{TONICS[self.tonic]} {'minor' if self.minor else 'major'}"

    @property
    def seconds_per_beat(self) -> float:
        return 60.0 / self.bpm


def _voice(rng, genre: str, role: str) -> str:
    if role == "drums":
        return "kit"
    return str(rng.choice(_KNOWN[genre].voices.get(role, voices_of(role))))


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def caption(sketch: Sketch, variant: int = 0) -> tuple[str, frozenset[str], frozenset[str]]:
    """A sentence for the sketch, the roles that it names and the roles that it forbids."""
    rng = np.random.default_rng([sketch.seed, 2, variant])
    mood = str(rng.choice(MOODS[sketch.mood][0]))
    genre = str(rng.choice(_KNOWN[sketch.genre].words))
    named = [role for role in sketch.voices if rng.random() < 0.8]
    absent = [role for role in ROLES if role not in sketch.voices]
    forbidden = [role for role in absent if rng.random() < (0.7 if role == "drums" else 0.35)][:2]
    head = f"{mood} {genre}" if rng.random() < 0.7 else f"{genre}, {mood}"
    text = (
        head + (" with " if rng.random() < 0.6 else ", ") + _and([_words(rng, sketch, r) for r in named] or ["music"])
    )
    for role in forbidden:
        text += f", {rng.choice(['no', 'without'])} {rng.choice(ROLE_WORDS[role])}"
    if rng.random() < 0.15:
        text += f", {sketch.bpm} bpm"
    if rng.random() < 0.15:
        text += f", in {sketch.key}"
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    return text, frozenset(named), frozenset(forbidden)


def _words(rng, sketch: Sketch, role: str) -> str:
    voice = sketch.voices[role]
    if role in ("drums", "arp") or rng.random() < 0.25:
        return str(rng.choice(ROLE_WORDS[role]))
    return voice


def song_of(sketch: Sketch, variant: int = 0, complete: bool = False) -> Song:
    """The request that the sketch answers. Metadata is left open one time in eight, unless `complete`."""
    rng = np.random.default_rng([sketch.seed, 3, variant])
    text, _, _ = caption(sketch, variant)
    song = Song(
        caption=text,
        bpm=sketch.bpm,
        key=sketch.key,
        time_signature=str(sketch.beats_per_bar),
        seconds=max(10.0, sketch.seconds),
    )
    if complete:
        return song
    hidden = {name: None for name in ("bpm", "key", "time_signature") if rng.random() < 0.12}
    return replace(song, **hidden)
