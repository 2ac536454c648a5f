"""What a listener would say of a clip: its tempo, its key, who plays. Waveforms `[2, N]` at 48 kHz, float32.

Plain signal processing, told nothing of what was asked for; `measure.py` says how often it is right on clips of the band
itself, which is the ceiling of every figure that is measured with it.
"""

from functools import lru_cache

import numpy as np
import torch

from .pretrain.spectral import decibels, mel_bank, power

RATE_HZ = 48_000
ONSET_HOP = 480
SLOWEST_BPM, FASTEST_BPM = 56.0, 190.0
# Krumhansl and Kessler's probe-tone ratings (1982): how well each pitch class fits a major and a minor key on C.
MAJOR_PROFILE = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR_PROFILE = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
TONICS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def onsets(wave: torch.Tensor) -> torch.Tensor:
    """Rise of level at 100 frames a second in four bands: kick and bass, body, snare, hats. [4, frames]"""
    spectrum = power(wave.mean(0, keepdim=True), 1024, ONSET_HOP)
    mel = decibels(mel_bank(1024, 40, RATE_HZ) @ spectrum)[0]
    rise = (mel[:, 1:] - mel[:, :-1]).clamp(min=0)
    return torch.stack([band.mean(0) for band in rise.split((4, 10, 13, 13))])


def _autocorrelation(signal: np.ndarray, longest: int) -> np.ndarray:
    signal = signal - signal.mean()
    size = 1 << (2 * len(signal)).bit_length()
    spectrum = np.abs(np.fft.rfft(signal, size)) ** 2
    found = np.fft.irfft(spectrum)[:longest]
    return found / (found[0] + 1e-9)


def tempo_features(wave: torch.Tensor) -> np.ndarray:
    """Autocorrelation of each band's onsets, read at 1/4, 1/2, 1, 2, 3 and 4 beats of every candidate tempo."""
    longest = int(4.2 * 60 / SLOWEST_BPM * 100)
    bands = [_autocorrelation(band, longest) for band in onsets(wave).double().numpy()]
    lags = 60.0 / candidates()[:, None] * 100 * np.array([0.25, 0.5, 1, 2, 3, 4])
    return np.stack([np.interp(lags, np.arange(longest), band) for band in bands])  # [4, tempi, multiples]


@lru_cache(maxsize=1)
def candidates() -> np.ndarray:
    return np.geomspace(SLOWEST_BPM, FASTEST_BPM, 256)


def chroma(wave: torch.Tensor) -> np.ndarray:
    """How much of each pitch class sounds between A1 and A5, each frame weighing the same. [12]"""
    spectrum = power(wave.mean(0, keepdim=True), 16_384, 4_096)[0]
    freq = np.linspace(0, RATE_HZ / 2, spectrum.shape[0])
    pitch = 69 + 12 * np.log2(np.maximum(freq, 1) / 440)
    heard = (pitch > 32.5) & (pitch < 81)
    level = spectrum.sqrt().numpy()[heard]
    # Only bins that stand out: noise of drums lifts all alike.
    floor = np.median(level, axis=0, keepdims=True)
    level = np.maximum(level - 2 * floor, 0)
    classes = np.zeros((12, level.shape[1]))
    nearest = np.round(pitch[heard]).astype(int)
    weight = np.maximum(1 - 2.5 * np.abs(pitch[heard] - nearest), 0)
    np.add.at(classes, nearest % 12, level * weight[:, None])
    classes /= classes.sum(0, keepdims=True) + 1e-6
    return classes.mean(1)


def key(wave: torch.Tensor) -> tuple[int, bool]:
    """Tonic (0 is C) and whether it is minor: the best correlation with the 24 turned profiles."""
    heard, best = chroma(wave), (-2.0, 0, False)
    for minor, profile in ((False, MAJOR_PROFILE), (True, MINOR_PROFILE)):
        for tonic in range(12):
            fit = np.corrcoef(np.roll(profile, tonic), heard)[0, 1]
            best = max(best, (fit, tonic, minor))
    return best[1], best[2]


def same_or_relative(tonic: int, minor: bool, asked_tonic: int, asked_minor: bool) -> bool:
    """Relative keys share their notes, so a chroma can hardly tell them apart."""
    home = (tonic + 3) % 12 if minor else tonic
    asked = (asked_tonic + 3) % 12 if asked_minor else asked_tonic
    return home == asked
