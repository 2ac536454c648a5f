"""What the band knows of each genre and mood: words, tempi, instruments, metres, feel and room."""

from collections.abc import Mapping
from dataclasses import dataclass, field

STRAIGHT = (1, 0.0)
# Swung sixteenths: a swing tune counted in two, whose eighths are the sixteenths here. So straight eighths of the hats
# tell the tempo from its half.
SHUFFLE = (1, 0.6)


@dataclass(frozen=True)
class Genre:
    words: tuple[str, ...]
    bpm: tuple[int, int]  # where it feels at home
    roles: dict[str, float]  # how likely a part plays
    voices: dict[str, tuple[str, ...]]
    swing: tuple[int, float] = STRAIGHT  # every second note on this grid, in sixteenths, is so many sixteenths late
    chords: str = "triad"  # or "seventh", or "power": root and fifth
    sung: float = 0.3  # how likely it has lyrics
    metres: Mapping[int, float] = field(default_factory=lambda: {3: 0.06, 6: 0.06})
    room: str = "small"
    kit: str = "acoustic"  # or "electronic": never sampled
    pump: float = 0.0  # how deep the kick presses everything else down
    ending: str = "chord"  # or "fade"


def _electronic(*about, **more) -> Genre:
    return Genre(*about, **dict(kit="electronic", metres={3: 0.04}, ending="fade") | more)


