"""What is said of a song: captions in several styles, from tags to sentences, and the request that it answers.

All that a caption says is true of the song. Every style is drawn from the seed and the number of the variant.
"""

from dataclasses import replace

import numpy as np

from ..song import INSTRUMENTAL, Song
from .form import RESTS, Form, form_of
from .genres import KNOWN_GENRES, MOODS
from .instruments import KNOWN_VOICES, ROLES
from .lyrics import lyrics_text
from .sketch import Sketch

ROLE_WORDS = {
    "drums": ("drums", "beat", "drum kit"),
    "bass": ("bass", "bassline"),
    "keys": ("chords", "keys"),
    "pad": ("pad", "pads"),
    "lead": ("lead", "melody", "lead melody"),
    "arp": ("arpeggio", "arpeggios"),
    "percussion": ("hand percussion", "congas and shakers"),
    "vocals": ("vocals", "singing", "a singer"),
    "backing": ("backing vocals", "a choir", "harmonies"),
    "fx": ("sound effects", "risers"),
}
NEVER_FORBIDDEN = ("percussion", "backing", "fx")
TEMPI = (
    (80, ("slow", "slow tempo")),
    (112, ("mid-tempo", "moderate tempo")),
    (140, ("lively", "brisk")),
    (999, ("fast", "fast tempo")),
)
METRES = {4: ("4/4",), 3: ("3/4", "waltz time", "in three"), 6: ("6/8", "in six eight time")}
LEAST_NAMED = 0.8

Said = tuple[str, frozenset[str], frozenset[str]]


def caption(sketch: Sketch, variant: int = 0, styles: tuple[str, ...] = ()) -> Said:
    """A caption for the sketch, in one of these styles or of all, the roles that it names and those that it forbids."""
    rng = np.random.default_rng([sketch.seed, 2, variant])
    styles = styles or tuple(STYLES)
    style = styles[rng.integers(len(styles))] if len(styles) > 1 else styles[0]
    text, named, forbidden = STYLES[style](rng, sketch)
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    return text, frozenset(named), frozenset(forbidden)


def song_of(sketch: Sketch, variant: int = 0, complete: bool = False, styles: tuple[str, ...] = ()) -> Song:
    """The request that the sketch answers. Metadata is left open one time in eight, unless `complete`."""
    rng = np.random.default_rng([sketch.seed, 3, variant])
    song = Song(
        caption=caption(sketch, variant, styles)[0],
        lyrics=lyrics_text(form_of(sketch)) if sketch.sung else INSTRUMENTAL,
        bpm=sketch.bpm,
        key=sketch.key,
        time_signature=str(sketch.metre),
        language="en" if sketch.sung else "unknown",
        seconds=max(10.0, sketch.seconds),
    )
    if complete:
        return song
    hidden = {name: None for name in ("bpm", "key", "time_signature") if rng.random() < 0.12}
    return replace(song, **hidden)


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _one(rng, words) -> str:
    return str(rng.choice(list(words)))


def _about(rng, sketch: Sketch) -> tuple[str, str]:
    return _one(rng, MOODS[sketch.mood][0]), _one(rng, KNOWN_GENRES[sketch.genre].words)


def _named(rng, sketch: Sketch, share: float = LEAST_NAMED) -> list[str]:
    return [role for role in audible(sketch) if rng.random() < share]


def audible(sketch: Sketch) -> list[str]:
    """Who is heard: effects lead into a chorus, and a short song has none."""
    return [role for role in sketch.voices if role != "fx" or "chorus" in form_of(sketch).names]


def _forbidden(rng, sketch: Sketch) -> list[str]:
    absent = [role for role in ROLES if role not in sketch.voices and role not in NEVER_FORBIDDEN]
    return [role for role in absent if rng.random() < (0.7 if role == "drums" else 0.35)][:2]


def _words(rng, sketch: Sketch, role: str) -> str:
    voice = sketch.voices[role]
    if role == "vocals":
        return _one(rng, ("vocals", f"{voice.split()[0]} vocals", voice, f"a {voice.split()[0]} singer"))
    if role in ("arp", "keys", "pad") and voice in KNOWN_VOICES and rng.random() < 0.8:
        return voice
    if voice not in KNOWN_VOICES or (role in ("lead", "arp", "keys", "pad", "bass") and rng.random() < 0.25):
        return _one(rng, ROLE_WORDS[role])
    return voice


def _plain(rng, sketch: Sketch) -> Said:
    """Mood and genre, instruments, and those that are not there."""
    mood, genre = _about(rng, sketch)
    named, forbidden = _named(rng, sketch), _forbidden(rng, sketch)
    head = f"{mood} {genre}" if rng.random() < 0.7 else f"{genre}, {mood}"
    text = head + _one(rng, (" with ", ", ")) + _and([_words(rng, sketch, role) for role in named] or ["music"])
    for role in forbidden:
        text += f", {_one(rng, ('no', 'without'))} {_one(rng, ROLE_WORDS[role])}"
    if rng.random() < 0.15:
        text += f", {sketch.bpm} bpm"
    if rng.random() < 0.15:
        text += f", in {sketch.key}"
    return text, named, forbidden


