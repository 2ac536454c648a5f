import pytest
from acestep_pack.acestep_core.spec import PUBLISHED_LATENTS, LatentSpec


def test_published_latents_run_at_25_frames_a_second():
    assert PUBLISHED_LATENTS.frames_per_second == 25
    assert PUBLISHED_LATENTS.frames(30) == 750
    assert PUBLISHED_LATENTS.samples(750) == 30 * 48000
    assert PUBLISHED_LATENTS.seconds(750) == 30


@pytest.mark.parametrize("seconds, frames", [(30.01, 751), (0.001, 1), (0, 1), (0.04, 1), (0.1 + 0.2, 8), (12.04, 301)])
def test_frames_hold_the_seconds_and_forgive_floats(seconds, frames):
    assert PUBLISHED_LATENTS.frames(seconds) == frames


def test_nothing_assumes_the_published_rate():
    tiny = LatentSpec(channels=16, samples_per_frame=480, sample_rate_hz=48000)
    assert tiny.frames(10.005) == 1001 and tiny.samples(3) == 1440
