"""Songs that a model generates itself, to be trained on: their captions. No torch."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice

from ..errors import UserError
from ..song import Song
from ..spec import MAX_SECONDS, MIN_SECONDS
from ..system.folders import user_path
from ..system.texts import read_text

CAPTIONS_BYTES_MOST = 1 << 20  # of a file of them

# Far from one another, so that together they cover what a model can do.
STYLES = (
    "acoustic folk with fingerpicked guitar and a warm male voice",
    "melancholic piano ballad, female vocals, strings",
    "driving punk rock, distorted guitars, fast drums, shouted vocals",
    "heavy metal with double kick drums and a soaring guitar solo",
    "indie rock, jangly guitars, live drums, dreamy vocals",
    "classic blues, slide guitar, harmonica, raspy voice",
    "country song with pedal steel, banjo and close harmonies",
    "smooth jazz quartet, brushed drums, upright bass, saxophone",
    "big band swing, brass section, walking bass",
    "bossa nova, nylon guitar, soft percussion, whispered vocals",
    "salsa with congas, piano montuno and trumpets",
    "reggae, offbeat guitar, deep bass, laid-back vocals",
    "afrobeat, interlocking guitars, horns, polyrhythmic drums",
    "soul with organ, horns and a gospel choir",
    "funk, slap bass, wah guitar, tight drums",
    "disco, four on the floor, string stabs, falsetto",
    "synth pop, analog synths, gated drums, bright chorus",
    "contemporary pop, polished production, catchy female hook",
    "slow R&B, electric piano, finger snaps, layered vocals",
    "boom bap hip hop, dusty samples, scratches, rapped verses",
    "trap, booming 808, rolling hi-hats, dark bells",
    "lo-fi beat, mellow keys, vinyl crackle, instrumental",
    "deep house, warm chords, shuffling hats, instrumental",
    "techno, relentless kick, acid line, industrial noise",
    "drum and bass, fast breakbeats, rolling sub bass",
    "trance, euphoric supersaw lead, long build-up",
    "ambient drones, slow evolving pads, no drums",
    "orchestral film score, soaring strings, brass, timpani",
    "baroque string ensemble with harpsichord",
    "solo classical guitar, expressive, intimate",
    "Celtic reel, fiddle, flute, bodhran",
    "epic choir with taiko drums and low brass",
)


def own_songs(captions: str | None, variant: str, seconds: float) -> list[Song]:
    """Songs for prior preservation: the lines of a file, else one of about so many seconds in each of many styles.

    Raises UserError for a file that cannot be read.
    """
    if captions is not None:
        return of_length(read_songs(captions), seconds)
    seconds = song_length(seconds)
    if variant == "tiny":
        return band_songs(len(STYLES), seconds)
    return [Song(style, seconds=seconds) for style in STYLES]


def band_songs(count: int, seconds: float = 30.0) -> list[Song]:
    """Songs as the procedural band plays them, whose music the embedded models were trained on."""
    from ..band import Sketch, song_of

    return [song_of(Sketch.draw(seed, seconds)) for seed in range(count)]


def read_songs(captions: str) -> list[Song]:
    """The songs in a file, each line a caption or a song as JSON. Raises UserError."""
    lines = read_text(user_path(captions), CAPTIONS_BYTES_MOST).split("\n")
    songs = [_song(line.strip(), f"{captions} line {i}") for i, line in enumerate(lines, start=1) if line.strip()]
    if not songs:
        raise UserError(f"{captions}: holds no captions, expected one a line")
    return songs


def of_length(songs: Sequence[Song], seconds: float) -> list[Song]:
    """The same songs at the length at which they are generated, which the prompt says too."""
    return [replace(song, seconds=song_length(seconds)) for song in songs]


def song_length(seconds: float) -> float:
    """The nearest length that a song may have."""
    return min(max(seconds, MIN_SECONDS), MAX_SECONDS)


def in_turn(songs: Sequence[Song], count: int) -> list[Song]:
    """`count` songs, beginning again with the first after the last."""
    return list(islice(cycle(songs), count))


def _song(line: str, where: str) -> Song:
    try:
        return Song.from_json(line) if line.startswith("{") else Song(line)
    except UserError as exc:
        raise UserError(f"{where}: {exc}") from exc
