"""Estimates of a clip's tempo, key and instruments, from the sound alone. Waveforms `[2, N]` at 48 kHz, float32.

The key is plain signal processing; tempo and instruments are estimated by two small networks that were fitted on clips
of the band (`fit_ears`). Their accuracy on other clips of the band is the ceiling of every figure measured with them,
and `acestep-cascade bench tiny` prints it beside those.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..audio.beat_and_key import PROFILES
from ..audio.spectrogram import mel_bank, power
from ..band.instruments import FIRST_ROLES as ROLES
from ..tiny_recipe.spectral import decibels

RATE_HZ = 48_000
EARS = Path(__file__).with_name("ears.safetensors")
ONSET_HOP = 480
BEATS = (0.25, 1 / 3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8)
SLOWEST_BPM, FASTEST_BPM = 56.0, 190.0


def onsets(wave: torch.Tensor) -> torch.Tensor:
    """Rise of level at 100 frames a second in four bands: kick and bass, body, snare, hats. [4, frames]"""
    spectrum = power(wave.mean(0, keepdim=True), 1024, ONSET_HOP)
    mel = decibels(mel_bank(1024, 40, RATE_HZ) @ spectrum)[0]
    rise = (mel[:, 1:] - mel[:, :-1]).clamp(min=0)
    return torch.stack([band.mean(0) for band in rise.split((4, 10, 13, 13))])


def _autocorrelation(signal: np.ndarray, longest: int) -> np.ndarray:
    signal = signal - signal.mean()
    size = 1 << max(2 * len(signal), longest).bit_length()
    spectrum = np.abs(np.fft.rfft(signal, size)) ** 2
    found = np.fft.irfft(spectrum)[:longest]
    return found / (found[0] + 1e-9)


def tempo_features(wave: torch.Tensor) -> np.ndarray:
    """Autocorrelation of each band's onsets, read at BEATS times the beat of every candidate tempo. [tempi, 44]"""
    longest = int(8.2 * 60 / SLOWEST_BPM * 100)
    bands = [_autocorrelation(band, longest) for band in onsets(wave).double().numpy()]
    lags = 60.0 / candidates()[:, None] * 100 * np.array(BEATS)
    return np.concatenate([np.interp(lags, np.arange(longest), band) for band in bands], 1).astype(np.float32)


@lru_cache(maxsize=1)
def candidates() -> np.ndarray:
    return np.geomspace(SLOWEST_BPM, FASTEST_BPM, 256)


def chroma(wave: torch.Tensor) -> np.ndarray:
    """The share of each pitch class between A1 and A5, frames weighted equally. [12]"""
    spectrum = power(wave.mean(0, keepdim=True), 16_384, 4_096)[0]
    freq = np.linspace(0, RATE_HZ / 2, spectrum.shape[0])
    pitch = 69 + 12 * np.log2(np.maximum(freq, 1) / 440)
    inside = (pitch > 32.5) & (pitch < 81)
    level = spectrum.sqrt().numpy()[inside]
    # Only peaks: drums lift all bins alike.
    floor = np.median(level, axis=0, keepdims=True)
    level = np.maximum(level - 2 * floor, 0)
    classes = np.zeros((12, level.shape[1]))
    nearest = np.round(pitch[inside]).astype(int)
    weight = np.maximum(1 - 2.5 * np.abs(pitch[inside] - nearest), 0)
    np.add.at(classes, nearest % 12, level * weight[:, None])
    classes /= classes.sum(0, keepdims=True) + 1e-6
    return classes.mean(1)


def key(wave: torch.Tensor) -> tuple[int, bool]:
    """Tonic (0 is C) and whether it is minor: the best correlation with the 24 rotated key profiles."""
    found, best = chroma(wave), (-2.0, 0, False)
    for minor, profile in ((False, PROFILES["major"]), (True, PROFILES["minor"])):
        for tonic in range(12):
            fit = np.corrcoef(np.roll(profile, tonic), found)[0, 1]
            best = max(best, (fit, tonic, minor))
    return best[1], best[2]


def same_or_relative(tonic: int, minor: bool, asked_tonic: int, asked_minor: bool) -> bool:
    """Whether two keys are the same or relative, which share their notes and hence nearly their chroma."""
    home = (tonic + 3) % 12 if minor else tonic
    asked = (asked_tonic + 3) % 12 if asked_minor else asked_tonic
    return home == asked


