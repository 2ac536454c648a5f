"""Tiles that leave no seam: their context follows from the layers, and impulses say that it is right, and tight."""

from copy import deepcopy

import pytest
import torch
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.models import vocoder as vocoder_module
from acestep_pack.acestep_core.models.vocoder import Vocoder
from acestep_pack.acestep_core.nn import oobleck
from acestep_pack.acestep_core.nn import tiling as tiles
from acestep_pack.acestep_core.nn.tiling import (
    ENCODER_HEAD_KERNEL,
    KERNEL,
    Context,
    decoder_context,
    encoder_context,
    pass_bytes,
    reach,
    roomy_tile_frames,
)
from acestep_pack.acestep_core.system.torchaudio_import import settle_torchaudio
from torch.utils.flop_counter import FlopCounterMode

settle_torchaudio()

RATIOS = [(2, 4, 6), (2, 2), (4, 10), (3, 5), (2, 3, 4)]
PUBLISHED = (2, 4, 4, 6, 10)


def network(ratios=(2, 4, 6), channels=4, **more):
    from diffusers import AutoencoderOobleck

    torch.manual_seed(0)
    vae = AutoencoderOobleck(
        encoder_hidden_size=2 * channels,
        downsampling_ratios=list(ratios),
        channel_multiples=[1] * len(ratios),
        decoder_channels=8,
        decoder_input_channels=channels,
        **{"audio_channels": 2, "sampling_rate": 8000} | more,
    )
    for name, parameter in vae.named_parameters():
        if name.endswith(("alpha", "beta")):
            parameter.data.normal_(std=0.3)
    return vae.eval()


def latents(frames, batch=1, channels=4):
    return torch.randn(batch, channels, frames, generator=torch.Generator().manual_seed(frames))


def sound(samples, batch=1, channels=2, rate=8000):
    return Waveform(torch.randn(batch, channels, samples, generator=torch.Generator().manual_seed(samples)), rate)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


# ---- the same numbers as the network in one piece --------------------------------------------------------------------


@pytest.mark.parametrize("ratios", RATIOS, ids=str)
@pytest.mark.parametrize("frames", [1, 7, 60])
def test_decoding_in_tiles_is_decoding_at_once(ratios, frames):
    vae = network(ratios)
    expected = vae.decode(latents(frames, batch=2)).sample
    for tile_frames in (5, 13, 1000):
        got = Vocoder(vae, tile_frames).decode(latents(frames, batch=2))
        assert got.samples.shape == expected.shape and got.sample_rate_hz == 8000
        assert torch.allclose(got.samples, expected, atol=1e-6)


@pytest.mark.parametrize("dilation", [3, 9])
@pytest.mark.parametrize("samples", [1, 18, 40])
def test_a_folded_convolution_is_the_dilated_one(dilation, samples):
    conv = torch.nn.Conv1d(6, 6, 7, padding=3 * dilation, dilation=dilation)
    x = torch.randn(2, samples, 6)
    layer = oobleck.Convolution(conv)
    made = layer.folded(x, layer.bias)
    assert made.is_contiguous()
    assert torch.allclose(made, layer(oobleck.Pending(x)).settled(), atol=1e-6)


def test_biases_that_the_next_snake_adds_are_the_same(monkeypatch):
    """As on a GPU, whose snakes are told of them."""

    def snake(x, target, bias, rate, gain):
        y = x if bias is None else x + bias
        return target.copy_(y + (y * rate).sin().square() * gain)

    vae, music = network((3, 5)), latents(20)
    plain = Vocoder(vae)
    sound = plain.decode(music)
    mean = plain.encode(sound)
    seen = []
    monkeypatch.setattr(oobleck.triton_ops, "usable", lambda x: True)
    monkeypatch.setattr(oobleck.triton_ops, "snake", lambda *given: seen.append(given[2]) or snake(*given))
    assert torch.allclose(Vocoder(vae).decode(music).samples, sound.samples, atol=1e-6)
    assert torch.allclose(Vocoder(vae).encode(sound), mean, atol=1e-5)
    assert any(bias is not None for bias in seen)


