"""Encoded songs in small archives, for a state: encoding them anew on another machine takes hours.

Latents are rounded to steps of STEP, far below what a decoder is trained to forgive (vocoder.LATENT_NOISE), and kept as
differences in time, which compress well. Notes are written anew from the song's sketch. Clips are left out: they would
be most of it, and are made anew in less time than a download takes on a slow line.
"""

import lzma
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from ..band import pitch_classes
from ..errors import UserError
from ..system.files import whole_file, write_whole
from . import latents
from .latents import NOTES, Library, latent_path
from .songs import FIRST_CLIP_SEED

STEP, LARGEST = 0.2, 127
PATTERN, ABOUT = "latents-*.zip", ".json"
_DAMAGED = (zipfile.BadZipFile, lzma.LZMAError, zlib.error, NotImplementedError)


def keep_latents(folder: Path, target: Path, most_bytes: int) -> None:
    """Writes the encoded songs of a folder into archives of about `most_bytes`, in place of those that are there."""
    for old in target.glob(PATTERN):
        old.unlink()
    songs, number = _songs(folder), 1
    for song in songs:
        with whole_file(target / PATTERN.replace("*", str(number))) as part:
            _fill(part, song, songs, most_bytes)
        number += 1


def _fill(path: Path, first: dict[str, bytes], others: Iterator[dict[str, bytes]], most_bytes: int) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        song: dict[str, bytes] | None = first
        while song is not None:
            for name, data in song.items():
                archive.writestr(name, data)
            song = next(others, None) if archive.fp.tell() < most_bytes else None


def _songs(folder: Path) -> Iterator[dict[str, bytes]]:
    """The members of each song; that with what is known of it is the last."""
    for about in sorted(folder.glob(f"*{ABOUT}")):
        if int(about.stem) >= FIRST_CLIP_SEED:
            continue
        paths = sorted(path for path in folder.glob(f"{about.stem}.*.npy") if path.suffixes[0] != f".{NOTES}")
        yield {path.stem: _packed(np.load(path)) for path in paths} | {about.name: about.read_bytes()}


def _packed(sound: np.ndarray) -> bytes:
    """[C, T] → a file of NumPy: steps as int8, each less the one before, modulo 256."""
    steps = np.clip(np.rint(sound.astype(np.float32) / STEP), -LARGEST, LARGEST).astype(np.int8)
    file = BytesIO()
    np.save(file, np.diff(steps, axis=1, prepend=np.zeros((len(steps), 1), np.int8)))
    return file.getvalue()


def _unpacked(data: bytes) -> np.ndarray:
    steps = np.cumsum(np.load(BytesIO(data), allow_pickle=False), axis=1, dtype=np.int8)
    return (steps.astype(np.float32) * STEP).astype(np.float16)


def restore_latents(target: Path, folder: Path) -> None:
    """Puts the songs of the archives in `target` into a folder of latents. Raises UserError where one is damaged."""
    for path in sorted(target.glob(PATTERN)):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    _restore(folder, Path(name).name, archive.read(name))
        except (OSError, ValueError, EOFError, *_DAMAGED) as exc:
            raise UserError(f"{path}: cannot be read ({exc}); the state is not whole, get it again") from exc
    if folder.exists():
        _write_notes(folder)


def _restore(folder: Path, name: str, data: bytes) -> None:
    if name.endswith(ABOUT):
        write_whole(folder / name, data)
        return
    with whole_file(folder / f"{name}.npy") as part, part.open("wb") as file:
        np.save(file, _unpacked(data))


def _write_notes(folder: Path) -> None:
    library = Library(folder)
    for entry in {entry.seed: entry for entry in (*library.songs, *library.held_out)}.values():
        with whole_file(latent_path(folder, entry.seed, NOTES)) as part, part.open("wb") as file:
            np.save(file, pitch_classes(entry.sketch, latents.FRAMES_PER_SECOND).astype(np.uint8))
