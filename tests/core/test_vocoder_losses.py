"""What the vocoder's training sees: lines in noise, and a judge of spectra that learns to see them."""

import pytest
import torch
from acestep_pack.acestep_core.tiny_recipe import spectral
from acestep_pack.acestep_core.tiny_recipe.discriminator import N_FFTS, Discriminator

RATE_HZ, N = 48_000, 24_000


def noise(seed, items=2):
    return 0.1 * torch.randn(items, 2, N, generator=torch.Generator().manual_seed(seed))


def with_lines(wave, every_hz=200, share=0.6):
    """The same noise with lines at multiples of `every_hz`: a piece of it is repeated."""
    period = RATE_HZ // every_hz
    piece = wave[..., :period].repeat(1, 1, N // period + 1)[..., :N]
    return (1 - share) ** 0.5 * wave + share**0.5 * piece


def test_lines_in_noise_are_far_from_noise():
    real, other = noise(0), noise(1)
    with_comb = with_lines(other)
    plain, comb = (float(spectral._line_distance(made, real)) for made in (other, with_comb))
    assert comb > 1.15 * plain
    assert float(spectral.reconstruction_loss(real, real)) == pytest.approx(0, abs=1e-6)


def test_a_note_at_the_nearest_multiple_of_the_frame_rate_is_far_from_the_note():
    def tone(hz):
        return 0.2 * torch.sin(2 * torch.pi * hz / RATE_HZ * torch.arange(N)).expand(1, 2, N)

    true, snapped, late = tone(220), tone(200), tone(220).roll(12, -1)
    assert float(spectral._wave_distance(true, true)) == 0
    assert float(spectral._wave_distance(snapped, true)) > 1
    assert 0.1 < float(spectral._wave_distance(late, true)) < 0.5


def test_the_loss_takes_away_a_line():
    real = noise(0)
    level = torch.tensor(0.2, requires_grad=True)
    tone = torch.sin(2 * torch.pi * 5_000 / RATE_HZ * torch.arange(N))
    spectral.reconstruction_loss(noise(1) + level * tone, real).backward()
    assert level.grad > 0


def test_the_judge_learns_to_tell_lines_from_noise():
    judge = Discriminator()
    optimiser = torch.optim.AdamW(judge.parameters(), lr=3e-3)
    losses = []
    for step in range(30):
        loss = judge.own_loss(with_lines(noise(100 + step, 1)), noise(200 + step, 1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(2, abs=0.2) and losses[-1] < 0.6 * losses[0]


def test_a_decoder_is_taught_by_every_window():
    judge, real = Discriminator(), noise(0, 1)
    made = noise(1, 1).requires_grad_()
    verdict, features = judge.decoder_losses(made, real)
    (verdict + features).backward()
    assert len(judge.judges) == len(N_FFTS) and made.grad.abs().mean() > 0
    assert float(judge.decoder_losses(real, real)[1].detach()) == 0 and float(features.detach()) > 0
