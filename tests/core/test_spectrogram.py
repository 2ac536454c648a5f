import math

import numpy as np
import pytest
import torch
from acestep_pack.acestep_core.audio import spectrogram as module
from acestep_pack.acestep_core.audio.spectrogram import COLOURS, PAPER, mel_columns, picture, spectrogram
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.errors import UserError


def tone(hz=1000.0, seconds=2.0, rate=48000, level=0.5) -> Waveform:
    t = torch.arange(round(seconds * rate)) / rate
    return Waveform((level * torch.sin(2 * math.pi * hz * t))[None, None].expand(1, 2, -1), rate)


def plot_of(wave, width=1024, height=512, fmax_hz=16000.0):
    return module._laid_out(wave, width, height, min(fmax_hz, wave.sample_rate_hz / 2), module._font(height))


def brightness(made: np.ndarray) -> np.ndarray:
    return made.astype(int).sum(-1)


@pytest.mark.parametrize("hz", [100, 440, 1000, 5000, 10000])
def test_a_tone_is_a_line_at_its_tick(hz):
    wave = tone(hz)
    plot = plot_of(wave)
    rows = brightness(spectrogram(wave))[plot.top : plot.top + plot.height, plot.left + plot.width // 2]
    assert plot.top + rows.argmax() == pytest.approx(plot.y(hz), abs=2)


@pytest.mark.parametrize("at", [0.0, 3.0, 9.9])
def test_a_click_is_a_line_at_its_time(at):
    click = torch.zeros(1, 1, 480000)
    click[..., round(at * 48000) : round(at * 48000) + 4] = 1.0
    wave = Waveform(click, 48000)
    plot = plot_of(wave)
    row = brightness(spectrogram(wave))[plot.top + plot.height // 2, plot.left : plot.left + plot.width]
    assert plot.left + row.argmax() == pytest.approx(plot.x(at), abs=5)


@pytest.mark.parametrize("rate", [8000, 44100, 96000])
@pytest.mark.parametrize("samples", [1, 100, 70001])
def test_any_rate_and_length(rate, samples):
    made = spectrogram(Waveform(torch.randn(1, 1, samples) * 0.1, rate), 300, 200)
    assert made.shape == (200, 300, 3) and made.dtype == np.uint8 and brightness(made).max() > 600


def test_full_scale_is_0_db_and_no_column_is_missed():
    wave = tone(level=1.0, seconds=0.5)
    for columns in (1, 7, 850, 4000):
        found = mel_columns(wave, columns, 200, 16000.0)
        assert found.shape == (200, columns)
        loudest = found.amax(0)[columns // 4 : -(columns // 4) or None]  # a band of several bins hears all of the tone
        assert loudest.min() > 0.25 and loudest.max() < 1.6


def test_blocks_make_no_difference(monkeypatch):
    wave = Waveform(torch.randn(1, 2, 30000), 48000)
    whole = mel_columns(wave, 50, 64, 16000.0)
    monkeypatch.setattr(module, "BLOCK_FRAMES", 3)
    assert torch.allclose(mel_columns(wave, 50, 64, 16000.0), whole, rtol=1e-4)


def test_opposite_channels_are_not_silence():
    one = tone().samples[:, :1]
    wide = spectrogram(Waveform(torch.cat([one, -one], dim=1), 48000))
    assert np.array_equal(wide, spectrogram(Waveform(one, 48000)))


def test_silence_is_black_and_quiet_sound_is_not():
    silence = Waveform(torch.zeros(1, 2, 48000), 48000)
    plot = plot_of(silence)
    inside = (slice(plot.top, plot.top + plot.height), slice(plot.left, plot.left + plot.width))
    assert (spectrogram(silence)[inside] == COLOURS[0]).all()
    quiet, loud = (spectrogram(tone(level=level)).astype(int) for level in (0.01, 0.5))
    assert np.abs(quiet - loud).max() <= 3


def test_a_narrow_range_shows_less():
    noisy = Waveform(tone().samples + 1e-3 * torch.randn(1, 2, 96000), 48000)
    assert brightness(spectrogram(noisy, range_db=20)).sum() < brightness(spectrogram(noisy, range_db=100)).sum()


def test_the_colours_grow_lighter_in_equal_steps():
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in np.array(COLOURS) / 255]
    to_lms = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    lightness = [np.cbrt(to_lms @ rgb) @ [0.2104542553, 0.7936177850, -0.0040720468] for rgb in linear]
    assert np.diff(lightness) == pytest.approx([0.87 / 8] * 8, abs=0.01)


@pytest.mark.parametrize(
    "seconds, step, label", [(75, 5, "75 s"), (75, 15, "1:15"), (0.3, 0.1, "0.3 s"), (2, 1, "2 s")]
)
def test_times_read_well(seconds, step, label):
    assert module._time(seconds, step) == label


@pytest.mark.parametrize("width, height, seconds", [(1024, 512, 10), (300, 128, 600), (2048, 1024, 0.05)])
def test_axes_are_labelled_and_no_label_is_cut(width, height, seconds):
    made = spectrogram(Waveform(torch.randn(1, 1, round(seconds * 8000)), 8000), width, height)
    plot = plot_of(Waveform(torch.zeros(1, 1, round(seconds * 8000)), 8000), width, height)
    below, beside = made[plot.top + plot.height + 1 :], made[:, : plot.left - 1]
    assert (below != PAPER).any() and (beside != PAPER).any()
    for edge in (made[0], made[-1], made[:, 0], made[:, -1]):
        assert (edge == PAPER).all()


def test_a_long_song_is_taken_a_stretch_at_a_time():
    long = Waveform(torch.zeros(1, 2, 1).expand(1, 2, 8000 * 600), 8000)
    sizes = [found.shape for _, found in module.blocks(long, 512, 8000, 256)]
    assert sum(frames for _, frames in sizes) == 600 and max(frames for _, frames in sizes) == module.BLOCK_FRAMES


def test_the_picture_is_the_array():
    assert np.array_equal(np.asarray(picture(tone(), 256, 128)), spectrogram(tone(), 256, 128))


@pytest.mark.parametrize(
    "wave, options, message",
    [
        (tone(), {"width": 20}, "width: got 20, expected 128 to 8192 pixels"),
        (tone(), {"height": 10000}, "height: got 10000, expected 128 to 8192"),
        (tone(), {"fmax_hz": 50}, "fmax: got 50, expected 200"),
        (tone(), {"range_db": 0}, "range: got 0, expected 10 to 200 dB"),
        (tone(), {"range_db": float("nan")}, "range: got nan"),
        (Waveform(torch.zeros(1, 2, 0), 48000), {}, "expected one item"),
        (Waveform(torch.zeros(2, 2, 9), 48000), {}, "expected one item"),
        (Waveform(torch.full((1, 2, 9), math.nan), 48000), {}, "no numbers"),
    ],
)
def test_what_cannot_be_drawn_is_told(wave, options, message):
    with pytest.raises(UserError, match=message):
        spectrogram(wave, **options)
