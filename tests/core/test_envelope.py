import math

import pytest
import torch
from acestep_pack.acestep_core.audio.envelope import MEASURES, envelope
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.errors import UserError

RATE = 48000


def clip(samples: torch.Tensor, rate=RATE) -> Waveform:
    return Waveform(samples[None, None].repeat(1, 2, 1), rate)


def tone(seconds=2.0, level=0.5, hz=220.0, rate=RATE) -> torch.Tensor:
    return level * torch.sin(2 * math.pi * hz * torch.arange(round(seconds * rate)) / rate)


def drums(at, seconds, rate=RATE, over=0.0) -> Waveform:
    """Strokes that die away, over a held chord."""
    t = torch.arange(round(seconds * rate)) / rate
    made = over * sum(torch.sin(2 * math.pi * hz * t) for hz in (220, 277, 330))
    noise = torch.randn(len(t), generator=torch.Generator().manual_seed(1))
    for time in at:
        made = made + 0.5 * torch.exp(-40 * (t - time).clamp(min=0)) * (t >= time) * noise
    return clip(made, rate)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("fps", [1.0, 23.976, 240.0])
@pytest.mark.parametrize("samples", [1, 1000, 100001])
def test_as_many_values_as_pictures_all_from_0_to_1(measure, fps, samples):
    values = envelope(clip(torch.randn(samples) * 0.1), fps, measure=measure)
    assert len(values) == max(1, math.ceil(samples / RATE * fps - 1e-6))
    assert values.isfinite().all() and values.min() >= 0 and values.max() <= 1
    assert values.max() > 0.9 or samples == 1


def test_ten_seconds_at_24_fps_are_240_pictures():
    assert len(envelope(clip(torch.zeros(10 * 44100), 44100), 24)) == 240


@pytest.mark.parametrize("measure", MEASURES)
def test_past_the_clip_all_is_0_and_a_part_keeps_the_scale(measure):
    wave = drums([0.5, 1.5], 2.0)
    whole = envelope(wave, 24, measure=measure, smoothing_seconds=0.5)
    long = envelope(wave, 24, 100, measure, smoothing_seconds=0.5)
    assert torch.equal(long[:48], whole) and not long[48:].any() and len(long) == 100
    assert torch.equal(envelope(wave, 24, 20, measure, smoothing_seconds=0.5), whole[:20])


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("level", [0.0, 1e-6])
def test_silence_is_0(measure, level):
    assert not envelope(clip(torch.randn(RATE) * level), 24, measure=measure, smoothing_seconds=0.1).any()


@pytest.mark.parametrize("measure", MEASURES)
def test_a_quiet_song_moves_as_a_loud_one_does(measure):
    loud = drums([0.25, 1.0, 1.5], 2.0, over=0.05)
    quiet = Waveform(loud.samples * 0.02, RATE)
    assert torch.allclose(envelope(loud, 24, measure=measure), envelope(quiet, 24, measure=measure), atol=1e-3)


def test_loudness_is_in_decibels():
    steps = [
        envelope(clip(torch.cat([tone(1.0), tone(1.0, 0.5 * 10 ** (-db / 20))])), 24)[36] for db in (0, 10, 20, 50)
    ]
    assert torch.tensor(steps).tolist() == pytest.approx([1.0, 0.75, 0.5, 0.0], abs=0.01)


def test_a_held_tone_is_steady():
    for fps in (24, 60, 240):
        values = envelope(clip(tone(hz=55.0)), fps)
        assert values.min() > 0.9


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("fps", [24.0, 25.0, 60.0])
def test_strokes_light_up_the_picture_of_their_time(fps, rate):
    beats = [0.5 * beat for beat in range(1, 16)]  # each begins with a picture
    values = envelope(drums(beats, 8.0, rate, over=0.05), fps, measure="onsets")
    struck = [math.floor(beat * fps + 1e-6) for beat in beats]
    assert all(values[picture] > 0.6 for picture in struck)
    on_time = [picture for picture, beat in zip(struck, beats) if beat * fps == picture]
    assert on_time and all(values[picture - 1] < 0.2 for picture in on_time)
    rest = [value for picture, value in enumerate(values) if all(abs(picture - at) > 1 for at in [0, *struck])]
    assert max(rest) < 0.2


def test_one_stroke_is_the_strongest():
    values = envelope(drums([1.0], 10.0), 24, measure="onsets")
    assert values.argmax() == 24 and values[24] == 1 and values[30:].max() < 0.2


def test_an_accent_does_not_put_the_other_strokes_out():
    wave = drums([0.5 * beat for beat in range(1, 20)], 10.0, over=0.05)
    wave.samples[..., 5 * RATE : 5 * RATE + 2000] *= 8
    values = envelope(wave, 24, measure="onsets")
    assert all(values[12 * beat] > 0.5 for beat in range(1, 20))


def test_a_fade_in_has_no_stroke_worth_its_end():
    fade = clip(tone(4.0) * torch.linspace(0, 1, 4 * RATE) ** 2)
    struck = Waveform(fade.samples.clone(), RATE)
    struck.samples[..., 2 * RATE :] += drums([0.0], 2.0).samples
    values = envelope(struck, 24, measure="onsets")
    assert values.argmax() == 48


@pytest.mark.parametrize("measure", MEASURES)
def test_smoothing_lengthens_and_never_delays(measure):
    wave = drums([0.5, 1.0], 3.0)
    sharp = envelope(wave, 24, measure=measure)
    smooth = envelope(wave, 24, measure=measure, smoothing_seconds=0.25)
    assert (smooth >= sharp).all()
    falls = smooth[1:] >= smooth[:-1] * math.exp(-1 / 6) - 1e-6
    assert falls.all()
    rising = sharp[1:] > smooth[:-1]
    assert torch.equal(smooth[1:][rising], sharp[1:][rising])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"fps": 0}, "fps: got 0, expected 1 to 240"),
        ({"fps": math.nan}, "fps: got nan"),
        ({"frames": -1}, "frames: got -1, expected up to"),
        ({"measure": "pitch"}, "measure: got 'pitch', expected one of loudness, onsets"),
        ({"smoothing_seconds": -1}, "smoothing: got -1 seconds"),
        ({"smoothing_seconds": math.inf}, "smoothing: got inf seconds"),
    ],
)
def test_what_cannot_be_measured_is_told(options, message):
    with pytest.raises(UserError, match=message):
        envelope(clip(tone()), **{"fps": 24, **options})