def instrument_features(wave: torch.Tensor) -> np.ndarray:
    """How level, its movement and its onsets are spread over 40 bands, and how wide they are. [160]"""
    middle, side = wave.mean(0, keepdim=True), (wave[:1] - wave[1:]) / 2
    mel = decibels(mel_bank(2048, 40, RATE_HZ) @ power(middle, 2048, 512))[0] / 10
    wide = decibels(mel_bank(2048, 40, RATE_HZ) @ power(side, 2048, 512))[0] / 10
    rise = (mel[:, 1:] - mel[:, :-1]).clamp(min=0)
    parts = [mel.mean(1), mel.std(1), rise.square().mean(1).sqrt(), wide.mean(1)]
    return torch.cat(parts).numpy().astype(np.float32)


@lru_cache(maxsize=1)
def _ears() -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(EARS)


def _network(features: np.ndarray, name: str) -> np.ndarray:
    ears = _ears()
    hidden = np.tanh(
        (features - ears[f"{name}.mean"]) / ears[f"{name}.deviation"] @ ears[f"{name}.w1"] + ears[f"{name}.b1"]
    )
    return hidden @ ears[f"{name}.w2"] + ears[f"{name}.b2"]


def tempo_bpm(wave: torch.Tensor) -> float:
    """The estimated tempo of the drums, from 56 to 190."""
    octaves = np.log2(candidates() / 110)
    prior = _ears()["tempo.prior"]
    score = _network(tempo_features(wave), "tempo")[:, 0] + prior[0] * octaves + prior[1] * octaves**2
    return float(candidates()[score.argmax()])


def instruments(wave: torch.Tensor) -> dict[str, bool]:
    """Role of the band -> whether it is estimated to play."""
    return dict(zip(ROLES, (_network(instrument_features(wave), "roles") > 0).tolist()))


def fit_ears(clips: list[tuple[torch.Tensor, float | None, frozenset[str]]]) -> None:
    """Fits both networks on (wave, tempo where there are drums, roles that play) and writes them beside this file."""
    from safetensors.numpy import save_file

    played = [(tempo_features(wave), bpm) for wave, bpm, _ in clips if bpm]
    x, bpm = np.stack([features for features, _ in played]), np.array([bpm for _, bpm in played])
    octaves = torch.from_numpy(np.log2(candidates() / 110)).float()
    near = torch.from_numpy(-(((np.log2(bpm)[:, None] - np.log2(candidates())) / 0.02) ** 2)).float().softmax(1)

    def tempo_loss(made, prior):
        score = made[..., 0] + prior[0] * octaves + prior[1] * octaves**2
        return -(near * score.log_softmax(1)).sum(1).mean()

    roles = torch.tensor([[float(role in playing) for role in ROLES] for _, _, playing in clips])
    y = np.stack([instrument_features(wave) for wave, _, _ in clips])
    ears = _fit("tempo", x, 8, 1, tempo_loss)
    ears |= _fit("roles", y, 24, len(ROLES), lambda made, _: F.binary_cross_entropy_with_logits(made, roles))
    save_file(ears, EARS)
    _ears.cache_clear()


def _fit(name: str, features: np.ndarray, hidden: int, outputs: int, loss) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    flat = features.reshape(-1, features.shape[-1])
    mean, deviation = flat.mean(0), flat.std(0) + 0.05
    x = torch.from_numpy((features - mean) / deviation)
    first, last = torch.nn.Linear(x.shape[-1], hidden), torch.nn.Linear(hidden, outputs)
    prior = torch.nn.Parameter(torch.zeros(2))
    optimiser = torch.optim.AdamW([*first.parameters(), *last.parameters(), prior], lr=0.02, weight_decay=0.3)
    for _ in range(400):
        optimiser.zero_grad()
        loss(last(torch.tanh(first(x))), prior).backward()
        optimiser.step()
    tensors = {"w1": first.weight.T, "b1": first.bias, "w2": last.weight.T, "b2": last.bias, "prior": prior}
    tensors = {f"{name}.{key}": np.ascontiguousarray(t.detach().numpy()) for key, t in tensors.items()}
    return tensors | {f"{name}.mean": mean, f"{name}.deviation": deviation}
