"""What a stage is asked to make in training: a task, its source and target among a song's latents, and the words.

Contexts and instructions are those of the published models, so that every way of editing finds what it was trained for.
All are told their true length. Most of the early items are clips and short crops of songs: many captions in a step, so
that tempo and key are learned soon; later songs are whole, and crops only where a task is given a part of a song.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..band import song_of
from ..editing.tasks import TASKS, instruction
from ..models.defaults import COVER, MORPH, PLAIN_COVER, REPAINT, STEMS, TEXT_TO_MUSIC
from ..prompt import TEXT_TO_MUSIC as PLAIN_INSTRUCTION
from ..prompt import lyrics_prompt, text_prompt
from ..song import INSTRUMENTAL, Song
from .latents import MIX, SOLO, TWIN, WITHOUT, Entry, Library, frames_of
from .songs import Crop
from .sung import Span, spans_of

EXTRACT, LEGO, COMPLETE = STEMS
SHARES = {
    TEXT_TO_MUSIC: 0.58,
    REPAINT: 0.14,
    COVER: 0.08,
    PLAIN_COVER: 0.03,
    EXTRACT: 0.07,
    LEGO: 0.05,
    COMPLETE: 0.05,
}
EARLY_SHARES = SHARES | {TEXT_TO_MUSIC: 1.6}  # of 2.02: four in five
EARLY_CROP_SHARE, EARLY_CROP_S = 0.85, (8.0, 16.0)
CLIP_SHARES = {TEXT_TO_MUSIC: 0.8, COVER: 0.5}  # where there are clips: half of the music is then that of songs
# What the tasks of a checkpoint are called: morphs need nothing but guidance.
KNOWN = (TEXT_TO_MUSIC, REPAINT, PLAIN_COVER, COVER, *STEMS, MORPH)
NULL_SHARE, TIMBRE_SHARE = 0.12, 0.3
CROP_SHARE, CROP_S = 0.6, (10.0, 40.0)  # of tasks with a source; whole songs may be sources too
CAPTION_VARIANTS = 1_000_000
OPEN_SHARE = 0.2  # of tempi, keys and metres that are not told
NO_WORDS_SHARE = 0.8  # of stems to extract, which are asked for by their name alone
WINDOW_OF_LEGO_SHARE = 0.3
SHORTEST_WINDOW_S = 2.0


@dataclass(frozen=True)
class Assignment:
    """One item of a batch. Frames are those of the crop; `window` is where new music is made, None: everywhere.

    `source` is None for silence. `keeps`: the source is silent in the window, as in a repaint. `codes`: the source is
    heard through codes. `sung`: when the words of the lyrics are, in a mix. `timbre` holds the first frames of three
    pieces of the target's song.
    """

    entry: Entry
    task: str
    target: str
    source: str | None
    first: int
    frames: int
    prompt: str
    lyrics: str
    window: tuple[tuple[int, int], ...] | None = None
    keeps: bool = False
    codes: bool = False
    sung: tuple[Span, ...] = ()
    timbre: tuple[int, ...] = ()
    dropped: bool = False


def draw(
    rng: np.random.Generator, library: Library, codes: bool, timbre_piece: int = 0, early: bool = False
) -> Assignment:
    """An assignment by the shares of tasks; one whose sources no song has becomes text to music.

    `codes`: whether there are codes to hear a source through. `timbre_piece`: frames of each piece of a reference.
    `early`: as at the beginning of a training.
    """
    shares = EARLY_SHARES if early else SHARES
    task = str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
    songs = _songs_for(task, library, codes)
    if not songs:
        task, songs = TEXT_TO_MUSIC, library.songs
    if library.clips and rng.random() < CLIP_SHARES.get(task, 0.0):
        songs = library.clips
    song = songs[rng.integers(len(songs))]
    if early and task == TEXT_TO_MUSIC:
        made = text_to_music(rng, song, _part(rng, song, early))
    else:
        made = _MADE[task](rng, song)
    if task not in STEMS and rng.random() < TIMBRE_SHARE and made.entry.frames > timbre_piece > 0:
        made = replace(made, timbre=tuple(rng.integers(0, made.entry.frames - timbre_piece, 3).tolist()))
    return replace(made, dropped=bool(rng.random() < NULL_SHARE))


def _songs_for(task: str, library: Library, codes: bool) -> list[Entry]:
    if task in STEMS:
        return library.with_tracks
    if task == PLAIN_COVER:
        return library.with_twin
    return library.songs if codes or task != COVER else []


def text_to_music(rng, entry: Entry, crop: Crop | None = None) -> Assignment:
    return _assigned(rng, entry, TEXT_TO_MUSIC, MIX, None, crop or _whole(entry), PLAIN_INSTRUCTION)


def _repaint(rng, entry: Entry) -> Assignment:
    """New music in a window, or before or after what is there."""
    made = _assigned(rng, entry, REPAINT, MIX, MIX, _part(rng, entry), instruction(TASKS["repaint"]))
    return replace(made, window=_window(rng, made.frames), keeps=True)


def _cover(rng, entry: Entry) -> Assignment:
    """The song after its codes; where there is a twin, half of the time one after the codes of the other."""
    source, target = MIX, MIX
    if entry.twin and rng.random() < 0.5:
        source, target = (MIX, TWIN) if rng.random() < 0.5 else (TWIN, MIX)
    words = instruction(TASKS["cover"])
    return replace(_assigned(rng, entry, COVER, target, source, _whole(entry), words), codes=True)


def _plain_cover(rng, entry: Entry) -> Assignment:
    source, target = (MIX, TWIN) if rng.random() < 0.5 else (TWIN, MIX)
    return _assigned(rng, entry, PLAIN_COVER, target, source, _whole(entry), instruction(TASKS["cover"]))


def _extract(rng, entry: Entry) -> Assignment:
    track = _track(rng, entry)
    made = _assigned(
        rng, entry, EXTRACT, track, MIX, _part(rng, entry), instruction(TASKS[EXTRACT], (track,)), silent=NO_WORDS_SHARE
    )
    return made


def _lego(rng, entry: Entry) -> Assignment:
    track = _track(rng, entry)
    words = instruction(TASKS[LEGO], (track,))
    made = _assigned(rng, entry, LEGO, track, WITHOUT + track, _part(rng, entry), words)
    return replace(made, window=_window(rng, made.frames)) if rng.random() < WINDOW_OF_LEGO_SHARE else made


def _complete(rng, entry: Entry) -> Assignment:
    """The whole band around one track."""
    crop = _part(rng, entry)
    added = tuple(track for track in crop.tracks if track != entry.tracks[0])
    return _assigned(rng, entry, COMPLETE, MIX, SOLO, crop, instruction(TASKS[COMPLETE], added))


_MADE = {
    TEXT_TO_MUSIC: text_to_music,
    REPAINT: _repaint,
    COVER: _cover,
    PLAIN_COVER: _plain_cover,
    EXTRACT: _extract,
    LEGO: _lego,
    COMPLETE: _complete,
}


def _track(rng, entry: Entry) -> str:
    return entry.tracks[rng.integers(len(entry.tracks))]


def _whole(entry: Entry) -> Crop:
    return Crop(entry.facts, 0.0, entry.facts.seconds)


def _part(rng, entry: Entry, early: bool = False) -> Crop:
    """A crop that begins with a bar, or the whole song."""
    song, bar = entry.facts, entry.sketch.seconds_per_bar
    share, lengths_s = (EARLY_CROP_SHARE, EARLY_CROP_S) if early else (CROP_SHARE, CROP_S)
    seconds = rng.uniform(*lengths_s)
    if rng.random() >= share or seconds >= song.seconds:
        return _whole(entry)
    return Crop(song, bar * int(rng.integers(0, int((song.seconds - seconds) / bar) + 1)), seconds)


def _window(rng, frames: int) -> tuple[tuple[int, int], ...]:
    """Where new music is made: behind, before, in the middle of, or around what is kept."""
    least = min(frames // 3, frames_of(SHORTEST_WINDOW_S))
    first, last = sorted(int(at) for at in rng.integers(least, frames - least + 1, 2))
    last = max(last, min(first + least, frames - least // 2))
    kind = rng.choice(["behind", "before", "middle", "around"], p=[0.3, 0.15, 0.45, 0.1])
    found = {"behind": ((first, frames),), "before": ((0, first),), "middle": ((first, last),)}
    return found.get(kind, ((0, first), (last, frames)))


def _assigned(rng, entry, task, target, source, crop: Crop, words: str, silent: float = 0.0) -> Assignment:
    song = _song(rng, entry, target, crop)
    if rng.random() < silent:
        song = replace(song, caption="", lyrics=INSTRUMENTAL if rng.random() < 0.5 else song.lyrics)
    first = round(crop.start_s * entry.frames / entry.facts.seconds)
    frames = min(frames_of(crop.seconds), entry.frames - first)
    prompts = text_prompt(song, words, crop.seconds), lyrics_prompt(song)
    made = Assignment(entry, task, target, source, first, frames, *prompts)
    if target not in (MIX, TWIN) or not entry.sketch_of(target).sung:
        return made
    return replace(made, sung=tuple(spans_of(made.lyrics, crop, entry.sketch_of(target))))


def _song(rng, entry: Entry, target: str, crop: Crop) -> Song:
    """The words of a crop; some of its tempo, key and metre are left open."""
    variant = int(rng.integers(CAPTION_VARIANTS))
    twin = target == TWIN
    song = song_of(entry.sketch_of(TWIN), variant, complete=True) if twin else crop.request(variant)
    hidden = {name: None for name in ("bpm", "key", "time_signature") if rng.random() < OPEN_SHARE}
    return replace(song, **hidden)