def test_a_tile_computes_little_that_another_computes_too():
    """Context counts in the first layers, where a frame is few numbers, and next to nothing in the costly last ones."""

    def flop(tile_frames):
        with FlopCounterMode(display=False) as counted:
            ours.tiled(tile_frames).decode(music)
        return counted.get_total_flops()

    ours, music = Vocoder(network(PUBLISHED)), latents(128)
    assert flop(16) < 1.3 * flop(128)  # the context of a tile alone is longer than that


@pytest.mark.parametrize("frames", [1, 20, 47, 60])
def test_tiles_of_one_length_are_decoding_at_once(frames, monkeypatch):
    spans, real = [], vocoder_module._tile

    def even(*given, even):
        spans.append(real(*given, even=True).span)
        return real(*given, even=True)

    monkeypatch.setattr(vocoder_module, "_tile", even)
    monkeypatch.setattr(vocoder_module, "decoder_cuts", tiles.decoder_uncut)  # as on a GPU
    vae = network()
    expected = vae.decode(latents(frames)).sample
    assert torch.allclose(Vocoder(vae, 7).decode(latents(frames)).samples, expected, atol=1e-6)
    assert len({span.stop - span.start for span in spans}) == 1
    assert all(span.start >= 0 and span.stop <= frames for span in spans)


def test_a_gpu_with_memory_to_spare_gets_larger_tiles():
    def frames(free, each=4):
        return roomy_tile_frames(tiles.tile_frames(1920, each), pass_bytes(128 * 1920, each), 1920, each, free)

    assert [frames(gigabytes * 1e9) for gigabytes in (0.5, 2, 3, 80)] == [128, 169, 254, 512]
    assert frames(80e9, each=2) == 1024


def test_tiles_grow_as_far_as_a_gpu_and_its_user_let_them(monkeypatch):
    ours = Vocoder(network((2, 4, 240))).to(dtype=torch.bfloat16)
    frame_bytes = pass_bytes(8 * 1920, 2)  # 8 channels
    for name, told in (("memory_allocated", 200e6), ("memory_reserved", 250e6), ("mem_get_info", (300e6, 900e6))):
        monkeypatch.setattr(torch.cuda, name, lambda device, told=told: told)
    assert ours._tile_to_begin_with(6000) == ours.tile_frames == 128
    monkeypatch.setattr(Vocoder, "_device", torch.device("cuda"))
    assert ours._tile_to_begin_with(7120) == int(175e6) // frame_bytes == 712
    assert ours.within(400e6)._tile_to_begin_with(4060) == int(100e6) // frame_bytes == 406
    assert ours.within(300e6)._tile_to_begin_with(2560) == 256
    assert ours.tiled(40)._tile_to_begin_with(6000) == 40


def test_tiles_of_one_length_are_not_mostly_idle():
    assert [tiles.evened(1024, frames) for frames in (100, 1024, 1100, 2000, 6000)] == [100, 1024, 550, 1024, 1024]


@pytest.mark.parametrize("ratios", RATIOS, ids=str)
@pytest.mark.parametrize("more", [0, 1, 7])
def test_encoding_in_tiles_is_encoding_at_once(ratios, more):
    vae = network(ratios)
    wave = sound(50 * torch.tensor(ratios).prod().item() + more, batch=2)
    expected = vae.encode(wave.samples).latent_dist.mean
    for tile_frames in (5, 13, 1000):
        got = Vocoder(vae, tile_frames).encode(wave)
        assert got.shape == expected.shape
        assert torch.allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("ratios", RATIOS, ids=str)
def test_another_layout_is_the_same_function(ratios):
    vae = network(ratios)
    ours = Vocoder(vae)
    assert torch.allclose(ours.decode(latents(20)).samples, vae.decode(latents(20)).sample, atol=2e-6, rtol=0)
    wave = sound(7 * ours.latents.samples_per_frame)
    assert torch.allclose(ours.encode(wave), vae.encode(wave.samples).latent_dist.mean, atol=2e-6, rtol=0)


def test_weights_without_a_norm_are_taken_as_they_are():
    normed, plain = network(), network()
    for module in plain.modules():
        if hasattr(module, "weight_v"):
            torch.nn.utils.remove_weight_norm(module)
    assert torch.equal(Vocoder(plain).decode(latents(9)).samples, Vocoder(normed).decode(latents(9)).samples)


