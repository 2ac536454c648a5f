"""What is heard of a clip: timbre of any clip, the beginning of a continuation, and the seam after it."""

import math

import pytest
import torch
from acestep_pack.acestep_core.audio import clips
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.checkpoints.load import load_vocoder
from acestep_pack.acestep_core.errors import UserError
from acestep_pack.acestep_core.models.kept import Kept
from acestep_pack.acestep_core.models.reference import (
    ContinuationSource,
    Reference,
    continuation,
    fit_timbre,
    splice,
    timbre_reference,
)

RATE, HOP = 16000, 480  # of the tiny family's vocoder: 33 1/3 frames a second


@pytest.fixture(scope="module")
def vocoder(tiny_family):
    return load_vocoder(tiny_family / "vae")


class Heard:
    """The vocoder, and the sound that it was given to encode."""

    def __init__(self, vocoder):
        self.vocoder, self.waves = vocoder, []
        self.latents, self.channels = vocoder.latents, vocoder.channels

    def encode(self, wave, generator, tell):
        self.waves.append(wave)
        return self.vocoder.encode(wave, generator, tell)


def tone(seconds, rate=RATE, channels=2, hz=220.0, loud=0.3):
    t = torch.arange(round(seconds * rate)) / rate
    return Waveform((loud * torch.sin(2 * math.pi * hz * t)).expand(1, channels, -1).clone(), rate)


def ramp(seconds):
    """A sound whose samples tell where they were."""
    count = round(seconds * RATE)
    return Waveform((0.1 + 0.8 * torch.arange(count) / count).expand(1, 2, -1).clone(), RATE)


# ---- timbre ----------------------------------------------------------------------------------------------------------


def test_front_middle_and_back_of_a_long_clip(vocoder):
    heard, clip = Heard(vocoder), ramp(70)
    (latents,) = timbre_reference(heard, [clip])
    (wave,) = heard.waves
    segment = 334 * HOP  # 10 s in whole frames
    assert latents.shape == (1, 8, 3 * 334)
    assert wave.samples.shape == (1, 2, 3 * segment)
    third = 70 * RATE // 3
    for i, start in enumerate((0, third, 70 * RATE - segment)):
        got = wave.samples[..., i * segment : (i + 1) * segment]
        assert torch.equal(got, clip.samples[..., start : start + segment])


@pytest.mark.parametrize("seconds", [0.2, 3.0, 29.0])
def test_a_short_clip_is_repeated(vocoder, seconds):
    heard, clip = Heard(vocoder), ramp(seconds)
    (latents,) = timbre_reference(heard, [clip])
    assert latents.shape == (1, 8, 3 * 334)
    first = heard.waves[0].samples[..., : 334 * HOP]
    count = clip.samples.shape[-1]
    assert torch.equal(first[..., :count], clip.samples[..., : first.shape[-1]])
    if 2 * count < first.shape[-1]:
        assert torch.equal(first[..., count : 2 * count], clip.samples)


def test_clips_of_any_rate_and_channels(vocoder):
    waves = [tone(4, rate, channels) for rate, channels in ((44100, 1), (48000, 2), (8000, 6))]
    latents = timbre_reference(vocoder, waves)
    assert [x.shape for x in latents] == [(1, 8, 3 * 334)] * 3
    assert all(bool(x.isfinite().all()) for x in latents)


def test_the_same_clip_is_the_same_reference(vocoder):
    (one,), (two,) = timbre_reference(vocoder, [tone(12)]), timbre_reference(vocoder, [tone(12)])
    assert torch.equal(one, two)


def test_a_batch_of_clips_is_as_many_clips(vocoder):
    both = Waveform(torch.cat([tone(3).samples, tone(3, hz=330).samples]), RATE)
    one, two = timbre_reference(vocoder, [both])
    assert torch.equal(two, timbre_reference(vocoder, [tone(3, hz=330)])[0])
    assert not torch.equal(one, two)


@pytest.mark.parametrize(
    ("clip", "said"),
    [
        (tone(3, loud=0.0), "reference clip 2 is silent (peak -180 dBFS, expected over -60)"),
        (tone(3, loud=1e-4), "reference clip 2 is silent (peak -80 dBFS"),
        (Waveform(torch.zeros(1, 2, 0), RATE), "reference clip 2 has no samples"),
        (Waveform(torch.full((1, 2, 100), math.nan), RATE), "samples that are no numbers"),
        (tone(3000, rate=1), "reference clip 2 has a sample rate of 1 Hz, expected 4000 to 768000"),
        (tone(3, rate=1600), "reference clip 2 has a sample rate of 1600 Hz"),
    ],
    ids=["silent", "as good as silent", "empty", "nan", "1 Hz", "1600 Hz"],
)
def test_silence_is_told(vocoder, clip, said):
    with pytest.raises(UserError) as error:
        timbre_reference(vocoder, [tone(3), clip])
    assert said in str(error.value)


