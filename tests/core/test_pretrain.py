"""What the training of the tiny family stands on: its forward passes are diffusers' own, its distances are right."""

from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.audio import spectrogram
from acestep_pack.acestep_core.system.torchaudio_import import settle_torchaudio
from acestep_pack.acestep_core.tiny_recipe import attention_backward as lean
from acestep_pack.acestep_core.tiny_recipe import channels_last, checkpointing, export, flow, spectral

settle_torchaudio()

RATE_HZ = 48_000


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(ours, theirs, tolerance=1e-5):
    """Equal but for rounding, measured against the largest number there is."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * max(1e-3, float(theirs.detach().abs().max())))


# ---- the vocoder's networks, channels last ---------------------------------------------------------------------------


@pytest.fixture
def oobleck():
    from diffusers import AutoencoderOobleck

    torch.manual_seed(0)
    geometry = dict(encoder_hidden_size=8, decoder_channels=8, decoder_input_channels=4, audio_channels=2)
    vae = AutoencoderOobleck(**geometry, downsampling_ratios=[3, 2, 4], channel_multiples=[1, 2, 3])
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            if "snake" in name:  # they begin at zero, where a mistake in their use would not show
                parameter.normal_(std=0.3)
    return vae


@pytest.mark.parametrize("side, channels, frames", [("encoder", 2, 240), ("decoder", 4, 11)])
def test_channels_last_is_diffusers_vocoder_and_so_are_its_gradients(oobleck, side, channels, frames):
    network, ours = getattr(oobleck, side), {"encoder": channels_last.encode, "decoder": channels_last.decode}[side]
    results = []
    for forward in (network, lambda x: ours(network, x)):
        network.zero_grad()
        x = drawn(2, channels, frames).requires_grad_()
        made = forward(x)
        (made * drawn(*made.shape, seed=1)).sum().backward()
        results.append([made, x.grad, *(parameter.grad.clone() for parameter in network.parameters())])
    for theirs, mine in zip(*results):
        close(mine, theirs)


def test_channels_last_in_half_precision_is_near(oobleck):
    with torch.no_grad():
        x = drawn(1, 4, 11)
        exact, half = (channels_last.decode(oobleck.decoder, x, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert half.dtype == torch.float32 and 0 < (half - exact).norm() < 0.03 * exact.norm()


def test_the_snakes_own_backward_is_autograds():
    x, alpha, gain = drawn(50, 6), drawn(6, seed=1).exp(), drawn(6, seed=2).exp()
    grad, results = drawn(50, 12, seed=3)[:, ::2], []  # not contiguous
    for snake in (channels_last._Snake.apply, lambda x, a, g: x + g * torch.sin(a * x) ** 2):
        given = [tensor.clone().requires_grad_() for tensor in (x, alpha, gain)]
        made = snake(*given)
        results.append([made, *torch.autograd.grad(made, given, grad)])
    for mine, theirs in zip(*results):
        close(mine, theirs)


def test_the_scale_of_the_latents_moves_into_the_vocoder(oobleck):
    wave, music, scale = 0.1 * drawn(1, 2, 480), drawn(1, 4, 11), 2.7
    with torch.no_grad():
        oobleck.encoder.conv2.bias[4:] = -6.0  # a narrow posterior, as a trained one is
        (mean, width), sound = oobleck.encoder(wave).chunk(2, 1), oobleck.decoder(music)
        export.fold_scale(oobleck, scale)
        (scaled_mean, scaled_width), again = oobleck.encoder(wave).chunk(2, 1), oobleck.decoder(scale * music)
    close(again, sound)
    close(scaled_mean, scale * mean)
    softplus = torch.nn.functional.softplus
    torch.testing.assert_close(softplus(scaled_width), scale * softplus(width), rtol=0.02, atol=0)


# ---- the transformer, lean -------------------------------------------------------------------------------------------


def transformer(patch_size, frames=45):
    from diffusers import AceStepTransformer1DModel

    torch.manual_seed(0)
    geometry = dict(flow._geometry(48, 64, 4, 4, 2, patch_size, 40), head_dim=12, sliding_window=2)
    network = AceStepTransformer1DModel(**geometry)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:  # norms begin at one, biases at zero
                parameter.add_(drawn(*parameter.shape), alpha=0.2)
    assert set(network.layer_types) == {"full_attention", "sliding_attention"} and frames % patch_size
    inputs = drawn(2, 8, frames), torch.tensor([0.2, 0.9]), drawn(2, 7, 40, seed=1), drawn(2, 16, frames, seed=2)
    return network, inputs


def theirs(network, x_t, t, states, context):
    return network(x_t.transpose(1, 2), t, t, states, context.transpose(1, 2)).sample.transpose(1, 2)


@pytest.mark.parametrize("patch_size", [2, 16])
def test_the_lean_forward_is_diffusers_and_so_are_its_gradients(patch_size, monkeypatch):
    monkeypatch.setattr(lean, "HALF", torch.float32)
    network, inputs = transformer(patch_size)
    results = []
    for forward in (lambda *given: lean.LeanForward(network)(*given)[0], lambda *given: theirs(network, *given)):
        network.zero_grad()
        made = forward(*inputs)
        made.square().mean().backward()
        results.append([made, *(parameter.grad.clone() for parameter in network.parameters())])
    assert results[0][0].shape == inputs[0].shape
    for mine, reference in zip(*results):
        close(mine, reference, 2e-5)


def test_the_lean_forward_in_half_precision_is_near():
    network, inputs = transformer(2)
    with torch.no_grad():
        (made, _), exact = lean.LeanForward(network)(*inputs), theirs(network, *inputs)
    assert made.dtype == torch.float32 and 0 < (made - exact).norm() < 0.02 * exact.norm()


# ---- distances -------------------------------------------------------------------------------------------------------


def sine(hz, level=1.0, count=24_000):
    return (level * torch.sin(2 * torch.pi * hz * torch.arange(count) / RATE_HZ)).expand(1, 2, -1).clone()


@pytest.mark.parametrize("n_fft", [512, 2048, 8192])
def test_a_full_scale_sine_has_power_one(n_fft):
    found = spectral.power(sine(3_000), n_fft, n_fft // 4)
    assert found.shape[:3] == (1, 2, n_fft // 2 + 1)
    assert found[..., found.shape[-1] // 2].amax(-1) == pytest.approx(1.0, abs=1e-3)
    quiet = spectral.power(sine(3_000, 0.1), n_fft, n_fft // 4)
    fall = spectral.decibels(found).amax(2) - spectral.decibels(quiet).amax(2)
    assert fall[..., fall.shape[-1] // 2] == pytest.approx(20.0, abs=0.1)


def test_distances_are_zero_for_equal_and_count_decibels():
    noise = 0.1 * drawn(2, 2, 24_000)
    assert spectral.mel_distance_db(noise, noise).tolist() == [0.0, 0.0]
    assert spectral.mel_distance_db(noise, noise / 2) == pytest.approx([6.02, 6.02], abs=0.05)
    assert spectral.reconstruction_loss(noise, noise) == 0 < spectral.reconstruction_loss(noise / 2, noise)
    assert spectral.log_mel(torch.zeros(1, 2, 9_600)) == pytest.approx(-70.0)


def test_silence_has_gradients_too():
    made = torch.zeros(1, 2, 9_600, requires_grad=True)
    spectral.reconstruction_loss(made, sine(440, 0.1, 9_600)).backward()
    assert torch.isfinite(made.grad).all()


def test_what_was_first_seen_in_inference_mode_has_gradients_too():
    made = torch.zeros(1, 1, 9_600, requires_grad=True)
    for kept in (spectral.mel_bank, spectral._semitone_bank, spectrogram._hann):
        kept.cache_clear()
    with torch.inference_mode():
        spectral.log_mel(made), spectral.pitch_image(made, 240)
    (spectral.log_mel(made).sum() + spectral.pitch_image(made, 240).sum()).backward()
    assert made.grad.isfinite().all()


def test_every_mel_band_hears_something():
    for _, bands, _, _ in spectral._VIEWS[1:]:
        for n_fft in (128, 512, 2048, 4096):
            assert (spectral.mel_bank(n_fft, bands, RATE_HZ).amax(1) > 0).all()


def test_a_pitch_image_shows_the_semitone():
    image = spectral.pitch_image(sine(440, 0.1), 240)
    assert image.shape == (1, 60, 100) and (image.mean(2).argmax() + 33) == 69
    middle, side = spectral.middle_and_side(torch.stack([sine(440)[0, 0], -sine(440)[0, 0]])[None])[0]
    assert middle.abs().max() == 0 and torch.equal(side, sine(440)[0, 0])


# ---- stopping and going on -------------------------------------------------------------------------------------------


def test_a_state_is_whole_or_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "new" / "state.pt"
    assert checkpointing.load_state(path) is None
    checkpointing.save_state(path, step=1)

    def interrupted(state, target):
        Path(target).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpointing.save_state(path, step=2)
    assert checkpointing.load_state(path) == {"step": 1}


def test_the_learning_rate_warms_holds_and_cools():
    rates = [checkpointing.warm_then_cool(step, 1_000) for step in range(1_000)]
    assert rates[0] == 0.01 and rates[99:750] == [1.0] * 651 and rates[-1] == 0.02
    assert rates[:100] == sorted(rates[:100]) and rates[750:] == sorted(rates[750:], reverse=True)
