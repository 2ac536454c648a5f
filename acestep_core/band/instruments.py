"""The instruments of the band: which part plays each, on which published track it is, and how it is made to sound.

A voice with a `program` is a sampled instrument wherever a soundfont is given (General MIDI, counted from 0), and is
synthesised elsewhere. Voices of electronic music have none.
"""

from dataclasses import dataclass

# What a member of the band does in a song.
ROLES = ("drums", "bass", "keys", "pad", "lead", "arp", "percussion", "vocals", "backing", "fx")
# The names of stems, as the published models know them.
TRACKS = (
    *("vocals", "backing_vocals", "drums", "bass", "guitar", "keyboard"),
    *("percussion", "strings", "synth", "fx", "brass", "woodwinds"),
)


@dataclass(frozen=True)
class Voice:
    """How an instrument sounds: harmonics, how they fade, and the envelope of a note."""

    role: str  # of the part that plays it most
    track: str
    tilt: float = 1.0  # amplitude of harmonic k is k ** -tilt
    odd_only: bool = False
    cutoff: float = 8.0  # harmonics above it (in multiples of the fundamental) fall at 12 dB an octave
    decay_s: float = 100.0  # of the fundamental; harmonic k fades k ** fade times faster
    fade: float = 0.5
    detune_cents: float = 0.0  # a second and third oscillator this far off, above and below
    vibrato_cents: float = 0.0
    bell: bool = False  # inharmonic partials
    attack_s: float = 0.005
    release_s: float = 0.08
    gain: float = 1.0
    drive: float = 0.0  # of an amplifier that distorts
    program: int | None = None
    slides: bool = False  # into the first note of a phrase


