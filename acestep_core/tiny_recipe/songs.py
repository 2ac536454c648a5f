"""Whole songs of the band on disk, for training: mixes and stems as FLAC files, and everything that is known of each.

`make` plays them on all cores, resumes where it stopped and keeps to a size on disk; with `renew` it goes on for ever,
and the oldest songs make room. `Shelf` gives crops, each with its place in the song and what is in it. A song is there
when its `.json` is: it is written last.
"""

import json
import logging
import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from ..band import Sketch, song_of
from ..band.caption import STYLES, caption
from ..band.form import form_of
from ..band.instruments import track_of
from ..band.lyrics import lines_of
from ..band.mix import RATE_HZ, mixed, sounds, stems
from ..errors import UserError
from ..json_text import read_json_object
from ..song import INSTRUMENTAL, Song
from ..system.files import whole_file, write_whole

logger = logging.getLogger(__name__)

FIRST_SEED, SEEDS = 10_000_000, 90_000_000
FIRST_CLIP_SEED = 120_000_000  # from here on songs are clips, see clips.py
FIRST_HELD_OUT_SEED = 1_000_000  # from here up to FIRST_SEED none is trained on: `bench tiny` measures on them
SHORT_S, LONG_S, CLIP_S = (10, 30), (30, 120), (10, 20)
SHORT_SHARE, SAMPLED_SHARE, STEMS_SHARE = 0.35, 0.65, 0.5
VARIANTS = 6  # captions of a song
LEAST_SOUNDING_S = 1.0  # of a track, to be named in a crop
UNPLAYABLE = (ArithmeticError, LookupError, TypeError, ValueError)  # a mistake in one score; others may be played


@dataclass(frozen=True)
class Order:
    """Which songs are made: how many, from which seed, by how many processes, in how many bytes; and how many clips."""

    count: int = 600
    first: int = FIRST_SEED
    workers: int | None = None  # None: one a core
    most_bytes: float = 20e9
    renew: bool = False
    clips: int = 0


@dataclass(frozen=True)
class Facts:
    """All that is known of a song. Times in seconds; `playing`: track → the spans in which it sounds, `parts`: role."""

    seed: int
    genre: str
    mood: str
    bpm: int
    key: str
    metre: int
    seconds: float
    sampled: bool
    stems: bool
    fades: bool
    instruments: dict[str, list[str]]  # track → voices
    sections: list[tuple[str, float, float]]
    lines: list[tuple[str, float, float]]
    playing: dict[str, list[tuple[float, float]]]
    parts: dict[str, list[tuple[float, float]]]
    captions: list[tuple[str, list[str], list[str]]]  # text, roles named, roles forbidden

    @property
    def sketch(self) -> Sketch:
        return sketch_of(self.seed)


@dataclass(frozen=True)
class Crop:
    """A part of a song: where it lies, and what is in it."""

    song: Facts
    start_s: float
    seconds: float

    @property
    def end_s(self) -> float:
        return self.start_s + self.seconds

    @property
    def lyrics(self) -> str:
        """The lines that begin in the crop, under the tags of the sections that reach into it."""
        if not self.song.lines:
            return INSTRUMENTAL
        written = []
        for name, start, end in self.parts:
            words = [text for text, at, _ in self.song.lines if start <= at < end and self.has(at)]
            written.append("\n".join([f"[{name.title()}]", *words]))
        return "\n\n".join(written)

    @property
    def parts(self) -> list[tuple[str, float, float]]:
        """The sections that reach into the crop."""
        return [part for part in self.song.sections if part[1] < self.end_s and part[2] > self.start_s]

    @property
    def tracks(self) -> tuple[str, ...]:
        """The tracks that sound in the crop for at least LEAST_SOUNDING_S."""
        return tuple(t for t, spans in self.song.playing.items() if self._shared(spans) >= LEAST_SOUNDING_S)

    @property
    def is_whole(self) -> bool:
        return self.start_s == 0 and self.end_s >= self.song.seconds

    def has(self, at: float) -> bool:
        """Whether a line that begins at this second is one of the crop's."""
        return self.start_s - 0.05 <= at < self.end_s

    def _shared(self, spans) -> float:
        return sum(max(0.0, min(end, self.end_s) - max(start, self.start_s)) for start, end in spans)

    def request(self, variant: int = 0) -> Song:
        """The Song to ask for this crop with: its own lyrics and length, and a caption of what sounds in it. How a song
        goes is only said of a whole one.
        """
        sketch = self.song.sketch
        heard = {role: voice for role, voice in sketch.voices.items() if self._sounds(role)}
        styles = tuple(style for style in STYLES if self.is_whole or style != "story")
        song = song_of(replace(sketch, voices=heard), variant, complete=True, styles=styles)
        return replace(song, lyrics=self.lyrics, seconds=max(10.0, self.seconds))

    def _sounds(self, role: str) -> bool:
        return self._shared(self.song.parts.get(role, ())) >= LEAST_SOUNDING_S


