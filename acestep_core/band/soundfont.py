"""Notes of sampled instruments from a General MIDI soundfont, float32 `[2, N]` at 48 kHz: for training alone.

tinysoundfont plays the notes; `pip install --no-deps tinysoundfont` leaves out what it needs for loudspeakers. Debian's
packages `musescore-general-soundfont-small` and `fluidr3mono-gm-soundfont` are free (MIT, CC0 and public domain).
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..system.folders import user_path
from .strokes import RATE_HZ, stroke

PLACES = (
    "/usr/share/sounds/sf3/MuseScore_General.sf3",
    "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3",
    "/usr/share/sounds/sf3/FluidR3Mono_GM.sf3",
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf3/default-GM.sf3",
    "/usr/share/sounds/sf2/default-GM.sf2",
    "/usr/share/soundfonts/default.sf2",
)
WAYS = "apt install musescore-general-soundfont-small, or give a .sf2 or .sf3 file of General MIDI"
DRUM_BANK = 128
# Keys of the General MIDI drum map for the strokes of the band.
DRUM_KEYS = {
    "kick": 36,
    "thump": 36,
    "boom": 35,
    "snare": 38,
    "crack": 40,
    "clap": 39,
    "rim": 37,
    "hat": 42,
    "open": 46,
    "crash": 49,
    "tom": 45,
    "ride": 51,
    "brush": 38,
    "shaker": 70,
    "timbale": 65,
    "conga": 64,
    "slap": 62,
    "cowbell": 56,
    "clave": 75,
    "tambourine": 54,
}
BRUSH_KIT = 40
SOFT_BELOW, SOFT, LOUD = 0.75, 80, 110  # velocities of the band, and of MIDI
LEVEL = 0.1  # rms of a note's first second, as that of synthesised ones
MEASURED_S, RELEASE_S, SILENT = 1.0, 1.2, 1e-3


def find_soundfont(asked: str = "auto") -> Path:
    """The file asked for, or the first in the usual places. Raises UserError where there is none."""
    places = [user_path(asked)] if asked != "auto" else [Path(place) for place in PLACES]
    for place in places:
        if place.is_file():
            return place
    looked = asked if asked != "auto" else "none in " + " or ".join(sorted({str(p.parent) for p in places}))
    raise UserError(f"soundfont: got {looked}, expected a file that is there; {WAYS}")


@lru_cache(maxsize=2)
def open_soundfont(path: Path):
    """(synthesiser, number of the font). Raises UserError without tinysoundfont, or for a file of another kind."""
    try:
        import tinysoundfont
    except ImportError as exc:
        raise UserError("soundfont: needs tinysoundfont; pip install --no-deps tinysoundfont") from exc
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"sfbk":
        raise UserError(f"{path}: is no soundfont; {WAYS}")
    player = tinysoundfont.Synth(gain=0, samplerate=RATE_HZ)
    try:
        return player, player.sfload(str(path))
    except (tinysoundfont.SoundFontException, RuntimeError) as exc:
        raise UserError(f"{path}: could not be read as a soundfont ({exc}); {WAYS}") from exc


def _rendered(path: Path, bank: int, program: int, key: int, velocity: int, held: int) -> np.ndarray:
    """A note held for so many samples, and its release. [2, N]"""
    player, font = open_soundfont(path)
    player.program_select(0, font, bank, program, bank == DRUM_BANK)
    player.noteon(0, key, velocity)
    parts = [np.frombuffer(player.generate(held), np.float32).copy()]
    player.noteoff(0, key)
    parts.append(np.frombuffer(player.generate(int(RELEASE_S * RATE_HZ)), np.float32).copy())
    player.sounds_off(0)
    return np.concatenate(parts).reshape(-1, 2).T


@lru_cache(maxsize=2048)
def _gain(path: Path, program: int, midi: int, velocity: int) -> float:
    sound = _rendered(path, 0, program, midi, velocity, int(MEASURED_S * RATE_HZ))[:, : int(MEASURED_S * RATE_HZ)]
    return LEVEL / max(1e-4, float(np.sqrt(np.mean(sound**2))))


@lru_cache(maxsize=192)
def sampled_note(path: Path, program: int, midi: int, held: int, loud: bool) -> np.ndarray:
    """A note held for so many samples, at the level of synthesised ones. [2, N] float32"""
    velocity = LOUD if loud else SOFT
    sound = _rendered(path, 0, program, midi, velocity, held) * _gain(path, program, midi, velocity)
    return _trimmed(sound.astype(np.float32))


@lru_cache(maxsize=64)
def sampled_stroke(path: Path, name: str, loud: bool) -> np.ndarray:
    """A stroke of the drum kit with the energy of the synthesised one. [2, N] float32"""
    kit = BRUSH_KIT if name == "brush" else 0
    sound = _rendered(path, DRUM_BANK, kit, DRUM_KEYS[name], LOUD if loud else SOFT, RATE_HZ)
    quarter, wanted = sound[:, : RATE_HZ // 4], stroke(name)[: RATE_HZ // 4]
    gain = np.sqrt((wanted**2).sum() / max(1e-9, (quarter**2).mean(0).sum()))
    return _trimmed((gain * sound).astype(np.float32))


def _trimmed(sound: np.ndarray) -> np.ndarray:
    """Without its silent end, and with a short fade there."""
    loud = np.nonzero(np.abs(sound).max(0) > SILENT * np.abs(sound).max())[0]
    sound = sound[:, : int(loud[-1]) + 1] if len(loud) else sound[:, :1]
    fade = min(480, sound.shape[1])
    sound[:, -fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return sound
