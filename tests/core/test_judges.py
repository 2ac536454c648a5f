"""Judges of takes, on sounds whose faults are known, and how takes are ranked."""

import dataclasses

import numpy as np
import pytest
import torch
from acestep_pack.acestep_core.audio.waveform import Waveform
from acestep_pack.acestep_core.bench.resident import forget_most_resident, most_resident_bytes
from acestep_pack.acestep_core.scoring.judges import JUDGES, FinishedSong, Measured, judged, total
from acestep_pack.acestep_core.scoring.lyric_score import LyricScore
from acestep_pack.acestep_core.scoring.planner_score import PlannerScore
from acestep_pack.acestep_core.scoring.ranking import Take, ranked, reasons
from acestep_pack.acestep_core.scoring.sound import Sound, scale_of
from acestep_pack.acestep_core.song import Song

RATE = 22_050
TIME = np.arange(12 * RATE) / RATE


def wave(samples, rate=RATE):
    return Waveform(torch.tensor(np.asarray(samples), dtype=torch.float32)[None, None], rate)


def beat(bpm, strength=0.5):
    """Short noise at each beat, every fourth one louder."""
    place = TIME * bpm / 60
    noise = np.random.default_rng(0).standard_normal(len(TIME))
    return strength * noise * np.exp(-30 * (place % 1) * 60 / bpm) * (0.5 + 0.5 * (place.astype(int) % 4 == 0))