def sketch_of(seed: int) -> Sketch:
    """The song of a seed, its length drawn: a third are short, others up to two minutes; clips are shorter still."""
    rng = np.random.default_rng([seed, 20])
    low, high = SHORT_S if rng.random() < SHORT_SHARE else LONG_S
    if seed >= FIRST_CLIP_SEED:
        low, high = CLIP_S
    return Sketch.draw(seed, float(rng.integers(low, high + 1)))


def facts_of(seed: int, sampled: bool, with_stems: bool) -> Facts:
    sketch = sketch_of(seed)
    form, bar = form_of(sketch), sketch.seconds_per_bar
    instruments: dict[str, list[str]] = {}
    for role, voice in sketch.voices.items():
        instruments.setdefault(track_of(role, voice), []).append(voice)
    sections = [(s.label, s.first_bar * bar, s.after * bar) for s in form.sections]
    lines = [(x.text, x.first_bar * bar, (x.first_bar + x.bars) * bar) for x in lines_of(form)]
    captions = [caption(sketch, variant) for variant in range(VARIANTS)]
    return Facts(
        *(seed, sketch.genre, sketch.mood, sketch.bpm, sketch.key, sketch.metre, sketch.seconds),
        sampled=sampled,
        stems=with_stems,
        fades=not form.ring_s,
        instruments=instruments,
        sections=sections,
        lines=lines,
        playing=_playing(sketch, lambda sound: track_of(sound.role, sound.voice)),
        parts=_playing(sketch, lambda sound: sound.role),
        captions=[(text, sorted(named), sorted(forbidden)) for text, named, forbidden in captions],
    )


def _playing(sketch: Sketch, name_of) -> dict[str, list[tuple[float, float]]]:
    """The bars in which each track, or part, sounds, joined to spans."""
    bars: dict[str, set[int]] = {}
    bar = sketch.seconds_per_bar
    for sound in sounds(sketch):
        start = sound.start / RATE_HZ
        last = int((start + max(0.0, sound.seconds - 0.05)) / bar + 1e-6)
        bars.setdefault(name_of(sound), set()).update(range(int(start / bar + 1e-6), last + 1))
    return {name: _spans(sorted(numbers), bar, sketch.seconds) for name, numbers in bars.items()}


def _spans(numbers: list[int], bar: float, end: float) -> list[tuple[float, float]]:
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number:
            spans[-1][1] = number + 1
        else:
            spans.append([number, number + 1])
    return [(first * bar, min(after * bar, end)) for first, after in spans]


def play_song(folder: Path, seed: int, font: Path | None) -> Facts:
    """Plays one song into the folder: mix, stems of a share of the songs, and facts, which are written last."""
    import soundfile

    rng = np.random.default_rng([seed, 21])
    chances = rng.random(2)
    facts = facts_of(seed, bool(font and chances[0] < SAMPLED_SHARE), bool(chances[1] < STEMS_SHARE))
    tracks = stems(facts.sketch, font if facts.sampled else None)
    files = {"mix": mixed(tracks, round(facts.seconds * RATE_HZ))} | (tracks if facts.stems else {})
    for name, sound in files.items():
        with whole_file(sound_path(folder, seed, name)) as part:
            soundfile.write(part, sound.T, RATE_HZ, "PCM_16", format="FLAC", compression_level=0.0)
    write_whole(facts_path(folder, seed), json.dumps(asdict(facts)).encode())
    return facts


