"""Distances between waveforms, to train and to measure a vocoder. Waveforms `[B, C, N]` at 48 kHz, float32."""

from functools import lru_cache

import torch

from ..audio.spectrogram import mel_bank, power

FLOOR_DB = -70.0
_FLOOR_POWER = 10 ** (FLOOR_DB / 10)


def decibels(power_spectrum: torch.Tensor) -> torch.Tensor:
    return 10 * torch.log10(power_spectrum + _FLOOR_POWER)


def log_mel(wave: torch.Tensor, rate_hz: int = 48_000, n_fft: int = 2048, n_mels: int = 80) -> torch.Tensor:
    """Mel spectrogram in dB with a floor of -70. [B, C, N] → [B, C, n_mels, frames]"""
    return decibels(mel_bank(n_fft, n_mels, rate_hz, str(wave.device)) @ power(wave, n_fft, n_fft // 4))


def mel_distance_db(a: torch.Tensor, b: torch.Tensor, rate_hz: int = 48_000) -> torch.Tensor:
    """Mean absolute difference of 80-band log-mel spectrograms, one figure an item. [B, C, N] twice → [B] in dB"""
    return (log_mel(a, rate_hz) - log_mel(b, rate_hz)).abs().mean((1, 2, 3))


def middle_and_side(wave: torch.Tensor) -> torch.Tensor:
    """[B, 2, N] → middle, side [B, 2, N]."""
    left, right = wave[:, :1], wave[:, 1:]
    return torch.cat([0.5 * (left + right), 0.5 * (left - right)], 1)


# n_fft, mel bands (0: the bins themselves), highest Hz, weight. The two long windows hold the pitch of bass and chords.
_VIEWS = (
    (8192, 0, 1_500, 0.6),
    (4096, 128, 24_000, 0.6),
    (2048, 80, 24_000, 1.0),
    (512, 40, 24_000, 0.6),
    (128, 20, 24_000, 0.3),
)
# All bins: they see the lines that a decoder leaves in noise, which wide mel bands average away.
_LINE_VIEWS = ((2048, 0, 24_000, 1.0), (1024, 0, 24_000, 1.0), (512, 0, 24_000, 0.6))
MEAN_SPECTRUM_WEIGHT = 0.5
_WAVE_BINS, WAVE_WEIGHT = 44, 0.3  # of 2,048: up to 1,000 Hz, where latents can hold the phase


def reconstruction_loss(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Multi-resolution log-spectral L1 (in tens of dB) plus a share of linear magnitude, the same for single bins and
    their mean over time, and the distance of the waves at low frequencies. Scalar, about 2 when poor.
    """
    return _distance(made, real, _VIEWS) + _line_distance(made, real) + WAVE_WEIGHT * _wave_distance(made, real)


def _wave_distance(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Phase and all: notes keep their pitch when the latents say where their waves are."""
    window = torch.hann_window(2048, device=made.device)
    got, want = (
        torch.stft(x.flatten(0, 1), 2048, 512, window=window, return_complex=True)[:, :_WAVE_BINS] for x in (made, real)
    )
    return (got - want).abs().mean() / want.abs().mean().clamp(min=1e-1)


def _distance(made: torch.Tensor, real: torch.Tensor, views: tuple) -> torch.Tensor:
    total = made.new_zeros(())
    for view in views:
        got, want, weight = _seen(made, view), _seen(real, view).detach(), view[3]
        total = total + weight * (decibels(got) - decibels(want)).abs().mean() / 10
        got, want = (got + 1e-8).sqrt(), (want + 1e-8).sqrt()
        total = total + 0.3 * weight * (got - want).abs().mean() / want.mean().clamp(min=1e-3)
    return total / sum(view[3] for view in views)


def _line_distance(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """A line is small in one frame of noise, and stands out in the mean over time."""
    total = made.new_zeros(())
    for view in _LINE_VIEWS:
        got, want = _seen(made, view), _seen(real, view).detach()
        apart = (decibels(got) - decibels(want)).abs().mean()
        lines = (decibels(got.mean(-1)) - decibels(want.mean(-1))).abs().mean()
        total = total + view[3] * (apart + MEAN_SPECTRUM_WEIGHT * lines) / 10
    return total / sum(view[3] for view in _LINE_VIEWS)


def _seen(wave: torch.Tensor, view: tuple) -> torch.Tensor:
    n_fft, bands, highest_hz, _ = view
    spectrum = power(wave, n_fft, n_fft // 4)
    if bands:
        return mel_bank(n_fft, bands, 48_000, str(wave.device)) @ spectrum
    return spectrum[:, :, : int(highest_hz / 48_000 * n_fft)]


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # cached, and a later caller may need gradients
def _semitone_bank(n_fft: int, device: str) -> torch.Tensor:
    centres = 440.0 * 2 ** ((torch.arange(33, 93).double() - 69) / 12)
    freq = torch.linspace(0, 24_000, n_fft // 2 + 1, dtype=torch.float64)
    semitones = 12 * torch.log2(freq.clamp(min=1)[None] / centres[:, None])
    return (1 - semitones.abs()).clamp(min=0).float().to(device)


def pitch_image(wave: torch.Tensor, hop: int) -> torch.Tensor:
    """How much sounds at each semitone from A1 to G#6, in tens of dB above -50. [B, 2, N] → [B, 60, frames]"""
    spectrum = power(wave.mean(1, keepdim=True), 8192, hop)[:, 0, :, :-1]
    return (decibels(_semitone_bank(8192, str(wave.device)) @ spectrum) + 50).clamp(min=0) / 10