def test_a_clip_has_the_name_that_the_caller_gives_it(vocoder):
    with pytest.raises(UserError, match="quiet.wav is silent"):
        timbre_reference(vocoder, [tone(3), tone(3, loud=0.0)], names=["clip.wav", "quiet.wav"])


def test_of_a_recording_of_hours_only_the_segments_are_resampled(vocoder, monkeypatch):
    lengths, convert = [], clips.convert

    def watched(wave, *given):
        lengths.append(wave.seconds)
        return convert(wave, *given)

    monkeypatch.setattr(clips, "convert", watched)
    heard, rate = Heard(vocoder), 8000
    at = torch.arange(3600 * rate) / (3600 * rate)
    timbre_reference(heard, [Waveform((0.1 + 0.8 * at).expand(1, 1, -1), rate)])
    assert lengths == [pytest.approx(30.06, abs=0.01)]
    (wave,) = heard.waves
    segment = 334 * HOP
    for i, start in enumerate((0, 1200, 3600 - segment / RATE)):
        got = wave.samples[..., i * segment + RATE : (i + 1) * segment - RATE]  # joints ring
        assert (got - (0.1 + 0.8 * start / 3600)).abs().max() < 0.8 * 10.1 / 3600 + 1e-3


@pytest.mark.parametrize("loud", [7.6, 3.8e29])
def test_samples_beyond_full_scale_are_clipped_and_that_is_said(vocoder, loud, caplog):
    heard = Heard(vocoder)
    (latents,) = timbre_reference(heard, [tone(3, rate=44100, loud=loud)])
    source = continuation(heard, tone(3, loud=loud))
    assert all(wave.samples.abs().max() == 1 for wave in heard.waves) and latents.std() < 5
    assert source.waveform.samples.abs().max() == 1
    said = [record.getMessage() for record in caplog.records]
    peak = 20 * math.log10(loud)
    assert said == [
        f"{name}: its peaks at +{peak:.1f} dBFS are clipped at full scale"
        for name in ("reference clip 1", "the clip to continue")
    ]


def test_nothing_is_said_of_a_clip_at_full_scale(vocoder, caplog):
    timbre_reference(vocoder, [ramp(3), tone(3, loud=1.0)])
    assert not caplog.text


def test_fitting_keeps_the_front_of_each_segment():
    latents = torch.arange(30.0).expand(1, 2, -1)
    assert torch.equal(fit_timbre(latents, 30), latents)
    assert fit_timbre(latents, 6)[0, 0].tolist() == [0, 1, 10, 11, 20, 21]
    assert fit_timbre(latents, 7).shape == (1, 2, 7)
    assert fit_timbre(latents, 75).shape == (1, 2, 75)
    assert fit_timbre(latents, 1).shape == (1, 2, 1)


# ---- continuation ----------------------------------------------------------------------------------------------------


def test_a_continuation_keeps_whole_frames_of_the_clip(vocoder):
    clip = tone(4.01)
    source = continuation(vocoder, clip)
    frames = clip.samples.shape[-1] // HOP
    assert source.latents.shape == (1, 8, frames)
    assert torch.equal(source.waveform.samples, clip.samples[..., : frames * HOP])
    kept = source.kept(frames + 50)
    assert kept.clean.shape == (1, 8, frames + 50) and kept.window.shape == (1, frames + 50)
    assert not kept.window[:, :frames].any() and kept.window[:, frames:].all()
    assert torch.equal(kept.clean[..., :frames], source.latents)
    assert source.blend_frames == 33  # one second


def test_a_very_short_clip_does_not_fade_away(vocoder):
    source = continuation(vocoder, tone(0.3))
    assert source.blend_frames == source.latents.shape[-1] // 2


def test_a_song_must_be_longer_than_what_it_continues(vocoder):
    source = continuation(vocoder, tone(6))
    with pytest.raises(UserError, match="the song is 6.0 s and the clip 6.0 s; ask for a longer song"):
        source.kept(source.latents.shape[-1])