VOICES = {
    "synth bass": Voice("bass", "bass", 0.9, cutoff=5.0, decay_s=0.7, fade=0.7, release_s=0.05),
    "sub bass": Voice("bass", "bass", 2.2, cutoff=3.0, release_s=0.06, gain=1.15),
    "reese bass": Voice("bass", "bass", 0.8, cutoff=6.0, detune_cents=14.0, release_s=0.06),
    "electric bass": Voice("bass", "bass", 1.3, cutoff=6.0, decay_s=1.1, fade=1.0, release_s=0.07, program=33),
    "picked bass": Voice("bass", "bass", 1.0, cutoff=8.0, decay_s=0.9, fade=0.8, release_s=0.06, program=34),
    "upright bass": Voice("bass", "bass", 1.7, cutoff=5.0, decay_s=0.6, fade=1.1, release_s=0.1, program=32),
    "contrabass": Voice("bass", "strings", 1.1, cutoff=6.0, attack_s=0.09, release_s=0.2, program=43),
    "cello": Voice("bass", "strings", 1.0, cutoff=8.0, vibrato_cents=8.0, attack_s=0.06, release_s=0.15, program=42),
    "warm pad": Voice("pad", "synth", 1.1, cutoff=4.0, detune_cents=9.0, attack_s=0.25, release_s=0.4),
    "strings": Voice(
        "pad", "strings", 0.9, cutoff=7.0, detune_cents=6.0, vibrato_cents=6.0, attack_s=0.14, release_s=0.3, program=48
    ),
    "viola": Voice("pad", "strings", 1.0, cutoff=7.0, vibrato_cents=7.0, attack_s=0.08, release_s=0.2, program=41),
    "brass section": Voice(
        "pad", "brass", 0.7, cutoff=7.0, detune_cents=4.0, attack_s=0.05, release_s=0.12, gain=0.9, program=61
    ),
    "piano": Voice("keys", "keyboard", 1.2, cutoff=9.0, decay_s=1.3, fade=0.6, release_s=0.15, program=0),
    "electric piano": Voice("keys", "keyboard", 1.9, cutoff=6.0, decay_s=1.6, fade=1.2, release_s=0.15, program=4),
    "organ": Voice(
        "keys", "keyboard", 1.0, odd_only=True, cutoff=5.0, attack_s=0.012, release_s=0.05, program=16, gain=0.9
    ),
    "acoustic guitar": Voice("keys", "guitar", 1.1, cutoff=10.0, decay_s=0.8, fade=0.8, release_s=0.12, program=25),
    "nylon guitar": Voice("keys", "guitar", 1.5, cutoff=8.0, decay_s=0.7, fade=0.9, release_s=0.12, program=24),
    "electric guitar": Voice("keys", "guitar", 1.2, cutoff=7.0, decay_s=1.0, fade=0.6, release_s=0.08, program=27),
    "distorted guitar": Voice(
        "keys", "guitar", 0.8, cutoff=6.0, decay_s=2.5, fade=0.4, release_s=0.05, drive=3.0, gain=0.9, program=30
    ),
    "saw lead": Voice(
        "lead",
        "synth",
        0.9,
        cutoff=9.0,
        detune_cents=5.0,
        vibrato_cents=8.0,
        attack_s=0.012,
        release_s=0.1,
        slides=True,
    ),
    "square lead": Voice("lead", "synth", 1.0, odd_only=True, cutoff=9.0, attack_s=0.008, slides=True),
    "flute": Voice(
        "lead", "woodwinds", 2.0, cutoff=4.0, vibrato_cents=14.0, attack_s=0.05, release_s=0.12, gain=1.2, program=73
    ),
    "clarinet": Voice(
        "lead", "woodwinds", 1.3, odd_only=True, cutoff=7.0, vibrato_cents=5.0, attack_s=0.04, program=71
    ),
    "oboe": Voice("lead", "woodwinds", 0.7, cutoff=6.0, vibrato_cents=9.0, attack_s=0.03, program=68),
    "saxophone": Voice(
        "lead", "woodwinds", 0.9, cutoff=6.0, vibrato_cents=10.0, attack_s=0.03, program=65, slides=True
    ),
    "trumpet": Voice("lead", "brass", 0.5, cutoff=6.0, vibrato_cents=6.0, attack_s=0.03, program=56),
    "french horn": Voice(
        "lead", "brass", 1.3, cutoff=5.0, vibrato_cents=4.0, attack_s=0.06, release_s=0.15, program=60
    ),
    "violin": Voice(
        "lead", "strings", 0.8, cutoff=9.0, vibrato_cents=12.0, attack_s=0.05, release_s=0.12, program=40, slides=True
    ),
    "lead guitar": Voice(
        "lead", "guitar", 0.9, cutoff=7.0, decay_s=3.0, vibrato_cents=10.0, drive=2.0, program=29, slides=True
    ),
    "harmonica": Voice(
        "lead", "woodwinds", 0.8, odd_only=True, cutoff=8.0, vibrato_cents=9.0, attack_s=0.03, program=22, slides=True
    ),
    "bells": Voice("lead", "keyboard", 1.2, bell=True, decay_s=1.0, fade=0.5, release_s=0.3, program=9),
    "vibraphone": Voice("lead", "keyboard", 2.2, cutoff=5.0, decay_s=1.2, fade=1.2, release_s=0.3, program=11),
    "pluck": Voice("arp", "synth", 1.0, cutoff=8.0, decay_s=0.22, fade=0.6, release_s=0.05),
    "harp": Voice("arp", "strings", 1.6, cutoff=7.0, decay_s=0.7, fade=0.8, release_s=0.25, program=46),
    "pizzicato strings": Voice("arp", "strings", 1.4, cutoff=6.0, decay_s=0.16, fade=0.9, program=45),
    "marimba": Voice("arp", "percussion", 2.4, cutoff=5.0, decay_s=0.2, fade=1.4, release_s=0.1, program=12),
    "banjo": Voice("arp", "guitar", 0.8, cutoff=10.0, decay_s=0.25, fade=0.5, program=105),
    "timpani": Voice("percussion", "percussion", 1.8, cutoff=3.0, decay_s=0.7, fade=1.2, release_s=0.3, program=47),
}
# Played in the genres that pretraining leaves out, and nowhere else.
UNHEARD_VOICES = {
    "triangle bass": Voice("bass", "bass", 2.0, odd_only=True, cutoff=20.0, attack_s=0.002, release_s=0.02),
    "pulse chords": Voice("keys", "synth", 0.55, cutoff=14.0, attack_s=0.002, release_s=0.02, gain=0.9),
    "pulse lead": Voice("lead", "synth", 0.45, cutoff=18.0, vibrato_cents=22.0, attack_s=0.002, release_s=0.02),
    "pulse arp": Voice("arp", "synth", 0.5, cutoff=18.0, attack_s=0.002, release_s=0.015),
}
KNOWN_VOICES = VOICES | UNHEARD_VOICES
# Parts that are no single pitched instrument → the only name of their voice, and its track.
KITS = {
    "drums": ("kit", "drums"),
    "percussion": ("hand percussion", "percussion"),
    "backing": ("choir", "backing_vocals"),
    "fx": ("effects", "fx"),
}
SINGERS = ("female voice", "male voice")
# What a part plays where a genre names no instrument for it.
USUAL = {
    "bass": ("synth bass", "sub bass", "electric bass"),
    "keys": ("piano", "electric piano", "organ"),
    "pad": ("warm pad", "strings"),
    "lead": ("saw lead", "square lead", "flute", "bells"),
    "arp": ("pluck", "harp", "marimba"),
}


def voices_of(role: str) -> tuple[str, ...]:
    """The voices that a part chooses from where its genre names none."""
    if role == "vocals":
        return SINGERS
    return (KITS[role][0],) if role in KITS else USUAL[role]


def track_of(role: str, voice: str) -> str:
    """The stem that a voice is on."""
    if role == "vocals":
        return "vocals"
    return KNOWN_VOICES[voice].track if voice in KNOWN_VOICES else KITS[role][1]