def sound_path(folder: Path, seed: int, name: str = "mix") -> Path:
    return folder / f"{seed}.{name}.flac"


def facts_path(folder: Path, seed: int) -> Path:
    return folder / f"{seed}.json"


def make(folder: Path, order: Order, font: Path | None = None) -> Iterator[Facts]:
    """The songs of an order, in whatever order they are ready; songs that are there already come first. Ends when all
    are made or the folder has its size; with `renew` it never ends, and the oldest songs make room. A song that cannot
    be played is logged and passed over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shelf = Shelf(folder)
    there = set(shelf.seeds)
    first = max(there, default=order.first) if order.renew else order.first  # songs that made room do not come back
    seeds = range(first, order.first + (SEEDS if order.renew else order.count))
    yield from (shelf.facts(seed) for seed in range(order.first, order.first + order.count) if seed in there)
    missing, workers = (seed for seed in seeds if seed not in there), order.workers or os.cpu_count() or 1
    with ProcessPoolExecutor(workers) as pool:

        def begun(count: int) -> dict[Future, int]:
            return {pool.submit(play_song, folder, seed, font): seed for seed in islice(missing, count)}

        ahead = begun(workers + 1)
        while ahead:
            done = wait(ahead, return_when=FIRST_COMPLETED).done
            for one in done:
                yield from _played(one, ahead.pop(one))
            if shelf.has_room(order):
                ahead |= begun(len(done))


def _played(song: Future, seed: int) -> Iterator[Facts]:
    try:
        facts = song.result()
    except UNPLAYABLE as exc:
        logger.warning("song %d cannot be played (%s: %s): passed over", seed, type(exc).__name__, exc)
    else:
        yield facts


class Shelf:
    """The songs in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._facts: dict[int, Facts] = {}

    @property
    def seeds(self) -> list[int]:
        return sorted(int(path.stem) for path in self.folder.glob("*.json"))

    def facts(self, seed: int) -> Facts:
        if seed not in self._facts:
            path = facts_path(self.folder, seed)
            try:
                self._facts[seed] = Facts(**read_json_object(path))
            except TypeError as exc:
                raise UserError(f"{path}: is of another edition of the band ({exc}); make the songs anew") from exc
        return self._facts[seed]

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob("*.flac"))

    def has_room(self, order: Order) -> bool:
        """Whether another song may be made; with `renew`, the oldest ones are deleted for it."""
        while order.renew and self.bytes > order.most_bytes and len(self.seeds) > 1:
            self.forget(self.seeds[0])
        return order.renew or self.bytes <= order.most_bytes

    def forget(self, seed: int) -> None:
        facts_path(self.folder, seed).unlink(missing_ok=True)  # first: a song without it is no song
        for path in self.folder.glob(f"{seed}.*.flac"):
            path.unlink(missing_ok=True)
        self._facts.pop(seed, None)

    def draw(self, rng: np.random.Generator, seed: int, seconds: float) -> Crop:
        """A crop of at most so many seconds that begins with a bar; one in four begins with the song."""
        song = self.facts(seed)
        bars = int(max(0.0, song.seconds - seconds) / song.sketch.seconds_per_bar)
        bar = 0 if rng.random() < 0.25 else int(rng.integers(0, bars + 1))
        start = bar * song.sketch.seconds_per_bar
        return Crop(song, start, min(seconds, song.seconds - start))

    def sound(self, crop: Crop, name: str = "mix") -> np.ndarray:
        """[2, N] int16 of the mix or of a stem; a stem that the song does not have is silent."""
        import soundfile

        path, count = sound_path(self.folder, crop.song.seed, name), round(crop.seconds * RATE_HZ)
        if name != "mix" and crop.song.stems and name not in crop.song.playing:
            return np.zeros((2, count), np.int16)
        with soundfile.SoundFile(path) as file:
            file.seek(min(round(crop.start_s * RATE_HZ), len(file)))
            rows = file.read(count, dtype="int16", always_2d=True).T
        return np.pad(rows, ((0, 0), (0, count - rows.shape[1])))
