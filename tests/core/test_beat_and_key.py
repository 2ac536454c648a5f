"""Tempo and key of clips that tell none: measured where librosa is, never where the user said something."""

import numpy as np
import pytest
import torch
from acestep_pack.acestep_core.audio import beat_and_key
from acestep_pack.acestep_core.audio.beat_and_key import BeatAndKey
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.band import Sketch, play
from acestep_pack.acestep_core.editing.beats import first_beat
from acestep_pack.acestep_core.song import check_key


@pytest.fixture(scope="module")
def house():
    """Half a minute of house by the band, and what was asked of it."""
    sketch = Sketch.draw(2_000_000, 16.0, "house")
    return sketch, Waveform(torch.from_numpy(play(sketch))[None], 48_000)


@pytest.mark.slow
def test_the_band_is_heard_as_it_plays(house):
    sketch, wave = house
    told = beat_and_key.measure(wave)
    assert told.bpm == sketch.bpm and abs(told.beat - sketch.seconds_per_beat) < 0.002
    assert told.labels == {"bpm": sketch.bpm, "key": told.key} and check_key(told.key) == told.key


def test_the_first_beat_is_where_the_strokes_are():
    clicks = np.zeros(48_000 * 12, np.float32)
    for n in range(20):
        clicks[int((0.2 + 0.6 * n) * 48_000) :][:2000] += np.exp(-np.arange(2000) / 200)
    told = beat_and_key.measure(Waveform(torch.from_numpy(clicks)[None, None], 48_000), bpm=100)
    assert told.beat == pytest.approx(0.6, abs=0.002) and told.first_beat == pytest.approx(0.2, abs=0.05)


def test_a_known_tempo_is_only_made_more_precise(house):
    sketch, wave = house
    told = beat_and_key.measure(wave, bpm=2 * sketch.bpm)
    assert told.bpm == pytest.approx(2 * sketch.bpm, rel=beat_and_key.ROUNDED + 0.001)


def test_a_chord_has_its_key_and_noise_no_tempo():
    t = torch.arange(48_000 * 6) / 48_000
    notes = (57, 60, 64, 69, 72)  # A minor
    chord = sum(torch.sin(2 * torch.pi * 440 * 2 ** ((note - 69) / 12) * t) for note in notes) / 10
    assert beat_and_key.measure(Waveform(chord[None, None], 48_000)).key == "A minor"
    hiss = 0.1 * torch.randn(1, 1, 48_000 * 10, generator=torch.Generator().manual_seed(0))
    assert beat_and_key.measure(Waveform(hiss, 48_000)).bpm is None
    assert beat_and_key.measure(Waveform(torch.zeros(1, 1, 48_000 * 4), 48_000)) == beat_and_key.BeatAndKey()


def test_a_beat_just_before_the_sound_is_its_first_one():
    assert first_beat(BeatAndKey(beat=0.75, first_beat=0.734)) == pytest.approx(-0.016)
    assert first_beat(BeatAndKey(beat=0.75, first_beat=0.3)) == 0.3
    assert first_beat(BeatAndKey()) == 0
