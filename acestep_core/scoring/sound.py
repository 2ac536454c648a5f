"""What judges of takes measure of a sound: its beat, its notes and its level over time. No model, no librosa.

At 22,050 Hz, in the middle three minutes of a longer song. Levels are measured on the whole song at its own rate.
"""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch

from ..audio.beat_and_key import NOTES, PROFILES
from ..audio.spectrogram import mel_bank, power
from ..audio.waveform import Waveform, convert

RATE_HZ = 22_050
LONGEST_SECONDS = 180.0
ONSET_HOP, ONSET_WINDOW, BANDS = 221, 1024, 40  # about 100 frames a second
FLUX_HZ = RATE_HZ / ONSET_HOP
FLOOR_DB = 70.0  # below the loudest band, under which changes are not counted
SLOWEST_BPM, FASTEST_BPM, TEMPI = 40.0, 240.0, 600
TEMPO_UNSURE, ALSO_FITS, BEAT_LEAST = 0.02, 0.75, 0.05  # relative; of the best fit; of a fit at all
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
CHROMA_WINDOW = 8192
LOWEST_PITCH, HIGHEST_PITCH = 36, 84  # MIDI numbers of the notes that tell a key
LEVEL_SECONDS = 0.05
LEVELS_AT_ONCE = 1000  # they take memory
MINOR_THIRD = 3
_NATURALS = dict(zip("CDEFGAB", SCALES["major"]))
_ACCIDENTALS = {"#": 1, "♯": 1, "b": -1, "♭": -1}
SILENT = 1e-9  # power


@dataclass(frozen=True)
class Beat:
    """A tempo in bpm, and how the asked one fits: its share of the best tempo's fit; how much the onsets come back
    after one of its beats; and how much already after half of one, against whole beats.

    Half and double of a tempo fit nearly as well: of these the one near to the asked tempo is given.
    """

    bpm: float
    fit: float
    strength: float
    early: float


