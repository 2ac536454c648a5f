"""Small networks that tell decoded music from played music by its spectra: they see what no fixed distance does, above
all lines and gaps that a decoder leaves in noise. Waveforms [B, 2, N] at 48 kHz.

Complex spectrograms at several window lengths (multi-resolution discriminators, arXiv:2107.03312), hinge loss, and the
distance of their features (arXiv:1910.06711).
"""

import torch
import torch.nn.functional as F

N_FFTS = (2048, 512)
CHANNELS = 12
_SCALE = 0.3  # exponent of the magnitude: quiet parts count too


class _OneResolution(torch.nn.Module):
    def __init__(self, n_fft: int):
        super().__init__()
        self.n_fft = n_fft
        wide, norm = CHANNELS, torch.nn.utils.parametrizations.weight_norm
        self.layers = torch.nn.ModuleList(
            norm(torch.nn.Conv2d(inside, wide, (7, 3), (stride, 1), (3, dilation), (1, dilation)))
            for inside, stride, dilation in ((4, 2, 1), (wide, 2, 1), (wide, 2, 2), (wide, 2, 4))
        )
        self.last = norm(torch.nn.Conv2d(wide, 1, 3, padding=1))

    def forward(self, wave: torch.Tensor) -> list[torch.Tensor]:
        """The outputs of all layers; the last one [B, 1, F', T'] is the verdict, above 0 for played music."""
        x = _compressed(wave, self.n_fft).contiguous(memory_format=torch.channels_last)
        outputs = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            outputs.append(x)
        return [*outputs, self.last(x)]


def _compressed(wave: torch.Tensor, n_fft: int) -> torch.Tensor:
    """Real and imaginary parts of both channels' spectra, their magnitudes compressed. [B, 2, N] → [B, 4, F, T]"""
    window = torch.hann_window(n_fft, device=wave.device)
    spectra = torch.stft(wave.flatten(0, 1), n_fft, n_fft // 4, window=window, return_complex=True)[:, :-1]
    spectra = torch.view_as_real(spectra / window.sum().sqrt())
    size = spectra.square().sum(-1, keepdim=True).add(1e-7).sqrt()
    spectra = (spectra * size ** (_SCALE - 1)).unflatten(0, (-1, 2))
    return spectra.movedim(-1, 2).flatten(1, 2)


class Discriminator(torch.nn.Module):
    """One judge for each window length of N_FFTS."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.judges = torch.nn.ModuleList(map(_OneResolution, N_FFTS))

    def own_loss(self, made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Hinge loss of the verdicts, 2 for a judge that knows nothing."""
        total = made.new_zeros(())
        for judge in self.judges:
            played, decoded = judge(real)[-1], judge(made.detach())[-1]
            total = total + F.relu(1 - played).mean() + F.relu(1 + decoded).mean()
        return total / len(self.judges)

    def decoder_losses(self, made: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the decoder is taught: to pass for played music, and to give the same features."""
        verdict, features = made.new_zeros(()), made.new_zeros(())
        for judge in self.judges:
            with torch.no_grad():
                wanted = judge(real)
            got = judge(made)
            verdict = verdict - got[-1].mean()
            pairs = zip(got[:-1], wanted[:-1], strict=True)
            features = features + sum((a - b).abs().mean() / b.abs().mean().clamp(min=1e-3) for a, b in pairs)
        return verdict / len(self.judges), features / (len(self.judges) * 4)