def test_long_rows_of_a_snake_are_worked_on_in_pieces(monkeypatch):
    ours = Vocoder(network())
    whole = ours.decode(latents(20)).samples
    monkeypatch.setattr(oobleck, "SNAKE_ELEMENTS", 40)
    assert torch.equal(ours.decode(latents(20)).samples, whole)


def test_an_item_of_a_batch_is_the_single_one():
    ours, batch = Vocoder(network(), 16), latents(40, batch=3)
    assert torch.equal(ours.decode(batch).samples[1:2], ours.decode(batch[1:2]).samples)
    wave = sound(40 * 48, batch=3)
    assert torch.equal(ours.encode(wave)[1:2], ours.encode(wave[1]))


def test_the_network_is_left_as_it_was():
    vae = network()
    before, names = deepcopy(vae.state_dict()), set(vae.state_dict())
    ours = Vocoder(vae, 8)
    ours.encode(Waveform(ours.decode(latents(20)).samples, 8000))
    assert set(vae.state_dict()) == names and any(name.endswith("weight_g") for name in names)
    assert all(torch.equal(before[name], tensor) for name, tensor in vae.state_dict().items())


# ---- how far a frame reaches -----------------------------------------------------------------------------------------


def test_published_contexts():
    assert decoder_context(PUBLISHED) == Context(9, 9)
    assert encoder_context(PUBLISHED) == Context(7, 7)
    assert reach(PUBLISHED, KERNEL) == (-16005, 17924)