@dataclass(frozen=True, eq=False)
class Sound:
    """One item [1, channels, N], and what is measured of it when it is first needed."""

    wave: Waveform

    @cached_property
    def mono(self) -> torch.Tensor:  # [N]
        mono = convert(self.wave, RATE_HZ, 1).samples[0, 0].float().cpu()
        spare = max(0, len(mono) - int(LONGEST_SECONDS * RATE_HZ)) // 2
        return mono[spare : spare + int(LONGEST_SECONDS * RATE_HZ)]

    @cached_property
    def mel(self) -> torch.Tensor:
        """Log-mel levels [BANDS, frames] in dB below the loudest, about 100 frames a second."""
        spectrum = power(_padded(self.mono, ONSET_WINDOW)[None], ONSET_WINDOW, ONSET_HOP)[0]
        level = 10 * (mel_bank(ONSET_WINDOW, BANDS, RATE_HZ) @ spectrum + SILENT).log10()
        return (level - level.max()).clamp(min=-FLOOR_DB)

    @cached_property
    def repeats(self) -> np.ndarray:
        """Autocorrelation of the onsets by lag in frames, 1 at lag 0; zeros without onsets."""
        rise = (self.mel[:, 2:] - self.mel[:, :-2]).clamp(min=0)
        bands = np.stack([part.mean(0).numpy() for part in rise.split(BANDS // 4)]).astype(np.float64)
        bands -= bands.mean(1, keepdims=True)
        count = bands.shape[1]
        found = np.fft.irfft(np.abs(np.fft.rfft(bands, 2 * count)) ** 2, axis=1)[:, :count].sum(0)
        return found / (found[0] + SILENT) * count / np.maximum(count - np.arange(count), count / 4)

    def after(self, beats: float, bpm: np.ndarray) -> np.ndarray:
        """How much the onsets come back after so many beats of each tempo."""
        return np.interp(60 * FLUX_HZ / bpm * beats, np.arange(len(self.repeats)), self.repeats, right=0)

    @cached_property
    def fits(self) -> np.ndarray:
        """How much the onsets come back after one, two and four beats, for each of `tempi()`."""
        return np.mean([self.after(beats, tempi()) for beats in (1, 2, 4)], axis=0)

    def beat(self, asked: float) -> "Beat | None":
        """The tempo, beside the asked one; None where nothing comes back."""
        best = float(self.fits.max())
        if best < BEAT_LEAST:
            return None
        near = np.abs(np.log(tempi() / asked)) <= TEMPO_UNSURE
        own = int(np.where(near, self.fits, -1).argmax())
        fit = float(self.fits[own]) / best if near.any() else 0.0
        half, *whole = (float(self.after(beats, tempi()[own])) for beats in (0.5, 1, 2, 4))
        place = own if fit >= ALSO_FITS else int(self.fits.argmax())
        return Beat(float(tempi()[place]), max(fit, 0.0), whole[0], half / max(*whole, BEAT_LEAST))

    @cached_property
    def notes(self) -> np.ndarray:
        """The share of each pitch class [12], of what stands out of its surroundings."""
        spectrum = power(_padded(self.mono, CHROMA_WINDOW)[None], CHROMA_WINDOW, CHROMA_WINDOW // 4)[0].sqrt()
        pitch = 69 + 12 * np.log2(np.maximum(np.fft.rfftfreq(CHROMA_WINDOW, 1 / RATE_HZ), 1) / 440)
        used = (pitch > LOWEST_PITCH) & (pitch < HIGHEST_PITCH)
        level = spectrum.numpy()[used]
        level = np.maximum(level - 2 * np.median(level, axis=0), 0)  # peaks only: drums lift all bins alike
        nearest = np.round(pitch[used])
        near = np.maximum(1 - 2.5 * np.abs(pitch[used] - nearest), 0)
        classes = np.zeros((12, level.shape[1]))
        np.add.at(classes, nearest.astype(int) % 12, level * near[:, None])
        return (classes / (classes.sum(0) + 1e-3 * classes.sum(0).max() + SILENT)).mean(1)

    @cached_property
    def keys(self) -> dict[str, float]:
        """How well each key fits the notes, -1 to 1; empty for a sound without notes."""
        if self.notes.std() == 0:
            return {}
        return {
            f"{NOTES[tonic]} {mode}": float(np.corrcoef(np.roll(profile, tonic), self.notes)[0, 1])
            for mode, profile in _profiles().items()
            for tonic in range(12)
        }

    @cached_property
    def levels(self) -> np.ndarray:
        """Level in dB of full scale, of each 50 ms of the whole song."""
        block = max(1, round(LEVEL_SECONDS * self.wave.sample_rate_hz))
        samples = self.wave.samples[0].float().cpu()
        count = max(1, samples.shape[-1] // block)
        blocks = samples[:, : count * block].reshape(len(samples), count, -1)
        power_of = [part.square().mean((0, 2)) for part in blocks.split(LEVELS_AT_ONCE, dim=1)]
        return 10 * np.log10(torch.cat(power_of).numpy() + 1e-12)


@cache
def _profiles() -> dict[str, np.ndarray]:
    """How well each pitch class fits a major and a minor key on C: by listeners' ratings, and by the scale."""
    ratings = {mode: (np.array(own) - np.mean(own)) / np.std(own) for mode, own in PROFILES.items()}
    return {mode: own + 2 * np.isin(np.arange(12), SCALES[mode]) for mode, own in ratings.items()}


def _padded(mono: torch.Tensor, window: int) -> torch.Tensor:
    """Mirrored ends need more samples than half a window."""
    return torch.nn.functional.pad(mono, (0, max(0, window - len(mono))))


def tempi() -> np.ndarray:
    """Candidates in bpm, evenly spaced by ratio."""
    return np.geomspace(SLOWEST_BPM, FASTEST_BPM, TEMPI)


def scale_of(key: str) -> int:
    """The tonic of a key's major scale, 0 is C: relative keys have the same."""
    note, mode = key.split()
    tonic = _NATURALS[note[0]] + sum(_ACCIDENTALS[sign] for sign in note[1:])
    return (tonic + (MINOR_THIRD if mode == "minor" else 0)) % 12