GENRES = {
    "house": _electronic(
        ("electronic dance", "house", "dance", "edm"),
        (112, 132),
        dict(drums=1, bass=1, keys=0.5, pad=0.5, lead=0.4, arp=0.3, percussion=0.3, fx=0.4),
        dict(bass=("synth bass",), keys=("piano", "organ"), lead=("saw lead",)),
        pump=0.55,
    ),
    "techno": _electronic(
        ("techno", "minimal techno"),
        (124, 144),
        dict(drums=1, bass=1, keys=0.1, pad=0.4, lead=0.2, arp=0.7, percussion=0.2, fx=0.5),
        dict(bass=("synth bass",), pad=("warm pad",), lead=("square lead",), arp=("pluck",)),
        sung=0.05,
        pump=0.4,
    ),
    "trance": _electronic(
        ("trance", "uplifting trance"),
        (130, 150),
        dict(drums=1, bass=1, keys=0.1, pad=0.8, lead=0.6, arp=0.8, fx=0.6),
        dict(bass=("synth bass",), pad=("strings",), lead=("saw lead",), arp=("pluck",)),
        sung=0.15,
        room="large",
        pump=0.55,
    ),
    "synthwave": _electronic(
        ("synthwave", "retro synth pop", "eighties synth"),
        (84, 118),
        dict(drums=1, bass=1, keys=0.1, pad=0.8, lead=0.6, arp=0.6, fx=0.2),
        dict(bass=("synth bass",), pad=("warm pad",), lead=("saw lead", "square lead"), arp=("pluck",)),
        pump=0.25,
        ending="chord",
    ),
    "hip hop": _electronic(
        ("hip hop", "trap", "rap beat"),
        (70, 100),
        dict(drums=1, bass=1, keys=0.6, pad=0.3, lead=0.4, arp=0.2),
        dict(bass=("sub bass",), keys=("piano", "electric piano"), lead=("bells", "flute")),
        swing=(1, 0.2),
    ),
    "lo-fi": _electronic(
        ("lo-fi", "lofi beat", "chillhop"),
        (66, 92),
        dict(drums=1, bass=0.9, keys=0.95, pad=0.3, lead=0.3, arp=0.1),
        dict(bass=("sub bass", "electric bass"), keys=("electric piano",), lead=("flute", "bells")),
        swing=(1, 0.28),
        sung=0.1,
        chords="seventh",
    ),
    "funk": Genre(
        ("funk", "disco"),
        (96, 122),
        dict(drums=1, bass=1, keys=0.9, pad=0.3, lead=0.4, arp=0.1, percussion=0.4),
        dict(
            bass=("electric bass",),
            keys=("organ", "electric piano", "electric guitar"),
            pad=("brass section", "strings"),
            lead=("square lead", "saxophone"),
        ),
        swing=(1, 0.1),
        metres={3: 0.04},
    ),
    "rock": Genre(
        ("rock", "indie rock", "pop rock"),
        (96, 150),
        dict(drums=1, bass=1, keys=0.9, pad=0.2, lead=0.6, arp=0.1, backing=0.4),
        dict(
            bass=("electric bass", "picked bass"),
            keys=("organ", "piano", "electric guitar", "distorted guitar"),
            lead=("saw lead", "lead guitar"),
        ),
        sung=0.5,
    ),
    "ambient": _electronic(
        ("ambient", "atmospheric", "meditation music"),
        (60, 90),
        dict(drums=0.1, bass=0.4, keys=0.3, pad=1, lead=0.5, arp=0.4),
        dict(bass=("sub bass",), keys=("electric piano",), lead=("flute", "bells"), arp=("pluck", "harp")),
        sung=0.05,
        room="large",
    ),
    "reggae": Genre(
        ("reggae", "dub"),
        (66, 96),
        dict(drums=1, bass=1, keys=1, pad=0.2, lead=0.3, arp=0.1, percussion=0.3),
        dict(
            bass=("electric bass", "sub bass"),
            keys=("organ", "electric guitar"),
            lead=("flute", "square lead", "trumpet"),
        ),
        sung=0.4,
        metres={3: 0.03},
        ending="fade",
    ),
    "jazz trio": Genre(
        ("jazz trio", "jazz", "swing jazz"),
        (88, 180),
        dict(drums=0.95, bass=1, keys=1, lead=0.4),
        dict(bass=("upright bass",), keys=("piano",), lead=("saxophone", "trumpet", "vibraphone", "clarinet")),
        swing=SHUFFLE,
        chords="seventh",
        sung=0.15,
        metres={3: 0.12},
    ),
    "bossa nova": Genre(
        ("bossa nova", "brazilian jazz"),
        (100, 150),
        dict(drums=0.8, bass=1, keys=1, pad=0.15, lead=0.6, percussion=0.5),
        dict(bass=("upright bass",), keys=("nylon guitar",), pad=("strings",), lead=("flute", "saxophone", "piano")),
        chords="seventh",
        metres={},
    ),
    "orchestral": Genre(
        ("orchestral", "cinematic orchestra", "film score"),
        (60, 140),
        dict(drums=0.05, bass=1, pad=1, lead=0.9, arp=0.6, percussion=0.6),
        dict(
            bass=("contrabass",),
            pad=("strings",),
            lead=("violin", "french horn", "oboe", "trumpet", "flute"),
            arp=("harp", "pizzicato strings"),
            percussion=("timpani",),
        ),
        sung=0.03,
        room="hall",
        metres={3: 0.15, 6: 0.15},
    ),
    "string quartet": Genre(
        ("string quartet", "chamber music", "classical strings"),
        (60, 140),
        dict(bass=1, pad=1, lead=1, arp=0.6),
        dict(bass=("cello",), pad=("viola",), lead=("violin",), arp=("pizzicato strings",)),
        sung=0.0,
        room="hall",
        metres={3: 0.25, 6: 0.12},
    ),
    "metal": Genre(
        ("heavy metal", "metal", "hard rock"),
        (110, 180),
        dict(drums=1, bass=1, keys=1, lead=0.6),
        dict(bass=("picked bass",), keys=("distorted guitar",), lead=("lead guitar",)),
        chords="power",
        sung=0.4,
        metres={6: 0.08},
    ),
    "folk": Genre(
        ("folk", "acoustic folk", "singer-songwriter"),
        (76, 130),
        dict(drums=0.35, bass=0.6, keys=1, pad=0.1, lead=0.6, percussion=0.3, backing=0.3),
        dict(
            bass=("upright bass",),
            keys=("acoustic guitar", "nylon guitar"),
            pad=("strings",),
            lead=("violin", "flute", "harmonica"),
        ),
        sung=0.65,
        metres={3: 0.2, 6: 0.2},
    ),
    "blues": Genre(
        ("blues", "slow blues", "blues rock"),
        (60, 120),
        dict(drums=1, bass=1, keys=0.9, lead=0.7),
        dict(
            bass=("electric bass", "upright bass"),
            keys=("piano", "organ", "electric guitar"),
            lead=("lead guitar", "harmonica", "saxophone"),
        ),
        swing=SHUFFLE,
        chords="seventh",
        sung=0.5,
        metres={6: 0.15},
    ),
    "country": Genre(
        ("country", "bluegrass", "americana"),
        (84, 140),
        dict(drums=0.9, bass=1, keys=1, lead=0.6, arp=0.4, backing=0.3),
        dict(
            bass=("electric bass", "upright bass"),
            keys=("acoustic guitar", "piano"),
            lead=("violin", "electric guitar", "harmonica"),
            arp=("banjo",),
        ),
        sung=0.6,
        metres={3: 0.15},
    ),
    "drum and bass": _electronic(
        ("drum and bass", "jungle", "dnb"),
        (150, 180),
        dict(drums=1, bass=1, keys=0.3, pad=0.7, lead=0.4, arp=0.4, fx=0.4),
        dict(
            bass=("reese bass", "sub bass"),
            keys=("electric piano", "piano"),
            pad=("warm pad",),
            lead=("square lead", "bells"),
            arp=("pluck",),
        ),
        sung=0.2,
        metres={},
    ),
    "salsa": Genre(
        ("salsa", "latin", "cuban son"),
        (84, 110),
        dict(drums=0.7, bass=1, keys=1, pad=0.6, lead=0.5, percussion=1, backing=0.4),
        dict(
            bass=("upright bass", "electric bass"), keys=("piano",), pad=("brass section",), lead=("trumpet", "flute")
        ),
        sung=0.45,
        metres={},
    ),
}

# Left out of pretraining, as styles for adapters; drawn only by name.
UNHEARD = {
    "chiptune": _electronic(
        ("chiptune", "8-bit", "video game music"),
        (128, 168),
        dict(drums=1, bass=1, keys=0.1, pad=0, lead=0.9, arp=0.9),
        dict(bass=("triangle bass",), keys=("pulse chords",), lead=("pulse lead",), arp=("pulse arp",)),
        sung=0.0,
        ending="chord",
    ),
}
KNOWN_GENRES = GENRES | UNHEARD

# mood: its words, how likely minor, brightness of the mix (dB a decade), how hard the band plays
MOODS = {
    "happy": (("happy", "upbeat", "uplifting", "cheerful"), 0.1, 1.0, 1.0),
    "energetic": (("energetic", "driving", "powerful"), 0.5, 2.0, 1.15),
    "sad": (("sad", "melancholic", "emotional"), 0.95, -2.0, 0.85),
    "dark": (("dark", "moody", "mysterious"), 1.0, -3.0, 1.0),
    "dreamy": (("dreamy", "ethereal", "spacey"), 0.5, -1.0, 0.85),
    "calm": (("calm", "chill", "relaxed", "mellow"), 0.4, -2.0, 0.8),
}
