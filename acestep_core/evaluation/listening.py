"""Estimates of a clip's tempo, key and instruments, from the sound alone. Waveforms `[2, N]` at 48 kHz, float32.

The key is plain signal processing; tempo and instruments are estimated by two small networks that were fitted on clips
of the band (`fit_ears`). Their accuracy on other clips of the band is the ceiling of every figure measured with them,
and `acestep-cascade bench tiny` prints it beside those.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..audio.beat_and_key import PROFILES
from ..audio.spectrogram import mel_bank, power
from ..band.instruments import ROLES
from ..tiny_recipe.spectral import decibels

RATE_HZ = 48_000
EARS = Path(__file__).with_name("ears.safetensors")
ONSET_HOP = 480
BEATS = (0.25, 1 / 3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8)
SLOWEST_BPM, FASTEST_BPM = 56.0, 190.0
VOICE = "vocals"
INSTRUMENT_BANDS, LASTING_FRAMES, BANDS_APART = 64, (2, 4, 8, 16, 32), (1, 2, 4)  # frames of 10.7 ms
DROPOUT = 0.5  # of the instruments' features while their network is fitted
DRIFT_BARS, DRIFT_REACH = 2, 0.2  # of a window; of a beat
COMB_HZ = (3_000, 12_000)
COMB_BINS = 40  # of a spectrum, from one multiple of the frame rate to the next


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


def drift_ms(wave: torch.Tensor, bpm: float, beats_per_bar: int) -> float:
    """How far the beats of two bars lie from where a rigid grid of the tempo has them, at most, in ms, up to a fifth of
    a beat; nan where there are fewer than four windows or no onsets.
    """
    rise = onsets(wave).double().numpy()
    envelope = (rise / (rise.std(1, keepdims=True) + 1e-6)).sum(0)
    beat = 60 / bpm * RATE_HZ / ONSET_HOP
    length = DRIFT_BARS * beats_per_bar * beat
    count = int(len(envelope) / length)
    if count < 4 or envelope.std() == 0:
        return float("nan")
    late = np.zeros(count)
    for _ in range(2):  # windows are laid on their mean, and then on the mean of windows so laid
        windows = [_window(envelope, i * length + late[i], length) for i in range(count)]
        mean = np.mean(windows, 0)
        late += [_lag(one, mean, DRIFT_REACH * beat) for one in windows]
    return float(np.abs(late - np.median(late)).max() * ONSET_HOP / RATE_HZ * 1000)


def _window(envelope: np.ndarray, start: float, length: float) -> np.ndarray:
    return np.interp(start + np.arange(int(length)), np.arange(len(envelope)), envelope)


def _lag(one: np.ndarray, mean: np.ndarray, reach: float) -> float:
    """How many frames later than the mean, between the frames by a parabola."""
    spectrum = np.fft.rfft(one - one.mean()) * np.fft.rfft(mean - mean.mean()).conj()
    fits = np.fft.irfft(spectrum, len(one))
    lags = np.arange(-int(reach), int(reach) + 1)
    best = int(lags[fits[lags].argmax()])
    below, here, above = fits[[best - 1, best, (best + 1) % len(fits)]]
    return best + (below - above) / (2 * (below - 2 * here + above) - 1e-9)


def comb_db(wave: torch.Tensor, frames_a_second: float) -> float:
    """How far power at multiples of a latent frame rate stands out of that between them, from 3 to 12 kHz, in the
    louder half of the song. About 0 without a comb.
    """
    size = round(COMB_BINS * RATE_HZ / frames_a_second)
    spectrum = power(wave.mean(0, keepdim=True), size, size // 2)[0]
    first, after = (int(hz / frames_a_second) * COMB_BINS for hz in COMB_HZ)
    loud = spectrum[first:after].sum(0)
    level = spectrum[:, loud >= loud.median()].mean(1) + 1e-16
    lines = torch.arange(first + COMB_BINS, after, COMB_BINS)
    at_line = torch.stack([level[lines + k] for k in (-1, 0, 1)]).mean(0)
    between = torch.stack([level[lines + k] for k in range(COMB_BINS // 4, 3 * COMB_BINS // 4 + 1)]).mean(0)
    return float(10 * torch.log10((at_line / between).median()))


def chroma(wave: torch.Tensor) -> np.ndarray:
    """The share of each pitch class between A1 and A5, frames weighted equally. [12]"""
    return chroma_frames(wave).mean(1)


def chroma_frames(wave: torch.Tensor) -> np.ndarray:
    """As `chroma`, about 12 times a second. [12, frames]"""
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
    return classes / (classes.sum(0, keepdims=True) + 1e-6)


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
    """How level, its rise and fall, and how long it lasts are spread over 64 bands, how bands move together, and how
    wide they are. [1081]
    """
    middle, side = wave.mean(0, keepdim=True), (wave[:1] - wave[1:]) / 2
    mel = _tens_of_db(middle)
    change = np.diff(mel, axis=1)
    parts = [mel.mean(1), mel.std(1)]
    parts += [np.sqrt((np.maximum(moved, 0) ** 2).mean(1)) for moved in (change, -change)]
    level = mel - mel.mean(1, keepdims=True)
    parts += [(level[:, lag:] * level[:, :-lag]).mean(1) / (level.var(1) + 0.05) for lag in LASTING_FRAMES]
    parts += list(np.quantile(mel, (0.1, 0.5, 0.9), axis=1))
    wide = _tens_of_db(side)
    parts += [wide.mean(1), wide.std(1)]
    spread = level.std(1) + 0.2
    parts += [(level[k:] * level[:-k]).mean(1) / (spread[k:] * spread[:-k]) for k in BANDS_APART]
    return np.concatenate(parts).astype(np.float32)


def _tens_of_db(mono: torch.Tensor) -> np.ndarray:
    return (decibels(mel_bank(2048, INSTRUMENT_BANDS, RATE_HZ) @ power(mono, 2048, 512))[0] / 10).numpy()


@lru_cache(maxsize=1)
def _ears() -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return {name: tensor.astype(np.float32) for name, tensor in load_file(EARS).items()}


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


@dataclass(frozen=True)
class Lesson:
    """What a clip sounds like, its tempo where there are drums, and the roles that play."""

    tempo: np.ndarray
    instruments: np.ndarray
    bpm: float | None
    playing: frozenset[str]


def lesson(wave: torch.Tensor, bpm: float | None, playing: frozenset[str]) -> Lesson:
    return Lesson(tempo_features(wave), instrument_features(wave), bpm, playing)


def fit_ears(lessons: Sequence[Lesson]) -> None:
    """Fits both networks and writes them beside this file."""
    from safetensors.numpy import save_file

    ears = {name: tensor.astype(np.float16) for name, tensor in (_fit_tempo(lessons) | _fit_roles(lessons)).items()}
    save_file(ears, EARS)
    _ears.cache_clear()


def _fit_tempo(lessons: Sequence[Lesson]) -> dict:
    played = [one for one in lessons if one.bpm]
    bpm = np.array([one.bpm for one in played])
    octaves = torch.from_numpy(np.log2(candidates() / 110)).float()
    near = torch.from_numpy(-(((np.log2(bpm)[:, None] - np.log2(candidates())) / 0.02) ** 2)).float().softmax(1)

    def loss(made, prior):
        score = made[..., 0] + prior[0] * octaves + prior[1] * octaves**2
        return -(near * score.log_softmax(1)).sum(1).mean()

    return _fit("tempo", np.stack([one.tempo for one in played]), 8, 1, loss)


def _fit_roles(lessons: Sequence[Lesson]) -> dict:
    roles = torch.tensor([[float(role in one.playing) for role in ROLES] for one in lessons])

    def loss(made, _):
        return F.binary_cross_entropy_with_logits(made, roles)

    return _fit("roles", np.stack([one.instruments for one in lessons]), 64, len(ROLES), loss, DROPOUT)


def _fit(name: str, features: np.ndarray, hidden: int, outputs: int, loss, dropout: float = 0.0) -> dict:
    torch.manual_seed(0)
    flat = features.reshape(-1, features.shape[-1])
    mean, deviation = flat.mean(0), flat.std(0) + 0.05
    x = torch.from_numpy((features - mean) / deviation)
    first, last = torch.nn.Linear(x.shape[-1], hidden), torch.nn.Linear(hidden, outputs)
    prior = torch.nn.Parameter(torch.zeros(2))
    optimiser = torch.optim.AdamW([*first.parameters(), *last.parameters(), prior], lr=0.02, weight_decay=0.3)
    for _ in range(400):
        optimiser.zero_grad()
        heard = torch.tanh(first(F.dropout(x, dropout)))
        loss(last(F.dropout(heard, dropout)), prior).backward()
        optimiser.step()
    tensors = {"w1": first.weight.T, "b1": first.bias, "w2": last.weight.T, "b2": last.bias, "prior": prior}
    tensors = {f"{name}.{key}": np.ascontiguousarray(t.detach().numpy()) for key, t in tensors.items()}
    return tensors | {f"{name}.mean": mean, f"{name}.deviation": deviation}