@pytest.mark.parametrize(
    ("clip", "said"),
    [
        (tone(3, loud=0.0), "the clip to continue is silent"),
        (tone(0.01), "the clip to continue is 0.010 s long"),
        (tone(3, rate=1), "the clip to continue has a sample rate of 1 Hz"),
        (tone(601, rate=4000), "the song is 600.0 s and the clip to continue 601.0 s"),
        (Waveform(tone(3).samples.expand(2, -1, -1), RATE), "got a batch of 2 clips, expected one"),
    ],
    ids=["silent", "no frame", "1 Hz", "longer than any song", "two"],
)
def test_what_cannot_be_continued(vocoder, clip, said):
    with pytest.raises(UserError, match=said):
        continuation(vocoder, clip)


# ---- what a run keeps ------------------------------------------------------------------------------------------------


def test_holding_puts_kept_frames_on_their_way_from_the_noise():
    clean, noise, latents = (torch.randn(1, 4, 10) for _ in range(3))
    window = torch.zeros(1, 10, dtype=torch.bool)
    window[:, 3:6] = True
    held = Kept(clean, window).hold(latents, 0.3, noise)
    assert torch.equal(held[..., 3:6], latents[..., 3:6])
    assert torch.allclose(held[..., :3], 0.3 * noise[..., :3] + 0.7 * clean[..., :3])
    assert torch.equal(Kept(clean, window).hold(latents, 0.0, noise)[..., 6:], clean[..., 6:])


def test_ramps_of_two_windows_cross():
    window = torch.zeros(1, 12, dtype=torch.bool)
    window[:, :3], window[:, 7:] = True, True
    ones, zeros = torch.ones(1, 1, 12), torch.zeros(1, 1, 12)
    shares = Kept(zeros, window, blend_frames=3).blend(ones)[0, 0]
    assert shares.tolist() == pytest.approx([1] * 3 + [0.75, 0.5, 0.5, 0.75] + [1] * 5)


def test_blending_ramps_outside_the_window():
    window = torch.zeros(1, 20, dtype=torch.bool)
    window[:, 8:12] = True
    ones, zeros = torch.ones(1, 1, 20), torch.zeros(1, 1, 20)
    shares = Kept(zeros, window, blend_frames=3).blend(ones)[0, 0]
    assert shares.tolist() == pytest.approx([0] * 5 + [0.25, 0.5, 0.75] + [1] * 4 + [0.75, 0.5, 0.25] + [0] * 5)
    assert torch.equal(Kept(zeros, window).blend(ones), ones)  # as in the original: nothing is written
    # Towards an end of the song there may be less room for the ramp.
    shares = Kept(zeros, window, blend_frames=30).blend(ones)[0, 0]
    assert shares[:8].tolist() == pytest.approx([(i + 1) / 9 for i in range(8)])


def test_a_song_of_which_all_is_kept():
    with pytest.raises(UserError, match="all of the music would be kept"):
        Kept(torch.zeros(1, 4, 10), torch.zeros(1, 10, dtype=torch.bool))
    with pytest.raises(UserError, match="injection ratio: got 1.5, expected 0 to 1"):
        Kept(torch.zeros(1, 4, 10), torch.ones(1, 10, dtype=torch.bool), injection_ratio=1.5)


# ---- splice ----------------------------------------------------------------------------------------------------------


def test_the_kept_part_is_the_clip_itself_outside_a_short_crossfade():
    clip, song = ramp(2), Waveform(torch.randn(3, 2, 5 * RATE), RATE)
    source = ContinuationSource(torch.zeros(1, 8, 66), clip, crossfade_seconds=0.05)
    made = splice(Reference(source=source), song)
    fade = round(0.05 * RATE)
    assert torch.equal(made.samples[..., : 2 * RATE - fade], clip.samples[..., :-fade].expand(3, -1, -1))
    assert torch.equal(made.samples[..., 2 * RATE :], song.samples[..., 2 * RATE :])
    share = torch.linspace(1, 0, fade + 2)[1:-1]
    expected = share * clip.samples[..., -fade:] + (1 - share) * song.samples[..., 2 * RATE - fade : 2 * RATE]
    assert torch.allclose(made.samples[..., 2 * RATE - fade : 2 * RATE], expected)


def test_a_reference_without_a_clip_to_continue_leaves_the_song_alone():
    song = tone(3)
    assert splice(Reference(), song) is song


def test_a_song_that_the_clip_does_not_fit():
    source = ContinuationSource(torch.zeros(1, 8, 66), ramp(2))
    with pytest.raises(UserError, match="got a song of 1.0 s at 16000 Hz, expected more than the clip's 2.0 s"):
        splice(Reference(source=source), tone(1))
    with pytest.raises(UserError, match="at 8000 Hz"):
        splice(Reference(source=source), tone(3, rate=8000))