@pytest.mark.parametrize("ratios", RATIOS, ids=str)
def test_a_frame_reaches_as_far_as_the_layers_say_and_no_farther(ratios):
    vae, hop = network(ratios).double(), int(torch.tensor(ratios).prod())
    low, high = reach(ratios, KERNEL)
    frames = 2 * (-low // hop + 3)
    middle, silence = frames // 2, torch.zeros(1, 4, frames, dtype=torch.float64)
    struck = silence.clone()
    struck[..., middle] = 5.0
    moved = (vae.decode(struck).sample - vae.decode(silence).sample).abs().amax(dim=(0, 1)).nonzero().flatten()
    first, last = int(moved[0]) - middle * hop, int(moved[-1]) - middle * hop
    assert low <= first and last <= high
    assert first - low <= hop // 8 + 3 and high - last <= hop // 8 + 3  # tight, but for the outermost taps


@pytest.mark.parametrize("ratios", RATIOS, ids=str)
def test_a_frame_is_made_from_as_far_as_the_layers_say_and_no_farther(ratios):
    vae, hop = network(ratios).double(), int(torch.tensor(ratios).prod())
    low, high = reach(ratios, ENCODER_HEAD_KERNEL)
    middle = -low // hop + 3
    wave = torch.zeros(1, 2, 2 * middle * hop, dtype=torch.float64)
    with torch.enable_grad():
        wave.requires_grad_()
        vae.encode(wave).latent_dist.mean[..., middle].sum().backward()
    used = wave.grad.abs().amax(dim=(0, 1)).nonzero().flatten() - middle * hop
    assert (int(used[0]), int(used[-1])) == (low, high)


@pytest.mark.parametrize("less", [Context(1, 0), Context(0, 1)], ids=["before", "after"])
def test_one_frame_less_changes_the_samples(less):
    """The context is not larger than it must be: without its outermost frame there is a seam."""
    vae = network((2, 4)).double()
    ours = Vocoder(vae, tile_frames=8)
    whole = vae.decode(latents(64).double()).sample
    assert torch.allclose(ours.decode(latents(64)).samples, whole.float(), atol=1e-6)
    full = ours.decode_context
    ours.decode_context = Context(full.before - 4 * less.before, full.after - 4 * less.after)
    assert not torch.allclose(ours.decode(latents(64)).samples, whole.float(), atol=1e-6)


# ---- pieces, draws, lengths ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratios", [(2, 4, 6), (3, 5)], ids=str)
def test_chunks_come_in_order_and_make_the_whole(ratios):
    ours = Vocoder(network(ratios), tile_frames=16)
    chunks = list(ours.decode_chunks(latents(40)))
    hop = ours.latents.samples_per_frame
    assert [chunk.samples.shape[-1] for chunk in chunks[:2]] == [16 * hop, 16 * hop] and len(chunks) == 3
    assert torch.equal(torch.cat([chunk.samples for chunk in chunks], -1), ours.decode(latents(40)).samples)


def test_the_first_chunk_does_not_wait_for_the_last():
    calls = []
    ours = Vocoder(network(), tile_frames=16)
    ours.network.decoder.register_forward_hook(lambda _, given, __: calls.append(given[0].shape[-1]))
    chunks = ours.decode_chunks(latents(160))
    next(chunks)
    assert len(calls) == 1 and calls[0] < 40


def test_where_memory_runs_out_tiles_get_smaller(caplog):
    ours = Vocoder(network(), tile_frames=80)
    whole, sizes = ours.decode(latents(160)), []

    def too_much(_, given):
        sizes.append(given[0].shape[-1])
        if sizes[-1] > 70:
            raise torch.OutOfMemoryError("no memory")

    ours.network.decoder.register_forward_pre_hook(too_much)
    assert torch.allclose(ours.decode(latents(160)).samples, whole.samples, atol=1e-5)
    assert sizes[0] > 70 and max(sizes[1:]) <= 70
    assert "out of memory, going on with tiles of 40 frames" in caplog.text
    ours.network.decoder.register_forward_pre_hook(lambda _, given: too_much(_, [torch.empty(99)]))
    with pytest.raises(torch.OutOfMemoryError):
        ours.decode(latents(160))


def test_draws_are_the_seeds_own_whatever_the_tiles():
    vae, wave = network(), sound(48 * 60)
    drawn = [Vocoder(vae, n).encode(wave, torch.Generator().manual_seed(5)) for n in (7, 1000)]
    assert torch.allclose(*drawn, atol=1e-5)
    other = Vocoder(vae).encode(wave, torch.Generator().manual_seed(6))
    mean = Vocoder(vae).encode(wave)
    assert not torch.allclose(drawn[0], other, atol=1e-3) and not torch.allclose(drawn[0], mean, atol=1e-3)


def test_any_rate_and_channels_are_encoded():
    ours = Vocoder(network())
    assert ours.encode(sound(16000, channels=1, rate=16000)).shape == (1, 4, 8000 // 48)
    assert ours.encode(sound(8000, channels=6)).shape == (1, 4, 8000 // 48)


def test_how_latents_lie_in_time():
    ours = Vocoder(network((4, 10, 12), channels=6, sampling_rate=16000, audio_channels=1))
    assert (ours.latents.channels, ours.latents.samples_per_frame, ours.latents.sample_rate_hz) == (6, 480, 16000)
    assert ours.channels == 1
    assert ours.decode(latents(3, channels=6)).samples.shape == (1, 1, 3 * 480)
    published = Vocoder(network(PUBLISHED))
    assert published.tile_frames == 64 and published.to(dtype=torch.bfloat16).tile_frames == 128


@pytest.mark.parametrize("ratios", RATIOS, ids=str)
def test_lengths(ratios):
    vae = network(ratios)
    ours = Vocoder(vae)
    for frames in (1, 2, 9):
        assert ours.samples(frames) == vae.decode(latents(frames)).sample.shape[-1]
    for samples in range(ours.latents.samples_per_frame, 3 * ours.latents.samples_per_frame, 7):
        assert ours.frames(samples) == vae.encode(sound(samples).samples).latent_dist.mean.shape[-1]


def test_bfloat16_gives_float32():
    vae = network().bfloat16()
    wave = Vocoder(vae).decode(latents(20))
    assert wave.samples.dtype == torch.float32
    assert Vocoder(vae).encode(wave).dtype == torch.float32


def test_foreign_latents_and_next_to_no_sound():
    ours = Vocoder(network())
    with pytest.raises(UserError, match=r"got \[1, 6, 20\], this vocoder takes 4 channels"):
        ours.decode(latents(20, channels=6))
    with pytest.raises(UserError, match=r"got \[1, 4, 0\]"):
        ours.decode(latents(0))
    with pytest.raises(UserError, match="got 30 samples, expected at least one frame, 48"):
        ours.encode(sound(30))
