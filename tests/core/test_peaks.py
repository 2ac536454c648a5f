"""Peaks of sound files, from which waveforms are drawn."""

import numpy as np
import pytest
import soundfile
from acestep_pack.acestep_core.audio import peaks as module
from acestep_pack.acestep_core.audio.peaks import peaks_of
from acestep_pack.acestep_core.errors import UserError

RATE_HZ = 8000


def written(folder, samples, name="sound.wav", rate_hz=RATE_HZ):
    soundfile.write(folder / name, samples, rate_hz)
    return folder / name


def test_a_window_holds_the_extremes_of_its_columns_over_all_channels(tmp_path):
    samples = np.zeros((4 * RATE_HZ, 2), np.float32)
    samples[RATE_HZ // 2, 0], samples[RATE_HZ // 2 + 1, 1], samples[-1, 1] = 0.5, -0.25, 0.75
    peaks = peaks_of(written(tmp_path, samples))
    assert peaks.seconds == 4
    assert peaks.window(0, 4, 4) == pytest.approx(np.array([[-0.25, 0.5], [0, 0], [0, 0], [0, 0.75]]), abs=1e-3)
    assert peaks.window(0.4, 0.6, 2)[:, 1] == pytest.approx([0, 0.5], abs=1e-3)
    assert peaks.window(0, 1e9, 1) == pytest.approx(np.array([[-0.25, 0.75]]), abs=1e-3)  # cut to the sound's end


@pytest.mark.parametrize("name", ["sound.flac", "sound.ogg", "sound.mp3"])
def test_every_sample_counts_however_blocks_are_cut(tmp_path, name):
    rising = np.linspace(0.1, 0.8, 3 * 44100 + 17) * np.sin(np.arange(3 * 44100 + 17) / 16)
    peaks = peaks_of(written(tmp_path, rising, name, 44100))
    columns = peaks.window(0, 3, 6)
    assert abs(peaks.seconds - 3) < 0.1
    assert columns[:, 1] == pytest.approx(np.arange(1, 7) * 0.7 / 6 + 0.1, abs=0.08)
    assert columns[:, 0] == pytest.approx(-columns[:, 1], abs=0.08)


def test_more_columns_than_there_are_stretches_can_be_asked_for(tmp_path):
    peaks = peaks_of(written(tmp_path, np.full(40, 0.5)))  # 5 ms
    assert peaks.window(0, 1, 8)[:, 1] == pytest.approx([0.5] * 8, abs=1e-3)


@pytest.mark.parametrize("window", [(0, 0, 5), (2, 1, 5), (-1, 1, 5), (0, 1, 0), (0, 1, 10**6), (float("nan"), 1, 5)])
def test_a_window_of_nothing_is_refused(tmp_path, window):
    with pytest.raises(UserError, match=r"^peaks: got .*, expected a start"):
        peaks_of(written(tmp_path, np.zeros(RATE_HZ))).window(*window)


def test_a_window_behind_the_sound_is_its_end(tmp_path):
    peaks = peaks_of(written(tmp_path, np.full(RATE_HZ, 0.5)))
    assert peaks.window(5, 6, 3)[:, 1] == pytest.approx([0.5] * 3, abs=1e-3)


def test_only_the_beginning_of_a_very_long_file_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_SECONDS", 2.0)
    assert 2 <= peaks_of(written(tmp_path, np.zeros(10 * RATE_HZ))).seconds < 3


def test_a_file_that_takes_too_long_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "READING_SECONDS_MOST", -1)
    with pytest.raises(UserError, match="cut it up"):
        peaks_of(written(tmp_path, np.zeros(RATE_HZ)))


@pytest.mark.parametrize("content", [b"", b"no sound at all", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n"])
def test_a_file_without_sound_is_refused(tmp_path, content):
    (tmp_path / "a.m3u8").write_bytes(content)
    with pytest.raises(UserError):
        peaks_of(tmp_path / "a.m3u8")


def test_samples_that_are_no_numbers_do_not_spoil_the_rest(tmp_path):
    samples = np.full(RATE_HZ, 0.25, np.float32)
    samples[10:20] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, RATE_HZ, subtype="FLOAT")
    columns = peaks_of(tmp_path / "a.wav").window(0, 1, 4)
    assert np.isfinite(columns).all() and columns[1:, 1] == pytest.approx([0.25] * 3)
