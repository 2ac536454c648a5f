"""The listener hears what is there: keys, onsets, and, once fitted, tempi and instruments."""

import numpy as np
import pytest
import torch
from acestep_pack.acestep_core.band import Sketch, play
from acestep_pack.acestep_core.band.instruments import ROLES
from acestep_pack.acestep_core.evaluation import listening as listen

RATE_HZ = 48_000
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
KEYS = [(tonic, minor) for tonic in range(12) for minor in (False, True)]


@pytest.fixture
def own_ears(monkeypatch, tmp_path):
    """A place of this test's own for what is fitted."""
    monkeypatch.setattr(listen, "EARS", tmp_path / "ears.safetensors")
    listen._ears.cache_clear()
    yield listen.EARS
    listen._ears.cache_clear()


def tones(midis, seconds):
    """Notes with three harmonics, [2, N]."""
    t = torch.arange(int(seconds * RATE_HZ)) / RATE_HZ
    sound = sum(torch.sin(2 * torch.pi * 440 * 2 ** ((m - 69) / 12) * k * t) / k for m in midis for k in (1, 2, 3))
    return (0.05 * sound).expand(2, -1)


def cadence(tonic, minor):
    """Home, fourth, fifth, home."""
    scale = MINOR if minor else MAJOR
    chords = []
    for degree in (0, 3, 4, 0):
        semitones = [scale[(degree + k) % 7] + 12 * ((degree + k) // 7) for k in (0, 2, 4)]
        chords.append(tones([45 + tonic + s for s in semitones] + [33 + tonic + semitones[0]], 0.5))
    return torch.cat(chords, 1)


def clicks(bpm, seconds, low=False):
    """A click a beat, [2, N]: a thud or a tick."""
    count = int(seconds * RATE_HZ)
    sound = torch.zeros(count)
    t = torch.arange(2400) / RATE_HZ
    stroke = torch.sin(2 * torch.pi * (80 if low else 9_000) * t) * torch.exp(-t / 0.01)
    for beat in torch.arange(0, seconds - 0.06, 60 / bpm):
        start = int(beat * RATE_HZ)
        sound[start : start + 2400] += 0.5 * stroke
    return sound.expand(2, -1)


# ---- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tonic, minor", KEYS)
def test_the_key_of_a_cadence_is_found(tonic, minor):
    heard = listen.key(cadence((tonic + 3) % 12, minor))  # a cadence counts from A
    assert heard == (tonic, minor)


def test_noise_does_not_hide_a_key():
    noise = 0.05 * torch.randn(2, 2 * RATE_HZ, generator=torch.Generator().manual_seed(0))
    assert listen.key(cadence(5, False) + noise) == listen.key(cadence(5, False)) == (2, False)


def test_the_bands_keys_are_found():
    for tonic, minor in ((0, False), (9, True), (5, True)):
        voices = {"drums": "kit", "bass": "sub bass", "keys": "organ"}
        clip = Sketch(3, "house", "happy", 180, tonic, minor, 4, voices, 12.0)
        assert listen.same_or_relative(*listen.key(torch.from_numpy(play(clip))), tonic, minor)


def test_chroma_is_how_much_of_each_pitch_class_sounds():
    heard = listen.chroma(tones([69], 1.0))
    assert heard.shape == (12,) and heard.argmax() == 9 and 0.9 < heard.sum() <= 1.001
    assert listen.chroma(tones([60, 64, 67], 1.0)).argsort()[-3:].tolist() != heard.argsort()[-3:].tolist()
    assert set(listen.chroma(tones([60, 64, 67], 1.0)).argsort()[-3:].tolist()) == {0, 4, 7}


def test_a_key_has_one_relative():
    assert listen.same_or_relative(0, False, 9, True) and listen.same_or_relative(9, True, 0, False)
    assert not listen.same_or_relative(0, False, 0, True)
    for key in KEYS:
        alike = [other for other in KEYS if listen.same_or_relative(*key, *other)]
        assert len(alike) == 2 and key in alike and alike[0][1] != alike[1][1]


# ---- onsets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("low, band", [(True, 0), (False, 3)])
def test_onsets_are_heard_when_and_where_they_are(low, band):
    found = listen.onsets(clicks(120, 2.0, low))
    assert found.shape == (4, 200) and found.mean(1).argmax() == band
    frames = found[band].topk(3).indices.sort().values  # a clip that begins with a stroke has no rise there
    for frame, beat in zip(frames, (50, 100, 150)):
        assert abs(int(frame) - beat) <= 2


@pytest.mark.parametrize("seconds", [1.0, 3.0, 6.0])
def test_beats_repeat_in_the_features_of_their_tempo(seconds):
    features = listen.tempo_features(clicks(120, seconds))
    assert features.shape == (len(listen.candidates()), 4 * len(listen.BEATS)) and np.isfinite(features).all()
    if seconds > 1:
        one_beat = features[:, 3 * len(listen.BEATS) + listen.BEATS.index(1)]
        right = np.abs(np.log2(listen.candidates() / 120)) < 0.03
        off = np.abs(listen.candidates() / 90 - 1) < 0.03
        assert one_beat[right].max() > 0.5 and one_beat[off].max() < 0.1


# ---- beats and lines -------------------------------------------------------------------------------------------------


def late_clicks(bpm, seconds, late_s):
    """Clicks that come later and later, by `late_s` at the end."""
    return clicks(bpm / (1 + late_s / seconds), seconds)


@pytest.mark.parametrize("bpm", [67, 120, 174])
def test_beats_that_keep_their_tempo_do_not_drift(bpm):
    assert listen.drift_ms(clicks(bpm, 40.0), bpm, 4) < 2


@pytest.mark.parametrize("late_s", [0.03, 0.1])
def test_drift_is_how_late_the_latest_bars_are(late_s):
    found = listen.drift_ms(late_clicks(90, 60.0, late_s), 90, 4)
    assert found == pytest.approx(1000 * late_s / 2, rel=0.15)  # as far before as behind


def test_no_drift_is_told_of_what_has_no_beat():
    assert np.isnan(listen.drift_ms(torch.zeros(2, 40 * RATE_HZ), 120, 4))
    assert np.isnan(listen.drift_ms(clicks(120, 6.0), 120, 4))


@pytest.mark.parametrize("line_db", [0, 6, 12])
def test_lines_at_the_frame_rate_are_told_in_db(line_db):
    noise = torch.randn(16 * RATE_HZ, generator=torch.Generator().manual_seed(0))
    spectrum, hz = torch.fft.rfft(noise), torch.fft.rfftfreq(len(noise), 1 / RATE_HZ)
    spectrum[(hz % 50 < 4) | (hz % 50 > 46)] *= 10 ** (line_db / 20)
    comb = torch.fft.irfft(spectrum).expand(2, -1)
    assert listen.comb_db(comb, 50.0) == pytest.approx(line_db, abs=0.5)


# ---- what is fitted --------------------------------------------------------------------------------------------------


def lessons():
    """Clips (wave, tempo, who plays): drums are clicks, keys are chords, one clip has no drums."""
    heard = []
    for bpm in (90, 140):
        beat = clicks(bpm, 3.0) + clicks(bpm, 3.0, low=True)
        heard.append((beat, float(bpm), frozenset({"drums"})))
        heard.append((beat + tones([60, 64, 67], 3.0), float(bpm), frozenset({"drums", "keys"})))
    return [*heard, (tones([60, 64, 67], 3.0), None, frozenset({"keys"}))]


def test_ears_learn_tempi_and_instruments(own_ears):
    given = lessons()
    heard = [listen.lesson(*clip) for clip in given]
    listen.fit_ears(heard[:2])
    before = listen.instruments(given[-1][0])
    listen.fit_ears(heard)
    assert listen.instruments(given[-1][0]) != before  # what is fitted is heard with at once
    for wave, bpm, playing in given:
        heard = listen.instruments(wave)
        assert list(heard) == list(ROLES) and {role for role, is_heard in heard.items() if is_heard} == playing
        if bpm:
            assert listen.tempo_bpm(wave) == pytest.approx(bpm, rel=0.04)


@pytest.mark.skipif(not listen.EARS.exists(), reason="the ears are fitted once the band's clips are played")
def test_the_ears_that_ship_hear_the_band():
    tempi, drums = [], []
    for seed, (genre, bpm, plays) in enumerate(
        [("house", 124, True), ("rock", 132, True), ("hip hop", 84, True), ("trance", 140, False)]
    ):
        voices = {"bass": "electric bass", "keys": "organ"} | ({"drums": "kit"} if plays else {})
        wave = torch.from_numpy(play(Sketch(seed, genre, "energetic", bpm, 9, True, 4, voices, 12.0)))
        drums.append(listen.instruments(wave)["drums"] == plays)
        if plays:
            tempi.append(abs(listen.tempo_bpm(wave) / bpm - 1) < 0.04)
    assert all(drums) and sum(tempi) >= 2