def chords(*roots, minor=False):
    """A triad on each root (MIDI), 2 s each, over and over."""
    made = np.zeros(len(TIME))
    for number, root in enumerate(roots):
        here = (TIME // 2).astype(int) % len(roots) == number
        for step in (0, 3 if minor else 4, 7):
            made += here * np.sin(2 * np.pi * 440 * 2 ** ((root + step - 69) / 12) * TIME)
    return 0.2 * made


def judge(name, samples, rate=RATE, **song):
    return judged(FinishedSong(wave(samples, rate), Song("x", seconds=12, **song))).get(name)


# ---- music -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bpm", [72, 97, 124, 150, 174])
def test_the_asked_tempo_is_right_and_another_is_not(bpm):
    right, wrong = judge("tempo", beat(bpm), bpm=bpm), judge("tempo", beat(bpm), bpm=round(bpm * 1.13))
    assert right.grade > 0.8 and abs(right.value / bpm - 1) < 0.02 and right.remark == f"{bpm} bpm, {bpm} asked"
    assert wrong.grade < 0.3


def test_half_and_double_count_for_less():
    for asked in (60, 240):
        found = judge("tempo", beat(120), bpm=asked)
        assert 0.1 < found.grade < 0.7


def test_a_clear_beat_is_better_than_a_faint_one():
    noise = 0.2 * np.random.default_rng(3).standard_normal(len(TIME))
    grades = [judge("tempo", beat(100, strength) + noise, bpm=100).grade for strength in (1.0, 0.25, 0.0)]
    assert grades == sorted(grades, reverse=True) and grades[0] > grades[1] + 0.05 > grades[2]


def test_no_beat_and_no_tempo_asked():
    assert judge("tempo", 0.3 * np.sin(2 * np.pi * 220 * TIME), bpm=100).grade == 0
    assert judge("tempo", beat(100)) is None


def test_the_asked_key_its_relative_and_another():
    samples = chords(60, 65, 67, 60)  # C F G C
    assert Sound(wave(samples)).keys and judge("key", samples, key="C major").grade > 0.8
    assert judge("key", samples, key="A minor").grade > 0.8
    assert judge("key", samples, key="F# major").grade == 0
    assert judge("key", samples, key="G major").grade < 0.8
    assert judge("key", samples) is None and judge("key", np.zeros(RATE), key="C major").value == "none"


def test_scales_of_keys():
    scales = {"C major": 0, "A minor": 0, "Bb major": 10, "G minor": 10, "F♯ minor": 9, "E♭ major": 3, "Cb major": 11}
    assert {key: scale_of(key) for key in scales} == scales


def test_sections_that_return_are_structure():
    rng = np.random.default_rng(1)

    def part(low):
        made = rng.standard_normal(8 * RATE)
        return np.convolve(made, np.ones(low) / low, "same")

    a, b, c, d, e, f = (part(low) for low in (1, 3, 9, 20, 40, 80))
    assert judge("structure", np.concatenate([a, b, a, b, a, b])).value > 90
    assert judge("structure", np.concatenate([a, b, c, d, e, f])).value < 60
    assert judge("structure", a) is None


# ---- sound -----------------------------------------------------------------------------------------------------------


def test_level():
    tone = 0.3 * np.sin(2 * np.pi * 440 * TIME)
    assert judge("level", tone).grade == 1 and judge("level", tone / 300).grade == 0
    assert judge("level", 0 * tone).grade == 0 and judge("level", tone[:100]) is None


def test_clipping_at_full_scale_and_below_it():
    tone = np.sin(2 * np.pi * 440 * TIME)
    assert judge("clipping", 0.89 * tone).grade > 0.9
    assert judge("clipping", np.clip(3 * tone, -1, 1)).grade == 0
    assert judge("clipping", 0.5 * np.clip(3 * tone, -1, 1)).grade == 0  # cut off, then made quieter
    assert judge("clipping", 0 * tone).grade == 1


@pytest.mark.skipif(most_resident_bytes() is None, reason="this system does not tell")
@pytest.mark.parametrize("name", ["clipping", "silence", "ending"])
def test_a_long_sound_is_judged_in_less_memory_than_it_takes(name):
    made = FinishedSong(Waveform(torch.zeros(1, 2, 10_000_000), 48_000))
    JUDGES[name].measure(FinishedSong(wave(0 * TIME)))
    forget_most_resident()
    before = most_resident_bytes()
    JUDGES[name].measure(made)
    assert most_resident_bytes() - before < made.wave.samples.numel() * 4


def test_silence_has_no_structure_and_nothing_is_warned_of(recwarn):
    still = FinishedSong(Waveform(torch.zeros(1, 2, 41 * 8000), 8000))
    assert judged(still)["structure"].value == 0 and not recwarn.list


def test_silence_and_ending():
    tone = 0.3 * np.sin(2 * np.pi * 440 * TIME)
    gap, fade = tone * ((TIME < 4) | (TIME > 8)), tone * np.minimum(1, np.maximum(0, 12 - TIME) / 3)
    assert judge("silence", tone).grade == 1 and judge("silence", gap).value == pytest.approx(33.3, abs=1)
    assert judge("silence", gap).grade < 0.3 and judge("silence", 0 * tone).grade == 0
    assert judge("ending", tone).grade < 0.1 and "cut off" in judge("ending", tone).remark
    assert judge("ending", fade).grade > 0.7 and "ends" in judge("ending", fade).remark


@pytest.mark.parametrize("length", [1, 3, 100, 2000])
@pytest.mark.parametrize("rate", [8000, 48_000])
def test_the_shortest_sounds_are_judged(length, rate):
    found = judged(FinishedSong(wave(np.full(length, 0.1), rate), Song("x", bpm=90, key="A minor")))
    assert {"tempo", "key", "clipping", "silence", "ending"} <= set(found)
    assert all(0 <= one.grade <= 1 and np.isfinite(one.grade) for one in found.values())


def test_scores_of_models_are_judges_too():
    made = FinishedSong(wave(beat(100)), None, LyricScore(1, 1, 0.5), PlannerScore({"caption": 0.7}, {}))
    found = judged(made)
    assert found["lyrics"].grade == 0.5 and found["codes"].grade == 0.7
    assert {"tempo", "key"}.isdisjoint(found) and set(found) <= set(JUDGES)


# ---- ranking ---------------------------------------------------------------------------------------------------------


def take(seed, **grades):
    return Take(seed, {name: Measured(0, grade, f"{name} {grade}") for name, grade in grades.items()})


def test_totals_are_weighted_means_and_the_best_is_first():
    assert total(take(0, lyrics=1.0, key=0.4).found) == pytest.approx((2 * 1 + 0.4) / 3, abs=1e-4)
    assert total({}) == 0
    takes = [take(1, key=0.5, tempo=0.2), take(2, key=0.9, tempo=0.2), take(3, key=0.9, tempo=0.2)]
    assert [one.seed for one in ranked(takes)] == [2, 3, 1]


def test_the_report_says_why():
    takes = ranked([take(1, key=0.1, tempo=0.9), take(2, key=1.0, tempo=0.4), take(3, key=0.2, tempo=0.3)])
    assert reasons(takes) == "seed 2: 0.70 of 1: better than the others in key; its weakness is tempo"
    assert "as good as the others in each part; 1 nearly as good" in reasons([take(1, key=0.8), take(2, key=0.8)])
    assert reasons([take(None, key=0.8)]) == "the only take, 0.80"
    assert takes[0].line() == "seed 2: 0.70  key 1.0; tempo 0.4"
    assert dataclasses.replace(takes[0], seed=None).line() == "0.70  key 1.0; tempo 0.4"
    assert takes[0].scores()["key"] == {"value": 0, "grade": 1.0, "remark": "key 1.0"}