def _tempo(rng, sketch: Sketch) -> str:
    if rng.random() < 0.25:
        return f"{sketch.bpm} bpm"
    return _one(rng, next(words for below, words in TEMPI if sketch.bpm < below))


def _tags(rng, sketch: Sketch) -> Said:
    """Tags in any order: "piano, jazz trio, swing, slow, instrumental"."""
    mood, genre = _about(rng, sketch)
    named, forbidden = _named(rng, sketch), _forbidden(rng, sketch)
    tags = [mood, genre, *(_words(rng, sketch, role) for role in named)]
    further = (_tempo(rng, sketch), sketch.key, _one(rng, METRES[sketch.metre]))
    tags += [tag for tag, chance in zip(further, (0.5, 0.2, 0.15)) if rng.random() < chance]
    tags = [tags[i] for i in rng.permutation(len(tags))] if rng.random() < 0.5 else tags
    if not sketch.sung and (rng.random() < 0.5 or "vocals" in forbidden):
        forbidden = [*(role for role in forbidden if role != "vocals"), "vocals"]
        tags.append(_one(rng, ("instrumental", "no vocals")))
    tags += [f"no {_one(rng, ROLE_WORDS[role])}" for role in forbidden if role != "vocals"]
    return ", ".join(dict.fromkeys(tags)), named, forbidden


def _sentence(rng, sketch: Sketch) -> Said:
    """One to three sentences: "A calm folk song with acoustic guitar. It is slow and in D minor. There are no drums."""
    mood, genre = _about(rng, sketch)
    named, forbidden = _named(rng, sketch), _forbidden(rng, sketch)
    kind = "song" if sketch.sung else _one(rng, ("piece", "instrumental", "track", "tune"))
    if kind == "instrumental":
        forbidden = [*(role for role in forbidden if role != "vocals"), "vocals"]
    text = f"{_article(mood)} {mood} {genre} {kind}"
    if named:
        text += f" {_one(rng, ('with', 'featuring', 'played by'))} " + _and([_words(rng, sketch, r) for r in named])
    text += "."
    if rng.random() < 0.5:
        text += f" It is {_tempo(rng, sketch)}" + (f" and in {sketch.key}." if rng.random() < 0.4 else ".")
    if unsaid := [role for role in forbidden if kind != "instrumental" or role != "vocals"]:
        nothing = " and ".join(f"no {_one(rng, ROLE_WORDS[role]).removeprefix('a ')}" for role in unsaid)
        text += f" There {_one(rng, ('are', 'is'))} {nothing}."
    return text, named, forbidden


def _few_words(rng, sketch: Sketch) -> Said:
    """As users often ask: "calm lo-fi", "fast metal with lead guitar"."""
    mood, genre = _about(rng, sketch)
    named = [_one(rng, audible(sketch))] if rng.random() < 0.4 and sketch.voices else []
    head = _one(rng, (f"{mood} {genre}", genre, f"{_tempo(rng, sketch)} {genre}"))
    return head + (f" with {_words(rng, sketch, named[0])}" if named else ""), named, []


def _story(rng, sketch: Sketch) -> Said:
    """A sentence, and how the song goes: its sections, what joins in, how it ends."""
    text, named, forbidden = _sentence(rng, sketch)
    form = form_of(sketch)
    parts = [part for part in (_beginning(form), _rise(rng, form), _middle(form), _end(form)) if part]
    return f"{text} {_capital(_and(parts))}.", named, forbidden


def _beginning(form: Form) -> str:
    return "after an intro the verse begins" if form.sections[0].name == "intro" else "it begins with the verse"


def _rise(rng, form: Form) -> str:
    joins = [r for r in form.sketch.voices if "verse" in RESTS[r] and form.plays(r, "chorus")]
    joins = [r for r in joins if not form.plays(r, "verse")]
    times = sum(section.name == "chorus" for section in form.sections)
    if not times:
        return ""
    said = f"the chorus {'comes back' if times > 1 else 'is fuller'}"
    return f"{said} with {_words(rng, form.sketch, joins[0])}" if joins else said


def _middle(form: Form) -> str:
    return "a sparse bridge lies in between" if "bridge" in form.names else ""


def _end(form: Form) -> str:
    return "it ends on a long chord" if form.ring_s else "it fades out"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


STYLES = {"plain": _plain, "tags": _tags, "sentence": _sentence, "few words": _few_words, "story": _story}
