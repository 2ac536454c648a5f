"""What the training of the tiny family stands on: its forward passes are diffusers' own, its distances are right."""

from pathlib import Path

import pytest
import torch
from acestep_pack.acestep_core.audio import spectrogram
from acestep_pack.acestep_core.system.torchaudio_import import settle_torchaudio
from acestep_pack.acestep_core.tiny_recipe import channels_last, checkpointing, export, packed, spectral

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


# ---- the transformer, packed -----------------------------------------------------------------------------------------

FRAMES, HEARD = (45, 16, 130), (7, 1, 12)  # of three items


def transformer(patch_size):
    from diffusers import AceStepTransformer1DModel

    torch.manual_seed(0)
    sizes = dict(hidden_size=48, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4, head_dim=12)
    sizes |= dict(num_key_value_heads=2, in_channels=24, audio_acoustic_hidden_dim=8, patch_size=patch_size)
    network = AceStepTransformer1DModel(**sizes, rope_theta=1e4, sliding_window=2, encoder_hidden_size=40)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:  # norms begin at one, biases at zero
                parameter.add_(drawn(*parameter.shape), alpha=0.2)
    assert set(network.layer_types) == {"full_attention", "sliding_attention"} and FRAMES[0] % patch_size
    return network


def items():
    """(x_t [8, T], t, states [L, 40], context [16, T]) of each item."""
    lengths = enumerate(zip(FRAMES, HEARD))
    return [
        (drawn(8, n, seed=i), torch.tensor(0.2 + 0.3 * i), drawn(m, 40, seed=9 + i), drawn(16, n, seed=20 + i))
        for i, (n, m) in lengths
    ]


def theirs(network, x_t, t, states, context):
    """diffusers' forward of one item, as a song is generated."""
    made = network(x_t.T[None], t[None], t[None], states[None], context.T[None])
    return made.sample[0].T


def ours(network, dtype):
    """All items in one pack, each cut to its frames again."""
    patch = network.config.patch_size
    x_t, t, states, context = zip(*items())

    def filled(parts):
        return torch.cat([torch.nn.functional.pad(part, (0, -part.shape[1] % patch)) for part in parts], 1)

    pack = packed.Pack(tuple(-(-n // patch) for n in FRAMES), HEARD)
    made, halfway, _ = packed.PackedForward(network, dtype)(
        filled(x_t), torch.stack(t), torch.cat(states), filled(context), pack
    )
    assert halfway.shape == (sum(pack.tokens), 48)
    return [part[:, :n] for part, n in zip(made.split([patch * n for n in pack.tokens], 1), FRAMES)]


@pytest.mark.parametrize("patch_size", [2, 13])
def test_a_pack_is_diffusers_forward_of_each_item_and_so_are_its_gradients(patch_size):
    network, results = transformer(patch_size), []
    for forward in (lambda: ours(network, torch.float32), lambda: [theirs(network, *item) for item in items()]):
        network.zero_grad()
        made = forward()
        sum(part.square().sum() for part in made).backward()
        results.append([*made, *(parameter.grad.clone() for parameter in network.parameters())])
    assert [part.shape for part in results[0][:3]] == [(8, n) for n in FRAMES]
    for mine, reference in zip(*results):
        close(mine, reference, 2e-5)


def test_a_pack_in_half_precision_is_near():
    network = transformer(2)
    with torch.no_grad():
        made, exact = ours(network, torch.bfloat16), [theirs(network, *item) for item in items()]
    for mine, reference in zip(made, exact):
        assert mine.dtype == torch.float32 and 0 < (mine - reference).norm() < 0.02 * reference.norm()


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
