"""The transformers' training data: latents of whole songs, `[C, T]` half precision, encoded once, and what is known of
each song. The sounds may be deleted afterwards.

Of every song there is the mix; of some songs with stems also a track, the mix without it, and the track alone at a
mix's level; of some songs a twin, the same notes played by others. A song is there when its `.json` is.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..band import Sketch, pitch_classes, play
from ..band.instruments import KNOWN_VOICES, SINGERS, VOICES
from ..errors import UserError
from ..json_text import read_json_object
from ..nn.dtypes import product_dtype
from ..spec import PEAK_DBFS
from ..system.files import whole_file, write_whole
from . import channels_last
from .songs import FIRST_CLIP_SEED, UNPLAYABLE, Crop, Facts, Shelf, facts_path
from .vocoder import CONFIG, SAMPLES_PER_FRAME

logger = logging.getLogger(__name__)

RATE_HZ = CONFIG["sampling_rate"]
FRAMES_PER_SECOND = RATE_HZ / SAMPLES_PER_FRAME
MIX, SOLO, TWIN, NOTES, WITHOUT = "mix", "solo", "twin", "notes", "without_"
# Encoding costs more than playing: every song has its mix, a share of them tracks or a twin as well.
TRACKS_OF_A_SONG, TRACKS_SHARE, TWIN_SHARE, OTHER_VOICE_SHARE = 1, 0.4, 0.15, 0.8
PIECE_S, CONTEXT_S = 20.0, 1.0  # encoded at once, and heard before and after it
HELD_OUT_EVERY = 40  # one song in so many is never trained on: losses are measured on it
SCALE_SONGS, SCALE_SECONDS = 48, 10.0


def frames_of(seconds: float) -> int:
    """As many frames as a song of this length has when it is generated."""
    return max(1, int(np.ceil(seconds * FRAMES_PER_SECOND - 1e-6)))


@dataclass(frozen=True)
class Entry:
    """A song of the library: its facts, the tracks of which there are latents, and who plays its twin."""

    folder: Path
    facts: Facts
    tracks: tuple[str, ...]
    twin: dict[str, str] | None  # role → voice

    @property
    def seed(self) -> int:
        return self.facts.seed

    @property
    def frames(self) -> int:
        return frames_of(self.facts.seconds)

    @property
    def is_clip(self) -> bool:
        return self.seed >= FIRST_CLIP_SEED

    @property
    def is_held_out(self) -> bool:
        return self.seed % HELD_OUT_EVERY == 0

    @cached_property
    def sketch(self) -> Sketch:
        return self.facts.sketch

    def sketch_of(self, name: str) -> Sketch:
        """What is played in the mix, or in the twin."""
        return replace(self.sketch, voices=self.twin) if name == TWIN else self.sketch

    def read(self, name: str, first: int = 0, frames: int | None = None) -> np.ndarray:
        """[C, frames] float16 of one of the sounds, or [24, frames] uint8 of the notes that sound in it."""
        whole = np.load(latent_path(self.folder, self.seed, name), mmap_mode="r")
        return np.array(whole[:, first : None if frames is None else first + frames])


def latent_path(folder: Path, seed: int, name: str) -> Path:
    return folder / f"{seed}.{name}.npy"


def entry_path(folder: Path, seed: int) -> Path:
    return folder / f"{seed}.json"


class Library:
    """The encoded songs in a folder; more may come while it is used."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._entries: dict[int, Entry] = {}
        self.refresh()

    def refresh(self) -> None:
        for seed in sorted(int(path.stem) for path in self.folder.glob("*.json")):
            if seed not in self._entries:
                self._entries[seed] = self._read(seed)
        if not self._entries:
            raise UserError(f"{self.folder} is empty: the phase latents comes first; run it with --only latents")
        entries = list(self._entries.values())
        whole = [entry for entry in entries if not entry.is_clip] or entries
        self.held_out = [entry for entry in whole if entry.is_held_out] or whole
        self.songs = [entry for entry in whole if not entry.is_held_out] or whole
        self.clips = [entry for entry in entries if entry.is_clip]
        self.with_tracks = [entry for entry in self.songs if entry.tracks]
        self.with_twin = [entry for entry in self.songs if entry.twin]

    def _read(self, seed: int) -> Entry:
        path = entry_path(self.folder, seed)
        known = read_json_object(path)
        try:
            return Entry(self.folder, Facts(**known["facts"]), tuple(known["tracks"]), known["twin"])
        except (KeyError, TypeError) as exc:
            raise UserError(f"{path}: is of another edition ({exc}); encode the songs anew") from exc


@dataclass(frozen=True)
class Encoder:
    """Makes latents of a deviation of 1 of sounds."""

    vae: torch.nn.Module
    scale: float

    @torch.no_grad()
    def __call__(self, sound: np.ndarray) -> np.ndarray:
        """[2, N] int16 → [C, ceil(N / SAMPLES_PER_FRAME)] float16, a piece at a time."""
        frames = -(-sound.shape[1] // SAMPLES_PER_FRAME)
        whole = np.pad(sound, ((0, 0), (0, frames * SAMPLES_PER_FRAME - sound.shape[1])))
        size, margin = frames_of(PIECE_S), frames_of(CONTEXT_S)
        parts = []
        for first in range(0, frames, size):
            begin, end = max(0, first - margin), min(frames, first + size + margin)
            piece = whole[:, begin * SAMPLES_PER_FRAME : end * SAMPLES_PER_FRAME].astype(np.float32) / 32767
            parts.append(self._means(piece)[:, first - begin :][:, : min(size, frames - first)])
        return np.concatenate(parts, 1)

    def _means(self, piece: np.ndarray) -> np.ndarray:
        wave = torch.from_numpy(piece)[None].to(next(self.vae.parameters()).device)
        means = channels_last.encode(self.vae.encoder, wave, product_dtype(wave.device)).chunk(2, 1)[0]
        return (self.scale * means[0]).cpu().numpy().astype(np.float16)


def measured_scale(vae, shelf: Shelf) -> float:
    """The factor that gives the latents of the first songs a deviation of 1."""
    encode, seeds = Encoder(vae, 1.0), shelf.seeds[:SCALE_SONGS]
    if not seeds:
        raise UserError(f"{shelf.folder} is empty: the phase songs comes first; run it with --only songs")
    crops = [Crop(song, 0.0, min(SCALE_SECONDS, song.seconds)) for song in map(shelf.facts, seeds)]
    return 1 / float(np.concatenate([encode(shelf.sound(crop)).astype(np.float32) for crop in crops], 1).std())


def encode_songs(encode: Encoder, shelf: Shelf, folder: Path, font: Path | None = None, forget: bool = False):
    """Yields (songs encoded so far, songs known); resumable, and ends when no song is left. With `forget`, a song's
    sounds are deleted behind it. Songs may be made, or make room, at the same time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    gone: set[int] = set()
    while missing := [s for s in shelf.seeds if s not in gone and not entry_path(folder, s).exists()]:
        for seed in missing:
            try:
                _encode_song(encode, shelf, folder, seed, font)
            except (OSError, UserError):
                if facts_path(shelf.folder, seed).exists():
                    raise
                gone.add(seed)  # it made room for others
                continue
            if forget:
                shelf.forget(seed)
            done = sum(1 for _ in folder.glob("*.json"))
            yield done, done + len([s for s in shelf.seeds if not entry_path(folder, s).exists()])


def forgotten(folder: Path, shelf: Shelf) -> set[int]:
    """The encoded songs whose sounds are not on the shelf any more. Clips never lay there."""
    encoded = {int(path.stem) for path in folder.glob("*.json")}
    return {seed for seed in encoded - set(shelf.seeds) if seed < FIRST_CLIP_SEED}


def _encode_song(encode: Encoder, shelf: Shelf, folder: Path, seed: int, font: Path | None) -> None:
    song = shelf.facts(seed)
    tracks, (twin, played) = _tracks_of(song), _twin_of(song, font)
    for name, sound in _sounds(shelf, song, tracks):
        write_latents(folder, seed, name, encode(sound))
    if twin:
        write_latents(folder, seed, TWIN, encode(played))
    write_entry(folder, song, tracks, twin)


def _tracks_of(song: Facts) -> list[str]:
    """The tracks of which there will be latents; the first is the one that is there alone."""
    rng = np.random.default_rng([song.seed, 22])
    wanted = song.stems and len(song.playing) > 1 and rng.random() < TRACKS_SHARE
    names = sorted(song.playing) if wanted else []
    order = rng.permutation(len(names))
    return [names[i] for i in order[:TRACKS_OF_A_SONG]]


def _twin_of(song: Facts, font: Path | None) -> tuple[dict[str, str] | None, np.ndarray | None]:
    """Who plays the twin, and its sound [2, N] int16; None twice where there is none, or none can be played."""
    voices = _voices_of_twin(song)
    try:
        played = voices and play(replace(song.sketch, voices=voices), font if song.sampled else None)
    except UNPLAYABLE as exc:
        logger.warning("twin of song %d cannot be played (%s: %s): left out", song.seed, type(exc).__name__, exc)
        voices = None
    return (voices, (played * 32767).astype(np.int16)) if voices else (None, None)


def _voices_of_twin(song: Facts) -> dict[str, str] | None:
    """Other voices for the same parts, of those that mostly play them."""
    rng = np.random.default_rng([song.seed, 23])
    if rng.random() >= TWIN_SHARE:
        return None
    voices = {role: _other(rng, voice) for role, voice in song.sketch.voices.items()}
    return voices if voices != song.sketch.voices else None


def _other(rng, voice: str) -> str:
    alike = SINGERS if voice in SINGERS else [n for n, known in VOICES.items() if known.role == _role(voice)]
    others = [name for name in alike if name != voice]
    return str(rng.choice(others)) if others and rng.random() < OTHER_VOICE_SHARE else voice


def _role(voice: str) -> str | None:
    return KNOWN_VOICES[voice].role if voice in KNOWN_VOICES else None


def _sounds(shelf: Shelf, song: Facts, tracks: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, [2, N] int16) of all that is encoded of a song as it lies on the shelf."""
    whole = Crop(song, 0.0, song.seconds)
    mix = shelf.sound(whole)
    yield MIX, mix
    for number, track in enumerate(tracks):
        stem = shelf.sound(whole, track)
        yield track, stem
        yield WITHOUT + track, np.clip(mix.astype(np.int32) - stem, -32768, 32767).astype(np.int16)
        if number == 0:
            peak = max(1, int(np.abs(stem.astype(np.int32)).max()))
            yield SOLO, (stem * (10 ** (PEAK_DBFS / 20) * 32767 / peak)).astype(np.int16)


def write_latents(folder: Path, seed: int, name: str, numbers: np.ndarray) -> None:
    """One of the files of a song; `write_entry` comes last."""
    with whole_file(latent_path(folder, seed, name)) as part, part.open("wb") as file:
        np.save(file, numbers)


def write_entry(folder: Path, facts: Facts, tracks: Sequence[str] = (), twin: dict[str, str] | None = None) -> None:
    """The notes of a song or a clip, and last what is known of it: with that, it counts as encoded."""
    write_latents(folder, facts.seed, NOTES, pitch_classes(facts.sketch, FRAMES_PER_SECOND).astype(np.uint8))
    about = {"facts": asdict(facts), "tracks": list(tracks), "twin": twin}
    write_whole(entry_path(folder, facts.seed), json.dumps(about).encode())
